"""float32 values rounded to fewer bits, and NumPy operations whose operands are: what a tensor core sees.

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
    table = {name: getattr(operations, name) for name in dir(operations) if not name.startswith("_")}
    keep = (lambda y: y) if precision == "tf32" else (lambda y: round_to(y, precision))

    def rounded(function, arrays):
        def compute(*arguments, **options):
            operands = [round_to(a, precision) for a in arguments[:arrays]]
            result = function(*operands, *arguments[arrays:], **options)
            return (keep(result[0]), *result[1:]) if isinstance(result, tuple) else keep(result)

        return compute

    for layer in ("conv", "dense"):
        for pass_ in ("forward", "input_gradient", "weight_gradient"):
            name = f"{layer}_{pass_}"
            table[name] = rounded(table[name], arrays=2)
    return SimpleNamespace(**table)
