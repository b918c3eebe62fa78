"""Gradient of the bias on tensor cores: the sum of dy, which the weight gradient has in shared memory.

Only the blocks of the first channels and kernel rows add it up. Must not learn how products are summed.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, quotient, remainder
from helpers.kernels.tensor.layout import TILE
from helpers.kernels.tensor.tiles import blank
from helpers.kernels.tensor.weight_copies import tile_of_block
from helpers.unroll import registers, unroll, unrolled

PIECE = 4  # words that a thread reads at once


def bias_summer(strips, form):
    """Sum of dy over the outputs, in a fixed order.

    Returns
    -------
    zeros : tuple of float32
        A thread's sums before the first round, one for each value of four words.
    add(words, sums) -> sums
        Device function: a thread's outputs of a round.
    store(gradient, shared, sums)
        Device function: adds up all threads' and writes the biases of this split.
    """
    packed, threads = form.packed, strips.threads
    count, width = PIECE * packed, TILE // (PIECE * packed)  # values of a thread, threads of an output
    workers, filters, size, tile = threads // width, strips.problem.shape[2], strips.problem.size, tile_of_block(strips)

    @device_function
    def has_bias():
        channel, _, plane, kernel_row = tile()
        return channel + plane + kernel_row == 0

    @device_function
    @unrolled
    def store(gradient, shared, sums):
        if has_bias():
            thread = np.int64(cuda.threadIdx.x)
            _, filter, _, _ = tile()
            for i in unroll(count):
                shared[count * thread + i] = sums[i]
            cuda.syncthreads()
            if thread < TILE and filter + thread < filters:
                total = shared[thread]  # a worker's threads have the filters in their order
                for worker in range(1, workers):
                    total += shared[worker * TILE + thread]
                gradient[np.int64(cuda.blockIdx.y) * (size + filters) + size + filter + thread] = total

    return blank(1, count)[0], _adder(strips, form, has_bias), store


def _adder(strips, form, has_bias):
    packed, parts, pitch, first = form.packed, form.parts, strips.pitch, strips.patch_words
    count, width = PIECE * packed, TILE // (PIECE * packed)
    outputs, workers = strips.images * strips.rows * strips.columns, strips.threads // width

    @device_function
    @unrolled
    def plus(sums, words):
        total = registers(count)
        for i in unroll(PIECE):
            low, high = parts(words[i])
            total[i * packed] = sums[i * packed] + low
            if packed == 2:
                total[i * packed + 1] = sums[i * packed + 1] + high
        return total

    @device_function
    def add(words, sums):
        if has_bias():
            thread = np.int64(cuda.threadIdx.x)
            for output in range(quotient(thread, width), outputs, workers):
                sums = plus(sums, load4(words, first + output * pitch + PIECE * remainder(thread, width)))
        return sums

    return add
