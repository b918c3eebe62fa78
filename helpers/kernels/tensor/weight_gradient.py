"""Weight gradient of convolutions and dense layers on tensor cores: partial sums of x^T dy, and of dy for the bias.

A block takes 32 channels x 32 filters and some rows of the kernel over a share of all outputs. A warp, which has one
column of the kernel, slides down the rows of a strip: what it loads of a row of x meets every kernel row that needs
it. Shares meet in shared memory in a fixed order. Must not learn about the update.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import pointer, quotient, remainder, shared_floats
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.gather import gatherer
from helpers.kernels.tensor.rows import copier
from helpers.kernels.tensor.tiles import blank, tile_of
from helpers.kernels.tensor.weight_bias import bias_summer
from helpers.kernels.tensor.weight_copies import image_copier
from helpers.kernels.tensor.weight_store import storer
from helpers.unroll import unroll, unrolled


def weight_body(strips, form):
    """Body of the kernel of `gradient` (splits, weights + biases) from x and dy, words."""
    copy, arrived = copier(form.copies)
    copy_round, zeros, accumulate = image_copier(strips, copy), blank(strips.lines), _accumulator(strips, form)
    store, (no_bias, add_bias, store_bias) = storer(strips), bias_summer(strips, form)
    rounds, buffer, last = strips.rounds, strips.buffer_words, _last_round(strips)

    def body(gradient, x, dy):
        words, sums, bias = shared_floats(0), zeros, no_bias
        first = np.int64(cuda.blockIdx.y) * rounds
        count = max(min(rounds, last - first), 0)
        if count > 0:
            copy_round(words, x, dy, first)
        for turn in range(count):
            arrived()
            cuda.syncthreads()
            if turn + 1 < count:
                copy_round(pointer(words, remainder(turn + 1, 2) * buffer), x, dy, first + turn + 1)
            here = pointer(words, remainder(turn, 2) * buffer)
            bias = add_bias(here, bias)
            sums = accumulate(here, sums)
        cuda.syncthreads()
        store_bias(gradient, words, bias)
        store(gradient, words, sums)

    return body


def _last_round(strips):
    images, depth, rows, columns = strips.unit_counts
    return images * depth * rows * columns


def _cells(strips):
    """Device functions: word of an output's cell in the patch of x, and in dy; row and column are outputs'."""
    (_, row_step, column_step), pitch = strips.problem.stride, strips.pitch
    patch_rows, patch_columns, line_columns = strips.patch_rows, strips.patch_columns, strips.line_columns
    rows, columns, first_dy = strips.rows, strips.columns, strips.patch_words

    @device_function
    def of_x(image, row, column, output):
        image, column = image + quotient(output, line_columns), column + remainder(output, line_columns)
        return ((image * patch_rows + row * row_step) * patch_columns + column * column_step) * pitch

    @device_function
    def of_dy(image, row, column, output):
        image, column = image + quotient(output, line_columns), column + remainder(output, line_columns)
        return first_dy + ((image * rows + row) * columns + column) * pitch

    return of_x, of_dy


def _accumulator(strips, form):
    """Device function accumulate(words, sums) -> sums: the strips of this warp's share of a round."""
    tile, multiply = strips.tile, _strip_multiplier(strips, form)
    shares, strip_count, column_taps = tile.shares, strips.strips, strips.problem.kernel[2]
    column_lines, row_strips, rows = tile.column_lines, tile.row_strips, tile.rows
    line_columns, line_images = strips.line_columns, strips.line_images

    @device_function
    def accumulate(words, sums):
        warp = quotient(cuda.threadIdx.x, WARP)
        share, tap = quotient(warp, column_taps), remainder(warp, column_taps)
        for strip in range(share, strip_count, shares):
            line, rest = remainder(strip, column_lines), quotient(strip, column_lines)
            row, image = remainder(rest, row_strips) * rows, quotient(rest, row_strips) * line_images
            sums = multiply(words, image, row, line * line_columns, tap, sums)
        return sums

    return accumulate


def _strip_multiplier(strips, form):
    """Device function multiply(words, image, row, column, tap, sums) -> sums: one strip, one kernel column."""
    rows, row_step, kernel_rows = strips.tile.rows, strips.problem.stride[1], strips.kernel_rows
    patch_lines, pitch, mma = (rows - 1) * row_step + kernel_rows, strips.pitch, form.multiply
    of_x, of_dy = _cells(strips)
    x_places, load_rows, _, steps, half = gatherer(form.packed, of_x)
    dy_places, _, load_columns, _, _ = gatherer(form.packed, of_dy)
    x_line, dy_line, lines = strips.patch_columns * pitch, strips.columns * pitch, strips.lines
    words_blank = blank(2 * steps * rows, 4)

    @device_function
    @unrolled
    def multiply(words, image, row, column, tap, sums):
        acc = tile_of(sums, lines)
        d = tile_of(words_blank, rows, steps, 2)
        at_x, at_dy = x_places(image, row, column, True), dy_places(image, row, column, False)
        for line in unroll(patch_lines):
            for r in unroll(rows):
                if r * row_step == line:  # the first row of x that this row of dy meets
                    for s in unroll(steps):
                        d[r, s, 0] = load_columns(words, at_dy, r * dy_line, s)
                        d[r, s, 1] = load_columns(words, at_dy, r * dy_line + half, s)
            for s in unroll(steps):
                for m in unroll(2):
                    a = load_rows(words, at_x, line * x_line + tap * pitch + m * half, s)
                    for r in unroll(rows):
                        for t in unroll(kernel_rows):
                            if r * row_step + t == line:
                                acc[2 * t + m] = mma(a, d[r, s, 0], d[r, s, 1], acc[2 * t + m])
        return acc

    return multiply
