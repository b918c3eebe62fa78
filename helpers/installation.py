"""What pip must install beside requirements.txt so that kernels compile on this machine; printed for run_all.sh.

    python -m helpers.installation gpu      numba-cuda's extra and the toolkit that the driver can load
    python -m helpers.installation test     the same, and a toolkit without a card too: tests assemble kernels

Standard library only: it runs before anything is installed.
"""

import ctypes
import sys

# The toolkit is pinned: NVVM newer than ptxas or than the driver writes PTX that those refuse.
COMPONENTS_13 = "cudart,nvvm,nvrtc,cccl,nvcc"
COMPONENTS_12 = "cudart,nvrtc,cccl,nvcc"  # there NVVM is a part of nvcc
NEWEST_12 = 8


def driver_cuda_version():
    """(major, minor) of the newest CUDA that the driver runs; None without a driver or a card."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    return version.value // 1000, version.value % 1000 // 10


def gpu_requirements(cuda):
    """Requirements for a driver of CUDA version `cuda`; [] for None.

    Raises
    ------
    ValueError
        For a driver older than CUDA 12.
    """
    if cuda is None:
        return []
    major, minor = cuda
    if major < 12:
        raise ValueError(f"the driver runs CUDA {major}.{minor}; update it to one of CUDA 12 or newer")
    if major == 12:
        return ["numba-cuda[cu12]", f"cuda-toolkit[{COMPONENTS_12}]==12.{min(minor, NEWEST_12)}.*"]
    return ["numba-cuda[cu13]", f"cuda-toolkit[{COMPONENTS_13}]==13.0.*"]


def toolkit_requirements(cuda):
    """As `gpu_requirements`; without a card the newest pinned toolkit, which assembles kernels for the tests."""
    return gpu_requirements(cuda or (13, 0))


if __name__ == "__main__":
    found = driver_cuda_version()
    try:
        print(*(toolkit_requirements(found) if sys.argv[1:] == ["test"] else gpu_requirements(found)))
    except ValueError as error:
        sys.exit(str(error))
