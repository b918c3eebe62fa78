"""Forward convolution of one image in shared memory, with bias, activation and max-pooling.

A thread computes one window of outputs for a few filters from a patch in registers; where there are more threads than
windows, several share the input channels of one and their sums meet in scratch memory. Must not learn about gradients.
"""

from math import gcd

import numpy as np
from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.activation import make_activate
from helpers.kernels.fused.intrinsics import load2
from helpers.kernels.fused.items import each
from helpers.kernels.fused.places import CORNER_BITS
from helpers.kernels.intrinsics import load4, quotient, remainder

ZERO = np.float32(0.0)
MOST_PATCH = 24


def width(*multiples):
    """Floats that one load may bring where every address is made of these numbers: 4, 2 or 1."""
    return gcd(4, *multiples)


def row_reader(count, step, at_once):
    """Device function (target, first, memory, at): `count` floats, `step` apart, into target[first], ...

    `at_once` of them by one load where they are neighbours.
    """
    whole = count // at_once * at_once if step == 1 else 0

    @device_function
    def one_by_one(target, first, memory, at):
        for i in range(count):
            target[first + i] = memory[at + i * step]

    @device_function
    def in_pairs(target, first, memory, at):
        for i in range(0, whole, 2):
            target[first + i], target[first + i + 1] = load2(memory, at + i)
        for i in range(whole, count):
            target[first + i] = memory[at + i]

    @device_function
    def in_fours(target, first, memory, at):
        for i in range(0, whole, 4):
            a, b, c, d = load4(memory, at + i)
            target[first + i], target[first + i + 1] = a, b
            target[first + i + 2], target[first + i + 3] = c, d
        for i in range(whole, count):
            target[first + i] = memory[at + i]

    return {4: in_fours, 2: in_pairs}.get(at_once if whole else 1, one_by_one)


def conv_forward(plan, threads):
    """The stage's device functions, one after the other with a barrier behind each.

    Each takes (thread, mem, ints). Written are the pooled outputs and, for each cell and filter, its corner word.

    Returns
    -------
    list of device functions
    """
    at_once, splits = plan.filters_at_once, plan.splits
    window_h, window_w = plan.window
    outputs, cells, groups = window_h * window_w, plan.cell_count, plan.filters // at_once
    filters, sums_of = plan.filters, cells * groups
    settle, multiply, scratch = _make_settle(plan), _make_multiply(plan), plan.scratch
    channels, held, window_of = plan.channels // splits, at_once * outputs, _make_window_of(cells, groups)

    @device_function
    def whole(item, mem, ints):
        sums = cuda.local.array(held, float32)
        cell, group = window_of(item)
        multiply(sums, mem, cell, group, 0)
        for k in range(at_once):
            best, winner = sums[k * outputs], 0
            for v in range(1, outputs):
                if sums[k * outputs + v] > best:
                    best, winner = sums[k * outputs + v], v
            settle(mem, ints, cell, group * at_once + k, best, winner)

    @device_function
    def part(item, mem, ints):
        sums = cuda.local.array(held, float32)
        position, split = remainder(item, sums_of), quotient(item, sums_of)
        cell, group = window_of(position)
        multiply(sums, mem, cell, group, split * channels)
        for i in range(held):
            mem[scratch + (split * held + i) * sums_of + position] = sums[i]

    @device_function
    def together(item, mem, ints):
        sums = cuda.local.array(outputs, float32)
        position, inner = remainder(item, sums_of), quotient(item, sums_of)
        cell, group = window_of(position)
        k = group * at_once + inner
        at = scratch + inner * (outputs * sums_of) + position
        for v in range(outputs):
            sums[v] = mem[at + v * sums_of]
        for split in range(1, splits):
            for v in range(outputs):
                sums[v] += mem[at + (split * held + v) * sums_of]
        best, winner = sums[0], 0
        for v in range(1, outputs):
            if sums[v] > best:
                best, winner = sums[v], v
        settle(mem, ints, cell, k, best, winner)

    if splits == 1:
        return [each(sums_of, threads, whole)]
    return [each(sums_of * splits, threads, part), each(cells * filters, threads, together)]


def _make_window_of(cells, groups):
    """Device function item -> (cell, group of filters): which of the two neighbouring threads have in common.

    With neighbouring filters they read the same patches and all weights of a tap at once, but they must be a power of
    two, since a division costs more than that saves.
    """

    @device_function
    def neighbouring_filters(item):
        return quotient(item, groups), remainder(item, groups)

    @device_function
    def neighbouring_cells(item):
        return remainder(item, cells), quotient(item, cells)

    return neighbouring_cells if groups & (groups - 1) else neighbouring_filters


def _make_multiply(plan):
    """Device function: sums of a cell's window for a group of filters over the channels from `first` on."""
    at_once, filters, channels = plan.filters_at_once, plan.filters, plan.channels // plan.splits
    (rows, columns), (stride_h, stride_w), (window_h, window_w) = plan.kernel, plan.stride, plan.window
    (patch_h, patch_w), x, weights, wide = plan.patch, plan.x, plan.weights, plan.cells[1]
    outputs, row, column, channel, corner = window_h * window_w, x.row, x.column, x.channel, x.corner
    down, right = window_h * stride_h * row, window_w * stride_w * column
    tap, patch_size = plan.channels * filters, patch_h * patch_w
    # patches of two channels are on their way at once where they fit the registers
    together = 2 if channels % 2 == 0 and patch_size <= MOST_PATCH else 1
    patches = together * patch_size
    read_patch = row_reader(patch_w, column, width(corner, down, right, row, channel))
    read_weights = row_reader(at_once, 1, width(at_once, weights, filters))

    @device_function
    def multiply(sums, mem, cell, group, first):
        patch, w = cuda.local.array(patches, float32), cuda.local.array(at_once, float32)
        for i in range(at_once * outputs):
            sums[i] = ZERO
        at = corner + quotient(cell, wide) * down + remainder(cell, wide) * right + first * channel
        weight = weights + first * filters + group * at_once
        for _ in range(channels // together):
            for u in range(together):
                for i in range(patch_h):
                    read_patch(patch, u * patch_size + i * patch_w, mem, at + u * channel + i * row)
            for u in range(together):
                for r in range(rows):
                    for s in range(columns):
                        read_weights(w, 0, mem, weight + u * filters + (r * columns + s) * tap)
                        for i in range(window_h):
                            for j in range(window_w):
                                value = patch[u * patch_size + (i * stride_h + r) * patch_w + j * stride_w + s]
                                for k in range(at_once):
                                    sums[k * outputs + i * window_w + j] += value * w[k]
            at += together * channel
            weight += together * filters

    return multiply


def _make_settle(plan):
    """Device function: bias, activation, output and corner word of one cell and filter."""
    (window_h, window_w), wide, filters, biases = plan.window, plan.cells[1], plan.filters, plan.biases
    (stride_h, stride_w), x, y, corners = plan.stride, plan.x, plan.y, plan.corners
    down, right, activate, pooled = stride_h * x.row, stride_w * x.column, make_activate(plan), plan.pooled
    offset, row, column, channel = y.offset, y.row, y.column, y.channel

    @device_function
    def settle(mem, ints, cell, k, best, winner):
        cy, cx = quotient(cell, wide), remainder(cell, wide)
        mem[offset + cy * row + cx * column + k * channel] = activate(best + mem[biases + k])
        if pooled:
            wy, wx = quotient(winner, window_w), remainder(winner, window_w)
            begin = (cy * window_h + wy) * down + (cx * window_w + wx) * right
            ints[corners + cell * filters + k] = begin | winner << CORNER_BITS

    return settle
