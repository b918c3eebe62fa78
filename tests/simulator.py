"""Numba's own simulator: a second executor of kernels, independent of the tracer that runs them elsewhere."""

import pytest

from helpers.device import SIMULATOR, cuda

needs_simulator = pytest.mark.skipif(not SIMULATOR, reason="needs NUMBA_ENABLE_CUDASIM=1")


def simulate(kernel, *arrays):
    """Run `kernel` on NumPy arrays, in place, a thread of this process for each thread of a block."""
    body = getattr(kernel.body, "py_func", kernel.body)
    cuda.jit(body)[kernel.grid, kernel.block, 0, kernel.shared_bytes](*arrays)
