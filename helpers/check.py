"""Compares kernels with the float64 oracle and raises: shape, index, got, wanted, error in % of the allowed one.

The grader of exercises and the heart of the tests. Must not learn about engines or notebooks.
"""

import numpy as np
import pandas as pd

from helpers.checking.oracle_cases import make_case
from helpers.checking.shape_classes import shape_classes
from helpers.tracing.memory import poison

GUARD = 64  # poisoned cells on either side of each array; keeps 16-byte alignment


class CheckError(AssertionError):
    """A result is wrong; the message says where, what was got and what was wanted."""


def check_close(got, wanted, name, allowed):
    """Raise CheckError unless |got - wanted| <= allowed in every cell; NaN and Inf never pass.

    Parameters
    ----------
    got, wanted : array_like, equal shapes
    name : str
        What is compared, for the message.
    allowed : float or array_like
        Largest absolute error, broadcast to the shape; 0 demands equality.

    Returns
    -------
    float
        Largest error in % of the allowed one.
    """
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        raise CheckError(f"{name} has shape {got.shape}; wanted {wanted.shape}")
    if not np.all(np.isfinite(wanted)):
        raise CheckError(f"{name}: the wanted values are not all finite, so nothing can be compared with them")
    allowed = np.broadcast_to(np.asarray(allowed, np.float64), wanted.shape)
    error = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = np.where(error == 0, 0.0, 100 * error / allowed)
    wrong = ~(error <= allowed)  # this way round NaN is wrong
    if np.any(wrong):
        flat = int(np.argmax(np.where(wrong, np.nan_to_num(percent, nan=np.inf), -1.0)))
        index = tuple(map(int, np.unravel_index(flat, wanted.shape)))
        share = _excess(error.flat[flat], allowed.flat[flat])
        raise CheckError(
            f"{name} of shape {wanted.shape}, at {index} (flat {flat}): got {got.flat[flat]:.9g}, wanted "
            f"{wanted.flat[flat]:.9g}; the error is {share}; {np.count_nonzero(wrong)} of {wrong.size} cells are wrong"
        )
    return float(percent.max(initial=0.0))


def _excess(error, allowed):
    """How far a wrong cell lies outside, in words."""
    if not np.isfinite(error):
        return "not finite"
    factor = f"{error / allowed:.3g} times the allowed" if allowed > 0 else f"{error:.3g}, more than the allowed"
    return f"{factor} {allowed:.3g}"


def relative_error(got, wanted):
    """||got - wanted||2 / ||wanted||2, in float64.

    Raises
    ------
    CheckError
        For different shapes, values that are not finite, or a wanted norm of 0 (which proves nothing).
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    if got.shape != wanted.shape:
        raise CheckError(f"shapes differ: got {got.shape}, wanted {wanted.shape}")
    if not (np.all(np.isfinite(got)) and np.all(np.isfinite(wanted))):
        raise CheckError("not all values are finite")
    norm = np.linalg.norm(wanted)
    if not norm > 0:
        raise CheckError("the wanted values have norm 0: a comparison with them proves nothing")
    return float(np.linalg.norm(got - wanted) / norm)


def check_kernel(factory, op, batch, seed=0, runner=None, shape=None, reference=None, **options):
    """Run the kernel `factory(op, batch, **options)` on random data and compare every output with the oracle.

    Outputs start poisoned and every array lies between poisoned guard bands that must stay as they are, so that a
    cell left out, a cell too many and a read beyond an end all show.

    Parameters
    ----------
    factory : callable
        Of kernels, as an engine calls it; where `shape` is given, `factory(op, batch, shape, **options)`.
    op : lowering.Op
    batch, seed : int
    runner : callable, optional
        `runner(kernel, *arrays)`, in place; default: the card, or the simulator. `trace.trace` is another.
    shape : tuple of int, optional
        Of one image, for operations without geometry.
    reference : module, optional
        The oracle; default helpers.reference.

    Returns
    -------
    float
        Largest error in % of the allowed one.

    Raises
    ------
    CheckError
    """
    kernel = factory(op, batch, **options) if shape is None else factory(op, batch, shape, **options)
    case = make_case(op, batch, kernel.splits, seed, shape, reference)
    arrays = dict(case.arrays)
    if kernel.scratch_bytes:
        arrays["scratch"] = poison(np.empty(kernel.scratch_bytes // 4, np.float32))
    guarded = {name: guard(array) for name, array in arrays.items()}
    (runner or run_on_device)(kernel, *guarded.values())
    about = f"{op.kind} with batch {batch}, {shape or op.geometry}"
    for name, array in guarded.items():
        _check_guard(array, f"{name} of {about}")
    worst = 0.0
    for name, wanted in case.wanted.items():
        got = guarded[name]
        if name == "gradient":
            got = got.reshape(kernel.splits, -1).astype(np.float64).sum(axis=0)
        worst = max(worst, check_close(got.reshape(wanted.shape), wanted, f"{name} of {about}", case.allowed[name]))
    return worst


def check(factory, kind, tile=8, mode="max", seed=0, runner=None, reference=None, **options):
    """`check_kernel` on every shape class of operation `kind`.

    Returns
    -------
    pandas.DataFrame
        A row a shape class: largest error in % of the allowed one.
    """
    rows = {
        name: check_kernel(factory, op, batch, seed, runner, reference=reference, **options)
        for name, (op, batch) in shape_classes(kind, tile, mode).items()
    }
    return pd.DataFrame({"error, % of allowed": rows}).rename_axis("shape class")


def guard(array):
    """Copy of a flat `array` in the middle of a poisoned buffer, which is the result's `base`."""
    buffer = poison(np.empty(array.size + 2 * GUARD, array.dtype))
    part = buffer[GUARD : GUARD + array.size]
    part[:] = array
    return part


def _check_guard(array, name):
    buffer = array.base
    expected = poison(np.empty(GUARD, array.dtype)).tobytes()
    for side, cells in (("before", buffer[:GUARD]), ("behind", buffer[-GUARD:])):
        if cells.tobytes() != expected:
            raise CheckError(f"the kernel wrote {side} {name}, outside the array")


def run_on_device(kernel, *arrays):
    """Run `kernel` on the card (or in the simulator) on guarded NumPy arrays, in place, guards and all."""
    from helpers import compiler, device

    (run,) = compiler.load([kernel])
    buffers = [device.to_device(array.base) for array in arrays]
    run(*(device.view(b, GUARD * a.itemsize, a.size, a.dtype) for a, b in zip(arrays, buffers)))
    for array, buffer in zip(arrays, buffers):
        array.base[:] = device.to_host(buffer)
