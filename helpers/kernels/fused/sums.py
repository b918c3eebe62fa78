"""Sums of gradients over the batch, each by the block that owns the parameters; in a fixed order.

Dense weights: the product of the factors that the images published, in tiles of 4 x 4, the biases being one more row
whose input is 1. Convolutions: the blocks' partial sums, added. Must not learn how an optimizer uses the sums.
"""

from itertools import accumulate

import numpy as np
from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.items import each
from helpers.kernels.fused.places import TILE
from helpers.kernels.intrinsics import load4, narrow, quotient, remainder
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
MOST_PARTS = 12  # partial sums that a thread has on their way at once


def make_sums(plan):
    """Device function (mem, partials, factors, block, thread): all sums of gradients that the block owns.

    A thread asks for its partial sums before it begins with its tile, and adds them behind it: one wait for both.
    """
    chunk, groups, threads = plan.sums_per_block, plan.update_groups, plan.threads
    scratch = plan.update_scratch + plan.update_cells[0]
    turns = -(-plan.image_blocks // groups)
    ask, tile_sums = _make_ask(plan), each(plan.tiles_per_block * plan.update_splits, threads, _sum_tiles(plan))
    ahead = turns if chunk * groups <= threads and turns <= MOST_PARTS else 0
    held = max(ahead, 1)

    @device_function
    def later(item, mem, partials, block):
        value, part = ZERO, cuda.local.array(1, float32)
        for i in range(turns):
            ask(part, 0, item, i, partials, block)
            value += part[0]
        mem[scratch + item] = value

    add_later = each(chunk * groups, threads, later)

    @device_function
    def sum_gradients(mem, partials, factors, block, thread):
        parts = cuda.local.array(held, float32)
        if thread < chunk * groups:
            for i in range(ahead):
                ask(parts, i, thread, i, partials, block)
        tile_sums(thread, mem, factors, block)
        if ahead == 0:
            add_later(thread, mem, partials, block)
        elif thread < chunk * groups:
            value = ZERO
            for i in range(ahead):
                value += parts[i]
            mem[scratch + thread] = value

    return sum_gradients


def _make_ask(plan):
    """Device function (target, to, item, turn, partials, block): a partial sum of an owned sum, 0 behind the last."""
    chunk, groups, exchange, image_blocks = plan.sums_per_block, plan.update_groups, plan.exchange, plan.image_blocks

    @device_function
    def ask(target, to, item, turn, partials, block):
        e, other = block * chunk + remainder(item, chunk), quotient(item, chunk) + turn * groups
        inside = e < exchange and other < image_blocks
        part = partials[other * exchange + e if inside else 0]
        target[to] = part if inside else ZERO

    return ask


def _sum_tiles(plan):
    """Device function (item, mem, factors, block): a tile of 4 x 4 weights over every `splits`-th image."""
    tiles, splits, batch, pitch = plan.tiles_per_block, plan.update_splits, plan.batch, plan.factors
    scratch, columns, locate = plan.update_scratch, plan.rectangle[1], make_locate(plan)
    turns, even = -(-batch // splits), batch % splits == 0
    at_once = next(n for n in (8, 4, 6, 5, 7, 3, 2, 1) if turns % n == 0)

    @device_function
    @unrolled
    def add(item, mem, factors, block):
        tile, split = remainder(item, tiles), quotient(item, tiles)
        sums = registers(4, 4)
        for i in unroll(4):
            for j in unroll(4):
                sums[i, j] = ZERO
        x, d, _, _, rows, width = locate(block)
        down, right = 4 * quotient(tile, columns), 4 * remainder(tile, columns)
        if down < rows and right < width:
            x, d = x + down, d + right
            a = registers(at_once, 4)
            b = registers(at_once, 4)
            for turn in range(turns // at_once):
                for u in unroll(at_once):  # all are on their way before the first is used
                    n = split + (turn * at_once + u) * splits
                    here = n if even else min(n, batch - 1)
                    a[u, 0], a[u, 1], a[u, 2], a[u, 3] = load4(factors, narrow(here * pitch + x))
                    b[u, 0], b[u, 1], b[u, 2], b[u, 3] = load4(factors, narrow(here * pitch + d))
                for u in unroll(at_once):
                    exists = even or split + (turn * at_once + u) * splits < batch
                    for i in unroll(4):
                        left = a[u, i] if exists else ZERO
                        for j in unroll(4):
                            sums[i, j] += left * b[u, j]
        for i in unroll(4):
            for j in unroll(4):
                mem[narrow(scratch + (split * TILE + 4 * i + j) * tiles + tile)] = sums[i, j]

    return add


def make_locate(plan):
    """Device function block -> where its rectangle of dense weights begins: a chain over the layers.

    The answer is (first of the inputs' factors, first of the gradients' factors, first weight, pitch, rows and columns
    of weights from there to the layer's end), the last two at most 0 for a block without a rectangle.
    """
    rows, columns = plan.rectangle
    counts = [-(-layer.row_tiles // rows) * -(-layer.quads // columns) for layer in plan.dense]

    @device_function
    def chain(block):
        return np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)

    for layer, end in reversed(list(zip(plan.dense, accumulate(counts)))):
        chain = _locate_in(layer, plan.rectangle, end - counts[plan.dense.index(layer)], end, chain)
    return chain


def _locate_in(layer, rectangle, begin, end, rest):
    x, d, weights, pitch, width = layer.x_factors, layer.d_factors, layer.weights, layer.pitch, layer.pitch_used
    down, right, rows = 4 * rectangle[0], 4 * rectangle[1], layer.inputs + 1
    across = -(-layer.quads // rectangle[1])

    @device_function
    def locate(block):
        if block < end:
            i, j = down * quotient(block - begin, across), right * remainder(block - begin, across)
            return x + i, d + j, weights + i * pitch + j, np.int64(pitch), rows - i, width - j
        return rest(block)

    return locate
