"""Numba's own simulator: a second executor of kernels, independent of the tracer that runs them elsewhere."""

from importlib.metadata import version

import pytest

from helpers.device import SIMULATOR, cuda

# Up to numba-cuda 0.22 a thread that leaves a device function takes the simulated `cuda` away from the others in it.
SAFE = tuple(map(int, version("numba-cuda").split(".")[:2])) >= (0, 30)

needs_simulator = pytest.mark.skipif(
    not (SIMULATOR and SAFE), reason="needs NUMBA_ENABLE_CUDASIM=1 and numba-cuda 0.30 or newer"
)


def simulate(kernel, *arrays):
    """Run `kernel` on NumPy arrays, in place, a thread of this process for each thread of a block."""
    body = getattr(kernel.body, "py_func", kernel.body)
    cuda.jit(body)[kernel.grid, kernel.block, 0, kernel.shared_bytes](*arrays)
