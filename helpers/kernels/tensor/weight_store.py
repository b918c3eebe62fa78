"""End of the weight gradient on tensor cores: shares meet in a fixed order, the sums go where the update reads them.

Must not learn how sums are made.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.tiles import LINE_SUMS, add_shared, put_shared, tile_of
from helpers.kernels.tensor.weight_copies import tile_of_block
from helpers.unroll import unroll, unrolled


def combiner(strips):
    """Device function combine(shared, sums) -> sums: in share 0 those of all shares, added by halves."""
    lines, shares, share_threads = strips.lines, strips.tile.shares, WARP * strips.problem.kernel[2]
    line_floats, halvings = LINE_SUMS * share_threads, shares.bit_length() - 1

    @device_function
    @unrolled
    def combine(shared, sums):
        acc = tile_of(sums, lines)
        share, lane = quotient(cuda.threadIdx.x, share_threads), remainder(cuda.threadIdx.x, share_threads)
        for h in range(halvings):
            half = shares >> (h + 1)
            if half <= share < 2 * half:
                for i in unroll(lines):
                    put_shared(acc[i], shared, ((share - half) * lines + i) * line_floats + lane, share_threads)
            cuda.syncthreads()
            if share < half:
                for i in unroll(lines):
                    acc[i] = add_shared(acc[i], shared, (share * lines + i) * line_floats + lane, share_threads)
            cuda.syncthreads()
        return acc

    return combine


def storer(strips):
    """Device function store(gradient, sums): this block's part of its split, in the visible layout."""
    p, lines, kernel_rows = strips.problem, strips.lines, strips.kernel_rows
    _, channels, filters = p.shape
    size, cell_channels, tile = p.size, padded(channels), tile_of_block(strips)
    (_, kernel_height, kernel_width), store_line = p.kernel, _line_storer(p)

    @device_function
    @unrolled
    def store(gradient, sums):
        acc = tile_of(sums, lines)
        channel, filter, plane, kernel_row = tile()
        warp = quotient(cuda.threadIdx.x, WARP)
        share, column = quotient(warp, kernel_width), remainder(warp, kernel_width)
        cell, inner = quotient(channel, cell_channels), remainder(channel, cell_channels)
        first = np.int64(cuda.blockIdx.y) * (size + filters)
        if share == 0:
            for t in unroll(kernel_rows):
                tap = (plane * kernel_height + kernel_row + t) * kernel_width + column + cell
                if kernel_row + t < kernel_height:
                    for m in unroll(2):
                        store_line(gradient, first + tap * channels * filters, inner + 16 * m, filter, acc[2 * t + m])

    return store


def _line_storer(problem):
    """Device function: a lane's sums of 16 channels x 32 filters of a tap whose weights begin at `first`."""
    _, channels, filters = problem.shape

    @device_function
    @unrolled
    def store(gradient, first, channel, filter, sums):
        lane = remainder(cuda.threadIdx.x, WARP)
        c, k = channel + quotient(lane, 4), filter + 2 * remainder(lane, 4)
        for i in unroll(16):
            row, column = c + i % 4 // 2 * 8, k + i // 4 * 8 + i % 2
            if row < channels and column < filters:
                gradient[first + row * filters + column] = sums[i]

    return store
