"""Gradients of a convolution from the gradient of its (pooled) outputs, one image in shared memory.

The gradient behind a max-pooling belongs to one output of each window, the winner: only its patch is read. Nothing is
skipped where ReLU made it 0: loads that need not wait for a comparison run ahead, which is faster. Must not learn how
the forward pass shares out its work.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.convolution import width
from helpers.kernels.fused.gate import make_gate
from helpers.kernels.fused.items import chunk_of, each, each_from
from helpers.kernels.fused.places import CORNER_BITS
from helpers.kernels.fused.vectors import vector_loader, vector_storer
from helpers.kernels.intrinsics import narrow, quotient, remainder
from helpers.unroll import registers, tile_of, unroll, unrolled

WARP = 32
MOST_BUSY = 0.7  # share of the threads that may be left to one of two works that run at once
MANY_THREADS = 512
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

    A thread has one row of taps of a filter and channel; where there are more threads, groups of them share the
    cells. Neighbouring threads have neighbouring filters: they read few different cells, and write side by side.
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

    first = _busy_threads(plan, threads)
    if groups == 1:
        return [each_from(first, items, threads, alone)]
    return [each_from(first, items * groups, threads, part), each(parameters, threads, together)]


def _busy_threads(plan, threads):
    """Threads that the input's gradient keeps busy at the same time; 0 where it takes so many that all do both."""
    if plan.input_gradient is None or not plan.pooled:
        return 0
    items = plan.cell_count * plan.patch[1] * plan.channels // channels_at_once(plan)
    busy = -(-items // WARP) * WARP
    return busy if busy <= MOST_BUSY * threads else 0


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


def input_gradient(plan, threads):
    """Gradient of the input, gated by the ReLU below it where there is one.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, ints); [] where nobody needs it.
    """
    if plan.input_gradient is None:
        return []
    return _from_patches(plan, threads) if plan.pooled else [_gathered(plan, threads)]


def _from_patches(plan, threads):
    """Each cell's winners scatter into a patch of the cell's own; then each input cell collects from its patches.

    A thread has one column of a patch, for a few neighbouring channels, in registers.
    """
    (rows, columns), (stride_h, stride_w), (window_h, window_w) = plan.kernel, plan.stride, plan.window
    (patch_h, patch_w), channels, filters = plan.patch, plan.channels, plan.filters
    gradient, corners, transposed, scratch = plan.gradient, plan.corners, plan.transposed, plan.gradient_scratch
    tap_row, per_filter, at_once = columns * channels, rows * columns * channels, width(filters)
    cell_patch, patch_row, wide = patch_h * patch_w * channels, patch_w * channels, channels_at_once(plan)
    load, store, bundles = vector_loader(wide), vector_storer(wide), channels // wide
    load_gradients = vector_loader(at_once)

    @device_function
    @unrolled
    def scatter(item, mem, ints):
        c, rest = wide * remainder(item, bundles), quotient(item, bundles)
        i, cell = remainder(rest, patch_w), quotient(rest, patch_w)
        sums = registers(patch_h, wide)
        for j in unroll(patch_h):
            for b in unroll(wide):
                sums[j, b] = ZERO
        at_d, at_corner = narrow(gradient + cell * filters), narrow(corners + cell * filters)
        base = transposed + c
        for turn in range(filters // at_once):
            several = load_gradients(mem, narrow(at_d + turn * at_once))
            for u in unroll(at_once):
                k = turn * at_once + u
                winner = ints[at_corner + k] >> CORNER_BITS
                wy, wx = quotient(winner, window_w), remainder(winner, window_w)
                s = i - wx * stride_w
                inside = np.uint32(s) < np.uint32(columns)  # below 0 it wraps
                d = several[u] if inside else ZERO
                at = narrow(base + k * per_filter + (s if inside else 0) * channels)
                for r in unroll(rows):
                    w = load(mem, at + r * tap_row)
                    for v in unroll(window_h):
                        share = d if np.uint32(wy) == np.uint32(v) else ZERO
                        for b in unroll(wide):
                            sums[v * stride_h + r, b] += share * w[b]
        at = narrow(scratch + cell * cell_patch + i * channels + c)
        for j in unroll(patch_h):
            row = registers(wide)
            for b in unroll(wide):
                row[b] = sums[j, b]
            store(mem, at + j * patch_row, row)

    items = plan.cell_count * patch_w * bundles
    return [each(items, threads, scatter), _collected(plan, threads)]


def channels_at_once(plan):
    """Neighbouring channels that a thread takes: 4 or 2 where they divide evenly and begin at a multiple, else 1.

    Four only where that leaves work for all threads.
    """
    most = width(plan.channels, plan.transposed, plan.gradient_scratch, plan.input_gradient)
    enough = plan.cell_count * plan.patch[1] * plan.channels >= 4 * MANY_THREADS
    return most if enough else min(most, 2)


def _collected(plan, threads):
    """The second half: an input cell a thread, a few neighbouring channels of it."""
    (stride_h, stride_w), (window_h, window_w), (high, wide) = plan.stride, plan.window, plan.cells
    (patch_h, patch_w), channels, (pad_h, pad_w) = plan.patch, plan.channels, plan.padding
    (height, width, _), scratch, target = plan.x.shape, plan.gradient_scratch, plan.input_gradient
    down, right, cell_patch, gate = (
        window_h * stride_h,
        window_w * stride_w,
        patch_h * patch_w * channels,
        make_gate(plan),
    )
    above, before, vector = -(-patch_h // down), -(-patch_w // right), channels_at_once(plan)
    whole_h, whole_w, bundles = patch_h % down == 0, patch_w % right == 0, channels // vector
    load, store = vector_loader(vector), vector_storer(vector)

    @device_function
    @unrolled
    def collect(item, mem, ints):
        c, rest = vector * remainder(item, bundles), quotient(item, bundles)
        x, y = remainder(rest, width), quotient(rest, width)
        last_y, last_x = quotient(y + pad_h, down), quotient(x + pad_w, right)
        first_j, first_i = remainder(y + pad_h, down), remainder(x + pad_w, right)
        at = scratch + (last_y * wide + last_x) * cell_patch + (first_j * patch_w + first_i) * channels + c
        value = registers(vector)
        for b in unroll(vector):
            value[b] = ZERO
        for a in unroll(above):
            fits_h = last_y >= a and last_y - a < high and (whole_h or first_j + a * down < patch_h)
            for b in unroll(before):
                fits_w = last_x >= b and last_x - b < wide and (whole_w or first_i + b * right < patch_w)
                inside = fits_h and fits_w
                step = (a * down * patch_w + b * right) * channels - (a * wide + b) * cell_patch
                part = load(mem, narrow(at + step if inside else scratch))  # no branch: the reads run ahead
                for n in unroll(vector):
                    value[n] += part[n] if inside else ZERO
        for n in unroll(vector):
            value[n] = gate(mem, value[n], y, x, c + n)
        store(mem, narrow(target + item * vector), value)

    return each(height * width * bundles, threads, collect)


def _gathered(plan, threads):
    """Each input cell looks up the outputs whose patches hold it."""
    (rows, columns), (stride_h, stride_w), (pad_h, pad_w) = plan.kernel, plan.stride, plan.padding
    (high, wide), channels, filters, (height, width, _) = plan.cells, plan.channels, plan.filters, plan.x.shape
    gradient, weights, target, gate = plan.gradient, plan.weights, plan.input_gradient, make_gate(plan)

    @device_function
    def gather(item, mem, ints):
        c, rest = remainder(item, channels), quotient(item, channels)
        x, y = remainder(rest, width), quotient(rest, width)
        value = ZERO
        for r in range(rows):
            for s in range(columns):
                down, right = y + pad_h - r, x + pad_w - s
                if down >= 0 and right >= 0:
                    cy, cx = quotient(down, stride_h), quotient(right, stride_w)
                    fits = cy * stride_h == down and cx * stride_w == right
                    if fits and cy < high and cx < wide:
                        at = gradient + (cy * wide + cx) * filters
                        weight = weights + ((r * columns + s) * channels + c) * filters
                        for k in range(filters):
                            value += mem[at + k] * mem[weight + k]
        mem[target + item] = gate(mem, value, y, x, c)

    return each(height * width * channels, threads, gather)
