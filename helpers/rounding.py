"""float32 values rounded to fewer bits, and NumPy operations whose operands are, as a tensor core sees them, or are off
by a little, as a fast algorithm leaves them.

Knows number formats and reference.py's signatures; must not learn about engines.
"""

from types import SimpleNamespace

import numpy as np

# mantissa bits that float32 has more than the format; float16 also has a smaller range, so NumPy converts
DROPPED_BITS = {"tf32": 13, "bf16": 16}
PRECISIONS = ("tf32", "bf16", "fp16")


def round_to(array, precision):
    """`array` as float32 whose values the format holds, rounded to the nearest, ties to even.

    Parameters
    ----------
    array : array_like, finite
    precision : {"tf32", "bf16", "fp16"}
        10 and 7 mantissa bits and float32's exponent; IEEE half precision.

    Returns
    -------
    ndarray, float32
    """
    array = np.ascontiguousarray(array, np.float32)
    if precision == "fp16":
        return array.astype(np.float16).astype(np.float32)
    if precision not in DROPPED_BITS:
        raise ValueError(f"precision is {precision!r}; expected {', '.join(map(repr, PRECISIONS))}")
    dropped, bits = np.uint32(DROPPED_BITS[precision]), array.view(np.uint32)
    half = (np.uint32(1) << (dropped - np.uint32(1))) - np.uint32(1)
    last = (bits >> dropped) & np.uint32(1)
    return (((bits + half + last) >> dropped) << dropped).view(np.float32)


def rounded_operations(operations, precision):
    """`operations` (signatures of reference.py), where convolutions and dense layers see operands in `precision`.

    Sums are float32. In the 16-bit formats also their results are rounded, as they are stored; biases and their
    gradients stay float32, and so do all other operations.
    """
    keep = (lambda y: y) if precision == "tf32" else (lambda y: round_to(y, precision))
    return _with_operands(operations, lambda array: round_to(array, precision), keep)


def perturbed_operations(operations, error, generator):
    """`operations`, where every value that a convolution or dense layer sees is off by up to `error`, relatively.

    Parameters
    ----------
    operations : namespace
        Signatures of reference.py.
    error : float
    generator : numpy.random.Generator
        Draws the errors, uniformly and anew at each call.
    """

    def off(array):
        return array * (1 + error * generator.uniform(-1, 1, array.shape)).astype(array.dtype)

    return _with_operands(operations, off)


def _with_operands(operations, change, keep=lambda y: y):
    """`operations`, with `change` applied to the operands of convolutions and dense layers, and `keep` to results."""
    table = {name: getattr(operations, name) for name in dir(operations) if not name.startswith("_")}

    def changed(function):
        def compute(*arguments, **options):
            result = function(*map(change, arguments[:2]), *arguments[2:], **options)
            return (keep(result[0]), *result[1:]) if isinstance(result, tuple) else keep(result)

        return compute

    for layer in ("conv", "dense"):
        for pass_ in ("forward", "input_gradient", "weight_gradient"):
            table[f"{layer}_{pass_}"] = changed(table[f"{layer}_{pass_}"])
    return SimpleNamespace(**table)
