"""What a convolution on tensor cores copies to shared memory: the patch of the input that a block sees, and weights.

Must not learn what is multiplied.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.correlation import PITCH
from helpers.kernels.tensor.layout import CHUNK
from helpers.kernels.tensor.rows import PIECE, Box, row_copier

PIECES = CHUNK // PIECE


def patch_copier(staging, copy):
    """Device function copy_patch(shared, x, number, image, z, row, column): patch `number` of the block's input.

    `image`, `z`, `row` and `column` are those of the block's first output.
    """
    p, parts, planes = staging.problem, staging.parts, staging.problem.kernel[0]
    (z_step, row_step, column_step), (z_before, row_before, column_before) = p.stride, p.padding
    width, words = p.in_shape[2], p.channels // staging.packed
    find_column = _axis(p.spread[2], width) if p.spread[2] > 1 else None
    box = Box(parts * staging.images, staging.patch_rows, staging.patch_columns, PIECES, PITCH, width, words)
    if p.kernel == (1, 1, 1) and p.stride == p.spread == (1, 1, 1) and p.padding == (0, 0, 0):
        box = box.joined(p.in_shape[1])
    copy_rows = row_copier(copy, staging.tile.threads, box, _patch_rows(staging), find_column)

    @device_function
    def copy_patch(shared, x, number, image, z, row, column):
        first_z = z * z_step - z_before + remainder(number, planes)
        first_row, first_column = row * row_step - row_before, column * column_step - column_before
        copy_rows(shared, x, image, first_z, first_row, first_column, quotient(number, planes) * parts)

    return copy_patch


def _patch_rows(staging):
    """Device function locate(picture, r, image, z, row, chunk): pictures are all images of each chunk in turn."""
    p, images, chunks = staging.problem, staging.images, staging.chunks
    (depth, height, width), words, batch = p.in_shape, p.channels // staging.packed, p.batch
    find_z, find_row = _axis(p.spread[0], depth), _axis(p.spread[1], height)

    @device_function
    def locate(picture, r, image, z, row, chunk):
        part, i = chunk + quotient(picture, images), image + remainder(picture, images)
        (plane, inside), (r, real) = find_z(z), find_row(row + r)
        begin = ((i * depth + plane) * height + r) * (width * words) + part * CHUNK
        return begin, inside & real & (i < batch) & (part < chunks)

    return locate


def _axis(spread, size):
    """Device function find(place) -> (index, inside): of a cell where `spread` - 1 zeros lie between cells."""

    @device_function
    def find(place):
        return place, (place >= 0) & (place < size)

    @device_function
    def find_spread(place):
        real = max(place, 0)
        inside = (place >= 0) & (place <= (size - 1) * spread) & (remainder(real, spread) == 0)
        return quotient(real, spread), inside

    return find if spread == 1 else find_spread


def weight_copier(staging, copy):
    """Device function copy_weights(shared, w, turn, filter): the weights of round `turn` for the block's filters."""
    p, tile, threads = staging.problem, staging.tile, staging.tile.threads
    taps, groups, rows, total = tile.kernel_columns * p.kernel[1], staging.groups, staging.filters, p.filters
    planes, kernel_taps, parts = p.kernel[0], p.kernel[0] * p.kernel[1] * p.kernel[2], staging.parts
    plane_taps, pieces, chunks = p.kernel[1] * p.kernel[2], staging.filters * PIECES, staging.chunks
    lanes = min(pieces, threads)
    workers, turns = threads // lanes, pieces // lanes

    @device_function
    def copy_weights(shared, w, turn, filter):
        number, group, thread = quotient(turn, groups), remainder(turn, groups), np.int64(cuda.threadIdx.x)
        first_chunk = quotient(number, planes) * parts
        first_tap = remainder(number, planes) * plane_taps + group * taps
        worker, lane = quotient(thread, lanes), remainder(thread, lanes)
        for line in range(worker, parts * taps, workers):
            part, tap = quotient(line, taps), remainder(line, taps)
            chunk = first_chunk + part
            begin = ((chunk * kernel_taps + first_tap + tap) * total + filter) * CHUNK + lane * PIECE
            to, f = (
                (line * rows + quotient(lane, PIECES)) * PITCH + remainder(lane, PIECES) * PIECE,
                quotient(lane, PIECES),
            )
            for again in range(turns):
                inside = (chunk < chunks) & (filter + f + again * (lanes // PIECES) < total)
                copy(shared, to + again * (lanes // PIECES * PITCH), w, begin + again * (lanes * PIECE), inside)

    return copy_weights
