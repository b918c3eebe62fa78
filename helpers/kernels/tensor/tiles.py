"""Tiles of tuples: what a thread keeps of a matrix are its lines, each a tuple, so that a line is one value.

In an unrolled function (unroll.py) `tile_of(values, *shape)` names every line, as it names every register of numbers;
interpreted it is an array of objects. Must not learn what the values mean.
"""

import numpy as np

from helpers.device import device_function
from helpers.unroll import registers, unroll, unrolled

LINE_SUMS = 16  # of a lane: 16 rows x 32 columns by 32 lanes
ZERO = np.float32(0.0)


def tile_of(values, *shape):
    """Interpreted twin: an array of `shape` of the tuples `values`."""
    tile = np.empty(len(values), object)
    for i, value in enumerate(values):
        tile[i] = value
    return tile.reshape(shape)


def blank(lines, size=LINE_SUMS):
    """Zeros for `lines` lines of `size` values, from which a tile starts."""
    return ((ZERO,) * size,) * lines


@device_function
@unrolled
def add_shared(sums, shared, at, step):
    """The sums of a line, each plus a float of shared memory: from `at` on, every `step`."""
    total = registers(16)
    for i in unroll(16):
        total[i] = sums[i] + shared[at + i * step]
    return total


@device_function
@unrolled
def put_shared(sums, shared, at, step):
    """Write the sums of a line to shared memory, where `add_shared` reads them."""
    for i in unroll(16):
        shared[at + i * step] = sums[i]
