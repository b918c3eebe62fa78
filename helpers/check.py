"""Compares kernels with the float64 oracle and raises: shape, index, got, wanted, error in % of the allowed one.

The grader of exercises and the heart of the tests. Must not learn about engines or notebooks.
"""

import numpy as np
import pandas as pd

from helpers.checking.kernel_arrays import fit_arrays, gather_results
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
    kernel = factory(op, batch, *([] if shape is None else [shape]), **options)
    return check_made(kernel, op, batch, seed, runner, shape, reference)


def check_made(kernel, op, batch, seed=0, runner=None, shape=None, reference=None):
    """`check_kernel` of a kernel that is made already."""
    if kernel.operation != op.kind:
        raise CheckError(f"the factory for {op.kind} returned a kernel of {kernel.operation}; it must be of {op.kind}")
    case = make_case(op, batch, seed, shape, reference)
    guarded = {name: guard(array) for name, array in fit_arrays(kernel, case).items()}
    (runner or run_on_device)(kernel, *guarded.values())
    about = f"{op.kind} with batch {batch}, {shape or op.geometry}"
    for name, array in guarded.items():
        _check_guard(array, f"{name} of {about}")
    return compare(kernel, case, guarded, about)


def compare(kernel, case, arrays, about):
    """Compare what a launch of `kernel` left in `arrays` with the oracle.

    Parameters
    ----------
    kernel : Kernel
    case : Case
    arrays : dict of str to ndarray
        As `fit_arrays` made them, after the launch.
    about : str
        What was run, for the message.

    Returns
    -------
    float
        Largest error in % of the allowed one.

    Raises
    ------
    CheckError
    """
    results = gather_results(kernel, case, arrays)
    return max(
        check_close(results[name], wanted, f"{name} of {about}", case.allowed[name])
        for name, wanted in case.wanted.items()
    )


def check(factory, kind, tile=8, mode="max", seed=0, runner=None, reference=None, **options):
    """`check_kernel` on every shape class of operation `kind`, the kernels compiled together.

    Returns
    -------
    pandas.DataFrame
        A row a shape class: largest error in % of the allowed one.
    """
    classes = shape_classes(kind, tile, mode)
    kernels = {name: factory(op, batch, **options) for name, (op, batch) in classes.items()}
    runner = runner or Loaded(list(kernels.values()))
    rows = {
        name: check_made(kernels[name], op, batch, seed, runner, reference=reference)
        for name, (op, batch) in classes.items()
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


class Loaded:
    """Runner of kernels that were compiled and loaded together, on the card or in the simulator.

    Called with a kernel and guarded NumPy arrays it runs in place, guards and all.

    Parameters
    ----------
    kernels : list of Kernel
    """

    def __init__(self, kernels):
        from helpers.compiler import load

        self._runs = dict(zip(kernels, load(kernels)))

    def __call__(self, kernel, *arrays):
        from helpers import device

        buffers = [device.to_device(array.base) for array in arrays]
        parts = [device.view(b, GUARD * a.itemsize, a.size, a.dtype) for a, b in zip(arrays, buffers)]
        self._runs[kernel](*parts)
        for array, buffer in zip(arrays, buffers):
            array.base[:] = device.to_host(buffer)


def run_on_device(kernel, *arrays):
    """Run `kernel` on the card (or in the simulator) on guarded NumPy arrays, in place, guards and all."""
    Loaded([kernel])(kernel, *arrays)
