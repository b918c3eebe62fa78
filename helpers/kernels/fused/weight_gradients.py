"""Gradient of a convolution's weights from that of its (pooled) outputs, one image in shared memory.

The gradient behind a max-pooling belongs to one output of each window, the winner: only its patch is read. Nothing is
skipped where an activation made it 0: loads that need not wait for a comparison run ahead, which is faster. Must not
learn how the forward pass shares out its work.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.input_gradients import busy_threads
from helpers.kernels.fused.items import chunk_of, each, each_from
from helpers.kernels.fused.places import CORNER_BITS
from helpers.kernels.intrinsics import narrow, quotient, remainder
from helpers.unroll import registers, tile_of, unroll, unrolled

ZERO = np.float32(0.0)
CORNER = (1 << CORNER_BITS) - 1


def make_corner(plan):
    """Device function (ints, cell, k): where in the input the patch of that output begins, before the row of taps."""
    corners, filters, wide = plan.corners, plan.filters, plan.cells[1]
    down, right = plan.stride[0] * plan.x.row, plan.stride[1] * plan.x.column

    @device_function
    def of_winner(ints, cell, k):
        return np.int64(ints[corners + cell * filters + k] & CORNER)

    @device_function
    def of_output(ints, cell, k):
        return quotient(cell, wide) * down + remainder(cell, wide) * right

    return of_winner if plan.pooled else of_output


def weight_gradient(plan, threads):
    """Sums over an image's cells of gradient x input, for the exchange between blocks.

    A thread has one row of taps of a filter and channel, or all rows; where there are more threads than that makes,
    groups of them share the cells. Neighbouring threads have neighbouring filters: they read few different cells, and
    write side by side.
    Order of the sums: as the layer's parameters.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, ints, partials, mine, first): the sums are written to partials[mine ...] if `first`,
        else added to what this block wrote there for the images before.
    """
    (rows, columns), channels, filters = plan.kernel, plan.channels, plan.filters
    groups, scratch, at_once, tap = plan.groups, plan.sums_scratch, plan.rows_at_once, channels * filters
    items, weights, total = channels * rows * filters // at_once, plan.weight_count, _make_total(plan)
    exchange, parameters, put, taps = plan.exchange, plan.parameter_count, make_put(), at_once * columns

    @device_function
    @unrolled
    def alone(item, mem, ints, partials, mine, first):
        k, rest = remainder(item, filters), quotient(item, filters)
        c, r = remainder(rest, channels), at_once * quotient(rest, channels)
        sums = tile_of(total(mem, ints, c, r, k, 0), taps + 1)
        at = mine + exchange + r * columns * tap + c * filters + k
        for s in unroll(taps):
            put(partials, at + s * tap, sums[s], first)
        if r == 0 and c == 0:
            put(partials, mine + exchange + weights + k, sums[taps], first)

    @device_function
    @unrolled
    def part(item, mem, ints, partials, mine, first):
        within, group = remainder(item, items), quotient(item, items)
        k, rest = remainder(within, filters), quotient(within, filters)
        c, r = remainder(rest, channels), at_once * quotient(rest, channels)
        sums = tile_of(total(mem, ints, c, r, k, group), taps + 1)
        at = scratch + group * parameters + r * columns * tap + c * filters + k
        for s in unroll(taps):
            mem[at + s * tap] = sums[s]
        if r == 0 and c == 0:
            mem[scratch + group * parameters + weights + k] = sums[taps]

    @device_function
    def together(item, mem, ints, partials, mine, first):
        value = mem[scratch + item]
        for group in range(1, groups):
            value += mem[scratch + group * parameters + item]
        put(partials, mine + exchange + item, value, first)

    first = busy_threads(plan, threads)
    if groups == 1:
        return [each_from(first, items, threads, alone)]
    return [each_from(first, items * groups, threads, part), each(parameters, threads, together)]


def _make_total(plan):
    """Device function (mem, ints, c, r, k, group): sums of rows of taps from `r` on over a group's cells, and the bias.

    Where a thread has all rows, what belongs to a cell is read once for them.
    """
    (_, columns), filters, gradient, cells = plan.kernel, plan.filters, plan.gradient, plan.cell_count
    row, column, channel, corner = plan.x.row, plan.x.column, plan.x.channel, plan.x.corner
    share, even, corner_of = -(-cells // plan.groups), cells % plan.groups == 0, make_corner(plan)
    at_once, rows = chunk_of(share), plan.rows_at_once
    taps = rows * columns

    @device_function
    @unrolled
    def total(mem, ints, c, r, k, group):
        sums = registers(taps + 1)
        for s in unroll(taps + 1):
            sums[s] = ZERO
        at = corner + r * row + c * channel
        for i in range(share // at_once):
            for u in unroll(at_once):
                cell = group * share + i * at_once + u
                inside = even or cell < cells
                cell = cell if inside else cells - 1
                d = mem[narrow(gradient + cell * filters + k)] if inside else ZERO
                begin = narrow(at + corner_of(ints, cell, k))
                for j in unroll(rows):
                    for s in unroll(columns):
                        sums[j * columns + s] += d * mem[begin + j * row + s * column]
                sums[taps] += d
        return sums

    return total


def make_put():
    """Device function (array, at, value, first): the value is written if `first`, else added."""

    @device_function
    def put(array, at, value, first):
        if first:
            array[at] = value
        else:
            array[at] += value

    return put
