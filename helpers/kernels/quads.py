"""Four neighbouring channels at a time: one 128-bit access where their number is a multiple of 4, else guarded scalars.

The choice is made when a kernel is made, not when it runs. Must not learn what the values mean.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.intrinsics import load4, store4

ZERO = np.float32(0.0)


def quad_loader(size):
    """Device function: four floats of `array` at `index`, of which those at `position` + i < `size` exist."""

    @device_function
    def load_whole(array, index, position):
        if position < size:
            return load4(array, index)
        return ZERO, ZERO, ZERO, ZERO

    @device_function
    def load_parts(array, index, position):
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        if position < size:
            a = array[index]
        if position + 1 < size:
            b = array[index + 1]
        if position + 2 < size:
            c = array[index + 2]
        if position + 3 < size:
            d = array[index + 3]
        return a, b, c, d

    return load_parts if size % 4 else load_whole


def quad_storer(size):
    """Device function: writes those of four floats at `index` whose `position` + i < `size`."""

    @device_function
    def store_whole(array, index, position, values):
        if position < size:
            store4(array, index, values[0], values[1], values[2], values[3])

    @device_function
    def store_parts(array, index, position, values):
        if position < size:
            array[index] = values[0]
        if position + 1 < size:
            array[index + 1] = values[1]
        if position + 2 < size:
            array[index + 2] = values[2]
        if position + 3 < size:
            array[index + 3] = values[3]

    return store_parts if size % 4 else store_whole
