"""Gradient of the bias on tensor cores: the sum of dy, which the weight gradient has in shared memory.

Only the blocks of the first channels and kernel rows add it up. Must not learn how products are summed.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.layout import TILE
from helpers.kernels.tensor.weight_copies import tile_of_block


def bias_summer(strips, form):
    """Device functions (add, store): a thread's part of a round, and the sum of all parts in a fixed order.

    add(words, low, high) -> (low, high): a thread adds up one word of every `threads / words of a tile`-th output.
    store(gradient, shared, low, high): to the biases of this split.
    """
    width, threads, packed, parts = TILE // form.packed, strips.threads, form.packed, form.parts
    outputs, pitch, first_dy = strips.images * strips.rows * strips.columns, strips.pitch, strips.patch_words
    workers, filters, size, tile = threads // width, strips.problem.shape[2], strips.problem.size, tile_of_block(strips)

    @device_function
    def has_bias():
        channel, _, plane, kernel_row = tile()
        return channel + plane + kernel_row == 0

    @device_function
    def add(words, low, high):
        if has_bias():
            thread = np.int64(cuda.threadIdx.x)
            for output in range(quotient(thread, width), outputs, workers):
                first, second = parts(words[first_dy + output * pitch + remainder(thread, width)])
                low, high = low + first, high + second
        return low, high

    @device_function
    def store(gradient, shared, low, high):
        if has_bias():
            thread = np.int64(cuda.threadIdx.x)
            _, filter, _, _ = tile()
            shared[2 * thread], shared[2 * thread + 1] = low, high
            cuda.syncthreads()
            if thread < TILE and filter + thread < filters:
                at = 2 * quotient(thread, packed) + remainder(thread, packed)
                total = shared[at]
                for worker in range(1, workers):
                    total += shared[at + 2 * worker * width]
                gradient[np.int64(cuda.blockIdx.y) * (size + filters) + size + filter + thread] = total
            cuda.syncthreads()

    return add, store
