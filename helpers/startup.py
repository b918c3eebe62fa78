"""What must be settled before numba is imported: is there a GPU, and do kernels run on it or in the simulator?

Standard library only; must not import numba, NumPy or any other helper.
"""

import ctypes
import functools
import os


@functools.cache
def card_name():
    """Name of the first GPU that the driver reports, None without a GPU or driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    name = ctypes.create_string_buffer(100)
    if driver.cuInit(0) or driver.cuDeviceGetName(name, len(name), 0):
        return None
    return name.value.decode()


def choose_target():
    """Set the environment that numba reads at its import: the simulator where there is no GPU, no launch warnings.

    Returns
    -------
    str or None
        The card's name, None where kernels run in the simulator.
    """
    os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
    if card_name() is None:
        os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
    return None if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else card_name()


def short_name(card):
    """Name of a card in file names: "NVIDIA H100 80GB HBM3" gives "h100", None gives "cpu"."""
    if card is None:
        return "cpu"
    words = card.lower().replace("/", " ").replace("-", " ").split()
    noise = ("nvidia", "tesla", "geforce", "pcie", "sxm4", "sxm5", "nvl")
    kept = [word for word in words if word not in noise and not word.startswith("hbm") and not word.endswith("gb")]
    return "-".join(kept) or "gpu"
