"""A few neighbouring floats of shared memory: two or four by one aligned access, three by three accesses."""

from helpers.device import device_function
from helpers.kernels.fused.intrinsics import load2, store2
from helpers.kernels.intrinsics import load4, store4


def vector_loader(n):
    """Device function (array, index) -> n floats, n from 1 to 4."""

    @device_function
    def one(array, index):
        return (array[index],)

    @device_function
    def three(array, index):
        return array[index], array[index + 1], array[index + 2]

    return {4: load4, 3: three, 2: load2, 1: one}[n]


def vector_storer(n):
    """Device function (array, index, values): n floats, n from 1 to 4."""

    @device_function
    def four(array, index, values):
        store4(array, index, values[0], values[1], values[2], values[3])

    @device_function
    def two(array, index, values):
        store2(array, index, values[0], values[1])

    @device_function
    def one(array, index, values):
        array[index] = values[0]

    @device_function
    def three(array, index, values):
        array[index], array[index + 1], array[index + 2] = values[0], values[1], values[2]

    return {4: four, 3: three, 2: two, 1: one}[n]
