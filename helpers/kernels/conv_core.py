"""The body that all convolution kernels over images share: sums in registers over a patch in shared memory.

A block makes a tile of pixels x filters, a thread rows x columns x filters of it, round by round over the channels.
While the teams sum one round, they fetch the next into the other half of shared memory. Must not learn what becomes
of a sum: an Epilogue stores it.
"""

from typing import NamedTuple

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.conv_staging import cell_table, filler, mover
from helpers.kernels.intrinsics import load4, pointer, quotient, remainder, shared_floats
from helpers.unroll import registers, tile_of, unroll, unrolled

ZERO = np.float32(0.0)


class Epilogue(NamedTuple):
    """What becomes of finished sums: device functions.

    bias(extra, filter) : four values for four filters.
    activate(sum, bias) : the output.
    store(out, winner, extra, image, z, row, column, filter, four outputs, four winners) : writes what exists of them;
        row and column count windows.
    """

    bias: object
    activate: object
    store: object


def block_place(layout):
    """Device function: (image, z, row, column, filter) of the first output of this block."""
    tile = layout.tile
    _, depth, row_tiles, column_tiles, filter_tiles = layout.grid
    block_rows, block_columns = tile.row_groups * tile.rows, tile.column_groups * tile.columns
    images, filters = tile.images, tile.block_filters

    @device_function
    def place():
        rest = np.int64(cuda.blockIdx.x)
        filter_tile, rest = remainder(rest, filter_tiles), quotient(rest, filter_tiles)
        column_tile, rest = remainder(rest, column_tiles), quotient(rest, column_tiles)
        row_tile, rest = remainder(rest, row_tiles), quotient(rest, row_tiles)
        z, image_tile = remainder(rest, depth), quotient(rest, depth)
        return image_tile * images, z, row_tile * block_rows, column_tile * block_columns, filter_tile * filters

    return place


def thread_place(tile):
    """Device function: (team, lane in the team, image, row, column, filter) of this thread inside the block's tile.

    Threads past the last team double its last thread, so that none reads astray; they write nothing.
    """
    team_size, pixel_groups, columns, rows = tile.team, tile.pixel_groups, tile.column_groups, tile.row_groups
    row_step, column_step, last = tile.rows, tile.columns, tile.team * tile.teams - 1

    @device_function
    def place():
        thread = min(np.int64(cuda.threadIdx.x), np.int64(last))
        team, lane = quotient(thread, team_size), remainder(thread, team_size)
        pixel, filter_group = remainder(lane, pixel_groups), quotient(lane, pixel_groups)
        line, column = quotient(pixel, columns), remainder(pixel, columns) * column_step
        return team, lane, quotient(line, rows), remainder(line, rows) * row_step, column, filter_group * 4

    return place


def multiplier(layout):
    """Device function multiply(patch, weights, sums) -> sums: adds one channel's products, one kernel row at a time.

    A row of the patch in registers serves all taps of a kernel row; the weights of a tap serve all of the thread's
    pixels. A straight tile has all kernel rows in one piece, so that a patch row is read once for all of them.
    """
    tile, (_, row_step, column_step), (_, row_taps, taps) = layout.tile, layout.sums.stride, layout.sums.kernel
    rows, columns, filters, read, vector = tile.rows, tile.columns, tile.filters, layout.read, layout.vector
    pitch, weight_pitch, quad_step = layout.pitch, layout.weight_pitch, tile.filter_groups * 4
    together = row_taps if tile.straight else 1

    @device_function
    @unrolled
    def multiply(patch, weights, sums):
        acc = tile_of(sums, rows, columns, filters)
        v = registers(rows, read)
        u = registers(filters)
        for first in range(0, row_taps, together):
            for i in unroll(together):
                for r in unroll(rows):
                    line = (r * row_step + first + i) * pitch
                    if vector:
                        for q in unroll(0, read, 4):
                            v[r, q], v[r, q + 1], v[r, q + 2], v[r, q + 3] = load4(patch, line + q)
                    else:
                        for q in unroll(read):
                            v[r, q] = patch[line + q]
                for t in unroll(taps):
                    at = ((first + i) * taps + t) * weight_pitch
                    for q in unroll(0, filters, 4):
                        u[q], u[q + 1], u[q + 2], u[q + 3] = load4(weights, at + q // 4 * quad_step)
                    for r in unroll(rows):
                        for c in unroll(columns):
                            for f in unroll(filters):
                                acc[r, c, f] += v[r, c * column_step + t] * u[f]
        return acc

    return multiply


def combiner(tile):
    """Device function combine(shared, team, lane, works, sums) -> sums: in team 0 those of all teams in their order."""
    count, team_size, teams = tile.accumulators, tile.team, tile.teams

    @device_function
    def keep(shared, team, lane, works, sums):
        return sums

    @device_function
    @unrolled
    def combine(shared, team, lane, works, sums):
        acc = tile_of(sums, count)
        for other in range(1, teams):
            if team == other and works:
                for i in unroll(count):
                    shared[i * team_size + lane] = acc[i]
            cuda.syncthreads()
            if team == 0:
                for i in unroll(count):
                    acc[i] += shared[i * team_size + lane]
            cuda.syncthreads()
        return acc

    return combine if teams > 1 else keep


def finisher(tile, epilogue, window):
    """Device function finish(out, winner, extra, image, z, row, column, filter, sums): activates, pools and stores."""
    rows, columns, filters, quad_step = tile.rows, tile.columns, tile.filters, tile.filter_groups * 4
    (high, wide), (load_bias, activate, store) = window, epilogue

    @device_function
    @unrolled
    def finish(out, winner, extra, image, z, row, column, k, sums):
        acc = tile_of(sums, rows, columns, filters)
        bias = registers(4)
        best = registers(4)
        which = registers(4)
        for q in unroll(filters // 4):
            bias[0], bias[1], bias[2], bias[3] = load_bias(extra, k + q * quad_step)
            for r in unroll(rows // high):
                for c in unroll(columns // wide):
                    for j in unroll(4):
                        best[j], which[j] = activate(acc[r * high, c * wide, 4 * q + j], bias[j]), 0
                        for i in unroll(1, high * wide):
                            value = activate(acc[r * high + i // wide, c * wide + i % wide, 4 * q + j], bias[j])
                            if value > best[j]:
                                best[j], which[j] = value, i
                    store(out, winner, extra, image, z, row + r, column + c, k + q * quad_step, best, which)

    return finish


def zeros(tile):
    """Device function: the sums of a thread before the first round."""
    count = tile.accumulators

    @device_function
    @unrolled
    def start():
        acc = registers(count)
        for i in unroll(count):
            acc[i] = ZERO
        return acc

    return start


def patch_place(layout):
    """Device functions: corner(z, row, column) of the patch in the input, and where in shared memory a thread reads.

    starts(team, image, row, column, filter) -> (patch, weights) : its first cell of each.
    """
    sums, tile, pitch = layout.sums, layout.tile, layout.pitch
    (z_step, row_step, column_step), (z_before, row_before, column_before) = sums.stride, sums.padding
    image_size, team_patch = layout.patch_rows * pitch, layout.steps * layout.plane
    team_weights, first_weight = layout.steps * layout.channel_weights, tile.channels * layout.plane

    @device_function
    def corner(z, row, column):
        return z * z_step - z_before, row * row_step - row_before, column * column_step - column_before

    @device_function
    def starts(team, image, row, column, k):
        patch = team * team_patch + image * image_size + row * row_step * pitch + column * column_step
        return patch, first_weight + team * team_weights + k

    return corner, starts


def correlator(layout, epilogue, window=(1, 1)):
    """Device function correlate(out, winner, x, w, extra): the whole work of a block.

    `window` is the (rows, columns) of outputs of which only the largest is stored; it divides the thread's tile.
    """
    tile, (high, wide), working = layout.tile, window, layout.tile.team * layout.tile.teams
    (block, thread), (corner, starts) = (block_place(layout), thread_place(tile)), patch_place(layout)
    tabulate, fill, start = cell_table(layout), filler(layout), zeros(tile)
    fetch, put = mover(layout, layout.steps)
    multiply, combine, finish = multiplier(layout), combiner(tile), finisher(tile, epilogue, window)
    rounds, steps, buffer = layout.rounds, layout.steps, layout.buffer
    plane, channel_weights = layout.plane, layout.channel_weights

    @device_function
    def correlate(out, winner, x, w, extra):
        image, z, row, column, k = block()
        team, lane, own_image, own_row, own_column, own_k = thread()
        first_z, first_row, first_column = corner(z, row, column)
        patch, weights = starts(team, own_image, own_row, own_column, own_k)
        shared, sums, works = shared_floats(0), start(), cuda.threadIdx.x < working
        tabulate(image, first_row, first_column)
        cuda.syncthreads()
        fill(shared, x, w, first_z, k)
        cuda.syncthreads()
        for turn in range(rounds):
            here, there = remainder(turn, 2) * buffer, remainder(turn + 1, 2) * buffer
            for step in range(steps):
                if turn + 1 < rounds:
                    pieces = fetch(x, w, first_z, k, turn + 1, step)
                values = pointer(shared, here + patch + step * plane)
                sums = multiply(values, pointer(shared, here + weights + step * channel_weights), sums)
                if turn + 1 < rounds:
                    put(pointer(shared, there), step, pieces)
            cuda.syncthreads()
        sums = combine(shared, team, lane, works, sums)
        if team == 0 and works:
            row, column = quotient(row + own_row, high), quotient(column + own_column, wide)
            finish(out, winner, extra, image + own_image, z, row, column, k + own_k, sums)

    return correlate
