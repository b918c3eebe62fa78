"""A few neighbouring floats at a time: loaded, stored and gated together, by 128-bit accesses where they fit.

All of them exist (quads.py guards those at an edge). The choice is made when a kernel is made, not when it runs. Must
not learn what the values mean.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.intrinsics import load4, store4
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)


def vector_width(size):
    """Neighbouring floats a thread takes of `size`: 4, one 128-bit access, where they divide evenly, else 1."""
    return 4 if size % 4 == 0 else 1


def vector_loader(n, aligned=True):
    """Device function (array, index) -> n floats from there on; where `aligned`, 4 by a load as long as 4 are left."""
    whole = n // 4 * 4 if aligned else 0

    @device_function
    @unrolled
    def load(array, index):
        v = registers(n)
        for i in unroll(0, whole, 4):
            v[i], v[i + 1], v[i + 2], v[i + 3] = load4(array, index + i)
        for i in unroll(whole, n):
            v[i] = array[index + i]
        return v

    return load


def vector_storer(n):
    """Device function: writes n `values` to `array` from `index` on, 4 by a store as long as 4 are left."""
    whole = n // 4 * 4

    @device_function
    @unrolled
    def store(array, index, values):
        for i in unroll(0, whole, 4):
            store4(array, index + i, values[i], values[i + 1], values[i + 2], values[i + 3])
        for i in unroll(whole, n):
            array[index + i] = values[i]

    return store


def gater(n, masked):
    """Device function (values, mask, index) -> those of n values whose cell of `mask` from `index` on is positive.

    The others are 0: the derivative of ReLU at its output `mask`. All values, and `mask` is not read, unless `masked`.
    """
    load = vector_loader(n)

    @device_function
    @unrolled
    def gate(values, mask, index):
        gates = load(mask, index)
        v = registers(n)
        for i in unroll(n):
            v[i] = values[i] if gates[i] > ZERO else ZERO
        return v

    @device_function
    def keep(values, mask, index):
        return values

    return gate if masked else keep
