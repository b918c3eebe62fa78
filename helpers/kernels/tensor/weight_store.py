"""End of the weight gradient on tensor cores: shares meet in a fixed order, the sums go where the update reads them.

Must not learn how sums are made.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.weight_copies import tile_of_block
from helpers.unroll import registers, tile_of, unroll, unrolled

EVERY_LANE = 0xFFFFFFFF


def combiner(strips):
    """Device function combine(shared, sums) -> sums: in share 0 those of all shares, added by halves."""
    count, shares, share_threads = strips.accumulators + 4, strips.tile.shares, WARP * strips.problem.kernel[2]
    halvings = shares.bit_length() - 1

    @device_function
    @unrolled
    def combine(shared, sums):
        acc = tile_of(sums, count)
        share, lane = quotient(cuda.threadIdx.x, share_threads), remainder(cuda.threadIdx.x, share_threads)
        for h in unroll(halvings):
            half = shares >> (h + 1)
            if half <= share < 2 * half:
                for i in unroll(count):
                    shared[((share - half) * count + i) * share_threads + lane] = acc[i]
            cuda.syncthreads()
            if share < half:
                for i in unroll(count):
                    acc[i] += shared[(share * count + i) * share_threads + lane]
            cuda.syncthreads()
        return acc

    return combine


def storer(strips):
    """Device function store(gradient, sums): this block's part of its split, in the visible layout."""
    p, count, first_bias = strips.problem, strips.accumulators + 4, strips.accumulators
    _, channels, filters = p.shape
    size, cell_channels = p.size, padded(channels)
    (_, kernel_height, kernel_width), kernel_rows, tile = p.kernel, strips.kernel_rows, tile_of_block(strips)

    @device_function
    @unrolled
    def store(gradient, sums):
        acc = tile_of(sums, count)
        bias = registers(4)
        channel, filter, plane, kernel_row = tile()
        warp, lane = quotient(cuda.threadIdx.x, WARP), remainder(cuda.threadIdx.x, WARP)
        share, column = quotient(warp, kernel_width), remainder(warp, kernel_width)
        cell, channel_in_cell = quotient(channel, cell_channels), remainder(channel, cell_channels)
        first = np.int64(cuda.blockIdx.y) * (size + filters)
        if share == 0:
            for t in unroll(kernel_rows):
                tap = (plane * kernel_height + kernel_row + t) * kernel_width + column + cell
                for m in unroll(2):
                    for j in unroll(4):
                        for i in unroll(4):
                            c = channel_in_cell + 16 * m + quotient(lane, 4) + 8 * (i // 2)
                            k = filter + 8 * j + 2 * remainder(lane, 4) + i % 2
                            if c < channels and k < filters and kernel_row + t < kernel_height:
                                gradient[first + (tap * channels + c) * filters + k] = acc[32 * t + 16 * m + 4 * j + i]
            if channel == 0 and plane == 0 and kernel_row == 0 and column == 0:
                for j in unroll(
                    4
                ):  # a lane's sums are of filter lane // 4 of each eight, over a quarter of the outputs
                    bias[j] = acc[first_bias + j]
                    bias[j] += cuda.shfl_xor_sync(EVERY_LANE, bias[j], 1)
                    bias[j] += cuda.shfl_xor_sync(EVERY_LANE, bias[j], 2)
                    if remainder(lane, 4) == 0 and filter + 8 * j + quotient(lane, 4) < filters:
                        gradient[first + size + filter + 8 * j + quotient(lane, 4)] = bias[j]

    return store
