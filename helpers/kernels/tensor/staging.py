"""Copies to shared memory for tensor cores: the patch of the input that a block sees, and weights.

Pieces of four words. On cards that can, copies run on while the threads multiply what came before. Must not learn
what is multiplied.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.fused.intrinsics import wait_for_copies
from helpers.kernels.intrinsics import load4, quotient, remainder, store4
from helpers.kernels.tensor.correlation import PITCH
from helpers.kernels.tensor.intrinsics import copy_words
from helpers.kernels.tensor.layout import CHUNK

PIECE = 4  # words that one instruction copies
PIECES = CHUNK // PIECE
ZERO = np.float32(0.0)


def copier(asynchronous):
    """Device functions copy(target, index, source, begin, inside) of a piece, zeros if not `inside`, and arrived()."""

    @device_function
    def copy_now(target, index, source, begin, inside):
        a, b, c, d = load4(source, begin)
        if not inside:
            a, b, c, d = ZERO, ZERO, ZERO, ZERO
        store4(target, index, a, b, c, d)

    @device_function
    def nothing():
        pass

    return (copy_words, wait_for_copies) if asynchronous else (copy_now, nothing)


def patch_copier(staging, copy):
    """Device function copy_patch(shared, x, number, image, z, row, column): patch `number` of the block's input.

    `image`, `z`, `row` and `column` are those of the block's first output.
    """
    p, threads, parts, chunks = staging.problem, staging.tile.threads, staging.parts, staging.chunks
    (depth, height, width), words = p.in_shape, p.channels // staging.packed
    (z_step, row_step, column_step), (z_before, row_before, column_before) = p.stride, p.padding
    z_spread, row_spread, column_spread = p.spread
    images, rows, columns, batch, planes = (
        staging.images, staging.patch_rows, staging.patch_columns, p.batch, p.kernel[0]
    )  # fmt: skip
    count = parts * images * rows * columns * PIECES
    find_z, find_row, find_column = _axis(z_spread), _axis(row_spread), _axis(column_spread)

    @device_function
    def copy_patch(shared, x, number, image, z, row, column):
        first_z = z * z_step - z_before + remainder(number, planes)
        first_row, first_column = row * row_step - row_before, column * column_step - column_before
        first_chunk = quotient(number, planes) * parts
        source_z, inside_z = find_z(first_z, depth)
        for piece in range(np.int64(cuda.threadIdx.x), count, threads):
            cell, quarter = quotient(piece, PIECES), remainder(piece, PIECES)
            line, c = quotient(cell, columns), remainder(cell, columns)
            picture, r = quotient(line, rows), remainder(line, rows)
            part, i = quotient(picture, images), remainder(picture, images)
            source_row, inside_row = find_row(first_row + r, height)
            source_column, inside_column = find_column(first_column + c, width)
            inside = inside_z and inside_row and inside_column and image + i < batch and first_chunk + part < chunks
            at = (((image + i) * depth + source_z) * height + source_row) * width + source_column
            begin = at * words + (first_chunk + part) * CHUNK + quarter * PIECE if inside else 0
            # line counts rows of all images and parts, which lie behind each other
            copy(shared, (line * columns + c) * PITCH + quarter * PIECE, x, begin, inside)

    return copy_patch


def _axis(spread):
    """Device function find(place, size) -> (index, inside): of a cell where `spread` - 1 zeros lie between cells."""

    @device_function
    def find(place, size):
        inside = place >= 0 and place < size
        return (place if inside else 0), inside

    @device_function
    def find_spread(place, size):
        inside = place >= 0 and place <= (size - 1) * spread and remainder(max(place, 0), spread) == 0
        return (quotient(place, spread) if inside else 0), inside

    return find if spread == 1 else find_spread


def weight_copier(staging, copy):
    """Device function copy_weights(shared, w, turn, filter): the weights of round `turn` for the block's filters."""
    p, tile, threads = staging.problem, staging.tile, staging.tile.threads
    taps = tile.kernel_columns * p.kernel[1]
    parts, groups, rows, total, chunks = staging.parts, staging.groups, staging.filters, p.filters, staging.chunks
    planes, kernel_taps = p.kernel[0], p.kernel[0] * p.kernel[1] * p.kernel[2]
    plane_taps, count = p.kernel[1] * p.kernel[2], parts * taps * rows * PIECES

    @device_function
    def copy_weights(shared, w, turn, filter):
        number, group = quotient(turn, groups), remainder(turn, groups)
        first_chunk = quotient(number, planes) * parts
        first_tap = remainder(number, planes) * plane_taps + group * taps
        for piece in range(np.int64(cuda.threadIdx.x), count, threads):
            row, quarter = quotient(piece, PIECES), remainder(piece, PIECES)
            tap, f = quotient(row, rows), remainder(row, rows)
            part, tap = quotient(tap, taps), remainder(tap, taps)
            chunk = first_chunk + part
            inside = chunk < chunks and filter + f < total
            begin = ((chunk * kernel_taps + first_tap + tap) * total + filter + f) * CHUNK + quarter * PIECE
            copy(shared, row * PITCH + quarter * PIECE, w, begin if inside else 0, inside)

    return copy_weights
