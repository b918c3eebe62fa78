"""Convolution on tensor cores: the body that forward passes and input gradients share, of dense layers too.

A block makes a tile of outputs, round by round over the channels and the columns of the kernel: while its warps
multiply one round, the next is on its way to shared memory. A warp slides down the rows of its patch: what it loads
of a row meets every kernel row that needs it. Must not learn what becomes of a sum: a `finish` stores it.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import pointer, quotient, remainder, shared_floats
from helpers.kernels.tensor.correlation import PITCH, WARP
from helpers.kernels.tensor.formats import follower
from helpers.kernels.tensor.intrinsics import load_matrices
from helpers.kernels.tensor.layout import CHUNK, TILE
from helpers.kernels.tensor.rows import copier
from helpers.kernels.tensor.staging import patch_copier, weight_copier
from helpers.kernels.tensor.tiles import LINE_SUMS, add_shared, blank, put_shared, tile_of
from helpers.unroll import unroll, unrolled

STEP = 8  # words of a row that are multiplied at once


def correlator(staging, form, finish):
    """Device function correlate(out, gate, x, w, extra): the whole work of a block.

    Parameters
    ----------
    staging : Staging
    form : Format
    finish : device function
        (out, gate, extra, image, z, row, column, filter, sums): stores what a warp has; the places are those of the
        first output of its tile.

    Returns
    -------
    device function
    """
    block, warp_place, zeros = _block_place(staging), _warp_place(staging), blank(staging.tile.rows)
    (copy, arrived), follow = copier(form.copies), follower(form)
    copy_patch, copy_weights = patch_copier(staging, copy), weight_copier(staging, copy)
    multiply, combine = _multiplier(staging, form), _combiner(staging)
    rounds, groups, patch_size = staging.rounds, staging.groups, staging.parts * staging.patch_words
    first_weight, weight_size = staging.first_weight, staging.parts * staging.weight_words
    column_words = staging.tile.kernel_columns * PITCH

    @device_function
    def correlate(out, gate, x, w, extra):
        image, z, row, column, filter = block()
        team, own_image, own_row, own_column, own_filter = warp_place()
        words, sums = shared_floats(0), zeros
        copy_weights(pointer(words, first_weight), w, 0, filter)
        follow()  # weights may be read before: load_batch, which is not chained, has seen the update end
        copy_patch(words, x, 0, image, z, row, column)
        for turn in range(rounds):
            arrived()
            cuda.syncthreads()
            if turn + 1 < rounds:
                number, there = quotient(turn + 1, groups), remainder(turn + 1, 2)
                if remainder(turn + 1, groups) == 0:
                    copy_patch(pointer(words, remainder(number, 2) * patch_size), x, number, image, z, row, column)
                copy_weights(pointer(words, first_weight + there * weight_size), w, turn + 1, filter)
            patch = remainder(quotient(turn, groups), 2) * patch_size + remainder(turn, groups) * column_words
            weights = first_weight + remainder(turn, 2) * weight_size
            sums = multiply(pointer(words, patch), pointer(words, weights), sums)
        sums = combine(words, team, sums)
        if team == 0:
            finish(
                out, gate, extra, image + own_image, z, row + own_row, column + own_column, filter + own_filter, sums
            )

    return correlate


def _block_place(staging):
    """Device function: (image, z, row, column, filter) of the first output of this block."""
    _, depth, row_tiles, column_tiles, filter_tiles = staging.grid
    images, rows, columns, filters = staging.images, staging.rows, staging.columns, staging.filters

    @device_function
    def place():
        rest = np.int64(cuda.blockIdx.x)
        filter_tile, rest = remainder(rest, filter_tiles), quotient(rest, filter_tiles)
        column_tile, rest = remainder(rest, column_tiles), quotient(rest, column_tiles)
        row_tile, rest = remainder(rest, row_tiles), quotient(rest, row_tiles)
        z, image_tile = remainder(rest, depth), quotient(rest, depth)
        return image_tile * images, z, row_tile * rows, column_tile * columns, filter_tile * filters

    return place


def _warp_place(staging):
    """Device function: (team, image, row, column, filter) of the first output of this warp in the block's tile."""
    tile, line_images, line_columns = staging.tile, staging.line_images, staging.line_columns
    team_warps, filter_warps, column_warps = tile.team_warps, tile.filter_warps, tile.column_warps
    row_warps, rows = tile.row_warps, tile.rows

    @device_function
    def place():
        warp = quotient(cuda.threadIdx.x, WARP)
        team, rest = quotient(warp, team_warps), remainder(warp, team_warps)
        filter, rest = remainder(rest, filter_warps), quotient(rest, filter_warps)
        column, rest = remainder(rest, column_warps), quotient(rest, column_warps)
        row, image = remainder(rest, row_warps), quotient(rest, row_warps)
        return team, image * line_images, row * rows, column * line_columns, filter * TILE

    return place


def _lane_places(staging):
    """Device function: where this lane reads its row of a line, and its row of sixteen filters."""
    warp_place, (_, row_step, column_step) = _warp_place(staging), staging.problem.stride
    patch_rows, patch_columns, line_columns = staging.patch_rows, staging.patch_columns, staging.line_columns
    team_patch, team_weights = (staging.tile.depth * n for n in (staging.patch_words, staging.weight_words))

    @device_function
    def places():
        team, image, row, column, filter = warp_place()
        lane = remainder(cuda.threadIdx.x, WARP)
        matrix, line = quotient(lane, 8), remainder(lane, 8)
        pixel = line + 8 * remainder(matrix, 2)
        image, column = image + quotient(pixel, line_columns), column + remainder(pixel, line_columns)
        cell = (image * patch_rows + row * row_step) * patch_columns + column * column_step
        patch = team * team_patch + cell * PITCH + 4 * quotient(matrix, 2)
        weights = (filter + line + 8 * quotient(matrix, 2)) * PITCH + 4 * remainder(matrix, 2)
        return patch, team * team_weights + weights

    return places


def _multiplier(staging, form):
    """Device function multiply(patch, weights, sums) -> sums: a round of this warp's team."""
    rows, row_step, kernel_rows = staging.tile.rows, staging.problem.stride[1], staging.problem.kernel[1]
    lines, line_words = (rows - 1) * row_step + kernel_rows, staging.patch_columns * PITCH
    depth, columns, steps, mma = staging.tile.depth, staging.tile.kernel_columns, CHUNK // STEP, form.multiply
    patch_words, weight_words, tap_words = staging.patch_words, staging.weight_words, staging.filters * PITCH
    places, weights_blank = _lane_places(staging), blank(2 * kernel_rows, 4)

    @device_function
    @unrolled
    def multiply(patch, weights, sums):
        acc = tile_of(sums, rows)
        w = tile_of(weights_blank, kernel_rows, 2)
        of_patch, of_weights = places()
        for part in range(depth):
            for column in range(columns):
                first = of_patch + part * patch_words + column * PITCH
                other = of_weights + part * weight_words + column * (kernel_rows * tap_words)
                for step in unroll(steps):
                    for t in unroll(kernel_rows):
                        w[t, 0] = load_matrices(weights, other + t * tap_words + step * STEP)
                        w[t, 1] = load_matrices(weights, other + t * tap_words + step * STEP + 16 * PITCH)
                    for line in unroll(lines):
                        a = load_matrices(patch, first + line * line_words + step * STEP)
                        for r in unroll(rows):
                            for t in unroll(kernel_rows):
                                if r * row_step + t == line:
                                    acc[r] = mma(a, w[t, 0], w[t, 1], acc[r])
        return acc

    return multiply


def _combiner(staging):
    """Device function combine(shared, team, sums) -> sums: in team 0 those of all teams, in their order."""
    rows, teams, team_threads = staging.tile.rows, staging.tile.teams, WARP * staging.tile.team_warps
    line_floats, team_floats = LINE_SUMS * team_threads, LINE_SUMS * team_threads * rows

    @device_function
    def keep(shared, team, sums):
        return sums

    @device_function
    @unrolled
    def combine(shared, team, sums):
        acc = tile_of(sums, rows)
        lane = remainder(cuda.threadIdx.x, team_threads)
        cuda.syncthreads()
        if team > 0:
            for r in unroll(rows):
                put_shared(acc[r], shared, (team - 1) * team_floats + r * line_floats + lane, team_threads)
        cuda.syncthreads()
        if team == 0:
            for other in range(teams - 1):
                for r in unroll(rows):
                    acc[r] = add_shared(acc[r], shared, other * team_floats + r * line_floats + lane, team_threads)
        return acc

    return combine if teams > 1 else keep
