"""Copies to shared memory for the weight gradient on tensor cores: 32 channels of x and 32 filters of dy of a round.

Must not learn what is multiplied.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import pointer, quotient, remainder
from helpers.kernels.tensor.layout import TILE
from helpers.kernels.tensor.rows import PIECE, Box, row_copier


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
    pieces, pitch, packed = TILE // strips.packed // PIECE, strips.pitch, strips.packed
    patch = Box(
        images, strips.patch_rows, strips.patch_columns, pieces, pitch, p.in_shape[2], p.channels // packed
    )  # fmt: skip
    if strips.patch_rows == rows and p.kernel[2] == 1 and p.stride[1:] == (1, 1) and p.padding == (0, 0, 0):
        patch = patch.joined(p.in_shape[1])
    copy_x = row_copier(copy, strips.threads, patch, _rows(strips, p.in_shape, p.channels))
    outputs = Box(images, rows, columns, pieces, pitch, p.out_shape[2], p.filters // packed)
    copy_dy = row_copier(copy, strips.threads, outputs.joined(p.out_shape[1]), _rows(strips, p.out_shape, p.filters))
    first_dy = strips.patch_words

    @device_function
    def copy_round(shared, x, dy, number):
        channel, filter, plane, kernel_row = tile()
        column, rest = remainder(number, column_units) * columns, quotient(number, column_units)
        row, rest = remainder(rest, row_units) * rows, quotient(rest, row_units)
        z, image = remainder(rest, planes), quotient(rest, planes) * images
        first_row, first_column = row * row_step - row_before + kernel_row, column * column_step - column_before
        copy_x(shared, x, image, z * z_step - z_before + plane, first_row, first_column, channel)
        copy_dy(pointer(shared, first_dy), dy, image, z, row, column, filter)

    return copy_round


def _rows(strips, shape, channels):
    """Device function locate(picture, r, image, z, row, channel): pictures are images."""
    (depth, height, width), words, batch, packed = shape, channels // strips.packed, strips.problem.batch, strips.packed

    @device_function
    def locate(picture, r, image, z, row, channel):
        i, r = image + picture, row + r
        begin = ((i * depth + z) * height + r) * (width * words) + quotient(channel, packed)
        return begin, (z >= 0) & (z < depth) & (r >= 0) & (r < height) & (i < batch)

    return locate
