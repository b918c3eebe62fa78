"""What a warp's accesses cost: sectors of global memory, passes over the banks of shared memory.

A warp-wide access is one place in the source, met for the same time by the lanes of one warp. The rules are those of
the CUDA C++ Programming Guide (compute capability 5 and later). Must not learn how accesses were recorded.
"""

import numpy as np

WARP, SECTOR_BYTES, BANKS, BANK_BYTES = 32, 32, 32, 4


def sectors(accesses, itemsize):
    """Number of 32-byte sectors that each warp-wide access touches.

    Arrays are taken to start on a sector, as allocations do.

    Parameters
    ----------
    accesses : Accesses
        To one global array.
    itemsize : int
        Bytes of a cell.

    Returns
    -------
    ndarray of int, one entry a warp-wide access
    """
    sector = accesses.index * itemsize // SECTOR_BYTES
    touched = np.unique(np.stack([warp_accesses(accesses), sector]), axis=1)
    return np.unique(touched[0], return_counts=True)[1]


def passes(accesses, itemsize):
    """Passes over the banks that each access needs: 1 is free of conflicts, n replays n times.

    The 32 banks are 4 bytes wide. A warp's 128-bit access is served as four quarters of 8 lanes, a 64-bit one as two
    halves, each an entry of its own. Lanes that touch one word share it.

    Parameters
    ----------
    accesses : Accesses
        To one shared array.
    itemsize : int
        Bytes of a cell.

    Returns
    -------
    ndarray of int
    """
    if not len(accesses):
        return np.zeros(0, int)
    parts = np.maximum(accesses.cells * itemsize // BANK_BYTES, 1)
    group = _number(warp_accesses(accesses), accesses.thread % WARP * parts // WARP)
    word = accesses.spread().index * itemsize // BANK_BYTES
    group, word = np.unique(np.stack([np.repeat(group, accesses.cells), word]), axis=1)
    banks, depth = np.unique(np.stack([group, word % BANKS]), axis=1, return_counts=True)
    return np.maximum.reduceat(depth, np.flatnonzero(np.diff(banks[0], prepend=-1)))


def warp_accesses(accesses):
    """Number, 0 up, of the warp-wide access that each row of `accesses` belongs to."""
    own = _number(accesses.block, accesses.thread, accesses.site, accesses.array)
    order = np.argsort(own, kind="stable")
    starts = np.flatnonzero(np.diff(own[order], prepend=-1))
    times = np.empty_like(own)
    times[order] = np.arange(len(own)) - np.repeat(starts, np.diff(np.append(starts, len(own))))
    return _number(accesses.block, accesses.thread // WARP, accesses.site, times)


def _number(*columns):
    """Number of each row's combination of values, 0 up."""
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)
