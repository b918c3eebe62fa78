"""End of the weight gradient on tensor cores: shares meet in a fixed order, the sums go where the update reads them.

One kernel row after the other, every warp lays its sums out in shared memory as they lie in the visible layout; then
all threads add up the shares and store. Must not learn how sums are made.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, quotient, remainder, store4
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.layout import TILE, padded
from helpers.kernels.tensor.tiles import tile_of
from helpers.kernels.tensor.weight_copies import tile_of_block
from helpers.kernels.tensor.weight_strips import STORE_PITCH
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
QUAD = 4  # floats of an access


def storer(strips):
    """Device function store(gradient, shared, sums): this block's part of its split, in the visible layout."""
    p, lines, kernel_rows, tile = strips.problem, strips.lines, strips.kernel_rows, tile_of_block(strips)
    _, channels, filters = p.shape
    size, cell_channels = p.size, padded(channels)
    (_, kernel_height, kernel_width), lay_out, write = p.kernel, _layer_out(), _writer(strips)

    @device_function
    @unrolled
    def store(gradient, shared, sums):
        acc = tile_of(sums, lines)
        channel, filter, plane, kernel_row = tile()
        warp = quotient(cuda.threadIdx.x, WARP)  # of share warp // taps, kernel column warp % taps
        cell, inner = quotient(channel, cell_channels), remainder(channel, cell_channels)
        first = np.int64(cuda.blockIdx.y) * (size + filters)
        for t in unroll(kernel_rows):
            cuda.syncthreads()
            lay_out(shared, warp * (TILE * STORE_PITCH), acc[2 * t])
            lay_out(shared, warp * (TILE * STORE_PITCH) + 16 * STORE_PITCH, acc[2 * t + 1])
            cuda.syncthreads()
            if kernel_row + t < kernel_height:
                tap = (plane * kernel_height + kernel_row + t) * kernel_width + cell
                write(gradient, first + tap * channels * filters, shared, inner, filter)

    return store


def _layer_out():
    """Device function: a lane's sums of 16 channels x 32 filters, rows of channels STORE_PITCH floats apart."""

    @device_function
    @unrolled
    def lay_out(shared, at, sums):
        lane = remainder(cuda.threadIdx.x, WARP)
        place = at + quotient(lane, 4) * STORE_PITCH + 2 * remainder(lane, 4)
        for i in unroll(16):
            shared[place + i % 4 // 2 * (8 * STORE_PITCH) + i // 4 * 8 + i % 2] = sums[i]

    return lay_out


def _writer(strips):
    """Device function: adds the shares of a kernel row in their order and writes its taps, from `first` on."""
    p, threads, shares, taps = strips.problem, strips.threads, strips.tile.shares, strips.problem.kernel[2]
    _, channels, filters = p.shape
    pieces, quads = taps * TILE * TILE // QUAD, TILE // QUAD
    together = filters % QUAD == 0  # then splits, weights and biases, begin at 16 bytes, too

    @device_function
    @unrolled
    def write(gradient, first, shared, channel, filter):
        for piece in range(np.int64(cuda.threadIdx.x), pieces, threads):
            row, k = quotient(piece, quads), filter + QUAD * remainder(piece, quads)
            at = row * STORE_PITCH + QUAD * remainder(piece, quads)
            a, b, c, d = load4(shared, at)
            for share in unroll(1, shares):
                more = load4(shared, at + share * (taps * TILE * STORE_PITCH))
                a, b, c, d = a + more[0], b + more[1], c + more[2], d + more[3]
            inner, column = channel + remainder(row, TILE), quotient(row, TILE)
            to = first + (column * channels + inner) * filters + k
            total = registers(QUAD)
            total[0], total[1], total[2], total[3] = a, b, c, d
            if inner < channels:
                if together:
                    if k < filters:
                        store4(gradient, to, a, b, c, d)
                else:
                    for i in unroll(QUAD):
                        if k + i < filters:
                            gradient[to + i] = total[i]

    return write
