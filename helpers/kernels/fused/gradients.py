"""Gradients of a convolution from the gradient of its (pooled) outputs, one image in shared memory.

The gradient behind a max-pooling belongs to one output of each window, the winner: only its patch is read. Outputs
whose gradient ReLU made 0 are skipped. Must not learn how the forward pass shares out its work.
"""

import numpy as np
from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.convolution import CODE_SHIFT, CORNER, row_reader
from helpers.kernels.intrinsics import quotient, remainder

ZERO = np.float32(0.0)


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
    cells. Order of the sums: filter, row, column, channel, then the biases.

    Returns
    -------
    list of device functions
        Each takes (mem, ints, partials, mine, first, thread): the sums are written to partials[mine ...] if `first`,
        else added to what this block wrote there for the images before.
    """
    (rows, columns), channels, filters = plan.kernel, plan.channels, plan.filters
    groups, cells, x, gradient = plan.groups, plan.cell_count, plan.x, plan.gradient
    share = -(-cells // groups)
    per_group = channels * rows * filters
    items, weights, sums_scratch = per_group * groups, plan.weight_count, plan.sums_scratch
    row, channel, corner, exchange = x.row, x.channel, x.corner, plan.exchange
    parameters, corner_of = plan.parameter_count, make_corner(plan)
    read_row, held = row_reader(columns, x.column, 1), columns + 1

    @device_function
    def total(sums, mem, ints, c, r, k, group):
        """Sums of a row of taps over the cells of a group; the last one is the bias's."""
        taps = cuda.local.array(columns, float32)
        for s in range(columns + 1):
            sums[s] = ZERO
        at = corner + r * row + c * channel
        for cell in range(group * share, min(group * share + share, cells)):
            d = mem[gradient + cell * filters + k]
            if d != ZERO:
                read_row(taps, 0, mem, at + corner_of(ints, cell, k))
                for s in range(columns):
                    sums[s] += d * taps[s]
                sums[columns] += d

    @device_function
    def alone(mem, ints, partials, mine, first, thread):
        sums = cuda.local.array(held, float32)
        for item in range(thread, items, threads):
            c, rest = remainder(item, channels), quotient(item, channels)
            r, k = remainder(rest, rows), quotient(rest, rows)
            total(sums, mem, ints, c, r, k, 0)
            at = mine + exchange + (k * rows + r) * (columns * channels) + c
            for s in range(columns):
                if first:
                    partials[at + s * channels] = sums[s]
                else:
                    partials[at + s * channels] += sums[s]
            if r == 0 and c == 0:
                at = mine + exchange + weights + k
                if first:
                    partials[at] = sums[columns]
                else:
                    partials[at] += sums[columns]

    @device_function
    def part(mem, ints, partials, mine, first, thread):
        sums = cuda.local.array(held, float32)
        for item in range(thread, items, threads):
            within, group = remainder(item, per_group), quotient(item, per_group)
            c, rest = remainder(within, channels), quotient(within, channels)
            r, k = remainder(rest, rows), quotient(rest, rows)
            total(sums, mem, ints, c, r, k, group)
            at = sums_scratch + group * parameters + (k * rows + r) * (columns * channels) + c
            for s in range(columns):
                mem[at + s * channels] = sums[s]
            if r == 0 and c == 0:
                mem[sums_scratch + group * parameters + weights + k] = sums[columns]

    @device_function
    def together(mem, ints, partials, mine, first, thread):
        for item in range(thread, parameters, threads):
            value = mem[sums_scratch + item]
            for group in range(1, groups):
                value += mem[sums_scratch + group * parameters + item]
            if first:
                partials[mine + exchange + item] = value
            else:
                partials[mine + exchange + item] += value

    return [alone] if groups == 1 else [part, together]


def input_gradient(plan, threads):
    """Gradient of the input, gated by the ReLU below it where there is one.

    Returns
    -------
    list of device functions
        Each takes (mem, ints, thread); [] where nobody needs it.
    """
    if plan.input_gradient is None:
        return []
    return _from_patches(plan, threads) if plan.pooled else [_gathered(plan, threads)]


def make_gate(plan):
    """Device function (mem, value, y, x, c): value where the input's ReLU let it pass, else 0; writes nothing."""
    x = plan.x
    offset, row, column, channel = x.offset, x.row, x.column, x.channel

    @device_function
    def gate(mem, value, y, x, c):
        return value if mem[offset + y * row + x * column + c * channel] > ZERO else ZERO

    @device_function
    def keep(mem, value, y, x, c):
        return value

    return gate if plan.input_gated else keep


def _from_patches(plan, threads):
    """Each cell's winners scatter into a patch of the cell's own; then each input cell collects from its patches.

    A thread has one column of a patch, for one channel, in registers.
    """
    (rows, columns), (stride_h, stride_w), (window_h, window_w) = plan.kernel, plan.stride, plan.window
    (patch_h, patch_w), channels, filters, (high, wide) = plan.patch, plan.channels, plan.filters, plan.cells
    gradient, corners, transposed, scratch = plan.gradient, plan.corners, plan.transposed, plan.gradient_scratch
    items, tap_row, per_filter = plan.cell_count * patch_w * channels, columns * channels, rows * columns * channels
    (height, width, _), (pad_h, pad_w), target = plan.x.shape, plan.padding, plan.input_gradient
    down, right, cell_patch = window_h * stride_h, window_w * stride_w, patch_h * patch_w * channels
    above, before, gate = -(-patch_h // down), -(-patch_w // right), make_gate(plan)

    @device_function
    def scatter(mem, ints, thread):
        sums, w = cuda.local.array(patch_h, float32), cuda.local.array(rows, float32)
        for item in range(thread, items, threads):
            c, rest = remainder(item, channels), quotient(item, channels)
            i, cell = remainder(rest, patch_w), quotient(rest, patch_w)
            for j in range(patch_h):
                sums[j] = ZERO
            for k in range(filters):
                d = mem[gradient + cell * filters + k]
                if d != ZERO:
                    winner = ints[corners + cell * filters + k] >> CODE_SHIFT
                    wy, wx = quotient(winner, window_w), remainder(winner, window_w)
                    s = i - wx * stride_w
                    if s >= 0 and s < columns:
                        at = transposed + k * per_filter + s * channels + c
                        for r in range(rows):
                            w[r] = mem[at + r * tap_row]
                        for v in range(window_h):
                            if wy == v:
                                for r in range(rows):
                                    sums[v * stride_h + r] += d * w[r]
            at = scratch + cell * cell_patch + i * channels + c
            for j in range(patch_h):
                mem[at + j * (patch_w * channels)] = sums[j]

    @device_function
    def collect(mem, ints, thread):
        for item in range(thread, height * width * channels, threads):
            c, rest = remainder(item, channels), quotient(item, channels)
            x, y = remainder(rest, width), quotient(rest, width)
            last_y, last_x = quotient(y + pad_h, down), quotient(x + pad_w, right)
            value = ZERO
            for a in range(above):
                for b in range(before):
                    cy, cx = last_y - a, last_x - b
                    j, i = y + pad_h - cy * down, x + pad_w - cx * right
                    if cy >= 0 and cy < high and cx >= 0 and cx < wide and j < patch_h and i < patch_w:
                        value += mem[scratch + (cy * wide + cx) * cell_patch + (j * patch_w + i) * channels + c]
            mem[target + item] = gate(mem, value, y, x, c)

    return [scatter, collect]


def _gathered(plan, threads):
    """Each input cell looks up the outputs whose patches hold it."""
    (rows, columns), (stride_h, stride_w), (pad_h, pad_w) = plan.kernel, plan.stride, plan.padding
    (high, wide), channels, filters, (height, width, _) = plan.cells, plan.channels, plan.filters, plan.x.shape
    gradient, weights, target, gate = plan.gradient, plan.weights, plan.input_gradient, make_gate(plan)

    @device_function
    def gather(mem, ints, thread):
        for item in range(thread, height * width * channels, threads):
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

    return gather
