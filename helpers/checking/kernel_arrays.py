"""The arrays of a kernel for a case, as its splits and scratch ask for them, and what it leaves in them put together.

Must not learn how a kernel is run or what is right.
"""

import numpy as np

from helpers.tracing.memory import poison


def fit_arrays(kernel, case):
    """Flat arrays of one launch, in the order of the kernel's arguments.

    Inputs are copies of the case's; outputs, partial sums and scratch are poisoned. What the operation must not read
    is one poisoned cell.

    Parameters
    ----------
    kernel : Kernel
    case : Case

    Returns
    -------
    dict of str to ndarray
    """
    return {
        name: case.inputs[name].copy() if name in case.inputs else poison(np.empty(_size(kernel, case, name), dtype))
        for name, dtype in kernel.arguments
    }


def _size(kernel, case, name):
    if name == "scratch":
        return kernel.scratch_bytes // 4
    if name not in case.wanted:
        return 1
    return case.wanted[name].size * (kernel.splits if name == "gradient" else 1)


def gather_results(kernel, case, arrays):
    """Outputs of a launch in the oracle's shapes, the partial sums of a gradient added up in float64.

    Parameters
    ----------
    kernel : Kernel
    case : Case
    arrays : dict of str to ndarray
        As `fit_arrays` made them, after the launch.

    Returns
    -------
    dict of str to ndarray
    """
    results = {name: arrays[name] for name in case.wanted}
    if "gradient" in results:
        results["gradient"] = results["gradient"].reshape(kernel.splits, -1).sum(axis=0, dtype=np.float64)
    return {name: results[name].reshape(wanted.shape) for name, wanted in case.wanted.items()}
