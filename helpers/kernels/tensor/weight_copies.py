"""Copies to shared memory for the weight gradient on tensor cores: 32 channels of x and 32 filters of dy of a round.

Must not learn what is multiplied.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.layout import TILE

PIECE = 4  # words that one instruction copies


def tile_of_block(strips):
    """Device function: (first channel, first filter, kernel plane, first kernel row) of this block."""
    channel_tiles, filter_tiles, planes, _ = strips.tiles
    kernel_rows = strips.kernel_rows

    @device_function
    def place():
        rest = np.int64(cuda.blockIdx.x)
        channel, rest = remainder(rest, channel_tiles) * TILE, quotient(rest, channel_tiles)
        filter, rest = remainder(rest, filter_tiles) * TILE, quotient(rest, filter_tiles)
        return channel, filter, remainder(rest, planes), quotient(rest, planes) * kernel_rows

    return place


def image_copier(strips, copy):
    """Device function copy_round(shared, x, dy, number): round `number` of all, x first, zeros outside the images."""
    p, tile = strips.problem, tile_of_block(strips)
    _, planes, row_units, column_units = strips.unit_counts
    images, rows, columns = strips.images, strips.rows, strips.columns
    (z_step, row_step, column_step), (z_before, row_before, column_before) = p.stride, p.padding
    copy_x = _copier(strips, copy, p.in_shape, p.channels, strips.patch_rows, strips.patch_columns, 0)
    copy_dy = _copier(strips, copy, p.out_shape, p.filters, rows, columns, strips.patch_words)

    @device_function
    def copy_round(shared, x, dy, number):
        channel, filter, plane, kernel_row = tile()
        column, rest = remainder(number, column_units) * columns, quotient(number, column_units)
        row, rest = remainder(rest, row_units) * rows, quotient(rest, row_units)
        z, image = remainder(rest, planes), quotient(rest, planes) * images
        first_row, first_column = row * row_step - row_before + kernel_row, column * column_step - column_before
        copy_x(shared, x, image, z * z_step - z_before + plane, first_row, first_column, channel)
        copy_dy(shared, dy, image, z, row, column, filter)

    return copy_round


def _copier(strips, copy, shape, channels, rows, columns, first):
    """Device function: a box of `rows` x `columns` cells of each image of the round, 32 channels of each."""
    (depth, height, width), words, pitch = shape, channels // strips.packed, strips.pitch
    pieces, threads, batch = TILE // strips.packed // PIECE, strips.threads, strips.problem.batch
    count, packed = strips.images * rows * columns * pieces, strips.packed

    @device_function
    def copy_box(shared, source, image, z, first_row, first_column, channel):
        for piece in range(np.int64(cuda.threadIdx.x), count, threads):
            cell, part = quotient(piece, pieces), remainder(piece, pieces)
            line, c = quotient(cell, columns), first_column + remainder(cell, columns)
            i, r = image + quotient(line, rows), first_row + remainder(line, rows)
            inside = 0 <= z < depth and 0 <= r < height and 0 <= c < width and i < batch
            at = (((i * depth + z) * height + r) * width + c) * words + quotient(channel, packed) + part * PIECE
            copy(shared, first + cell * pitch + part * PIECE, source, at if inside else 0, inside)

    return copy_box
