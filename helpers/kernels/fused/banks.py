"""Rows of a tensor in shared memory so far apart that neighbouring threads read from different banks.

Must not learn what is read.
"""

BANKS, HALF_WARP, MOST_PADDING = 32, 16, 16


def row_length(columns, wide, down, right):
    """Cells of a row, an even number of at least `columns`, for threads that each read a pair of cells.

    Parameters
    ----------
    columns : int
        Cells that a row must hold.
    wide : int
        Threads that read from the same rows.
    down, right : int
        Rows and cells between neighbouring threads' pairs.

    Returns
    -------
    int
        The smallest one with the fewest passes for any half warp, whose 16 pairs could come from 32 banks at once.
    """
    even = columns + columns % 2
    return min(range(even, even + MOST_PADDING, 2), key=lambda row: (_passes(row, wide, down, right), row))


def _passes(row, wide, down, right):
    """Passes of the worst half warp among the first ones: addresses that share a bank wait for each other."""
    worst = 0
    for first in range(0, 4 * wide, HALF_WARP):
        banks = {}
        for thread in range(first, first + HALF_WARP):
            address = thread // wide * down * row + thread % wide * right
            banks.setdefault(address // 2 % (BANKS // 2), set()).add(address)
        worst = max(worst, *(len(addresses) for addresses in banks.values()))
    return worst
