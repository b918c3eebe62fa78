"""Between two meetings each block sums the gradient of the parameters it owns, over the batch, and updates them.

Dense weights: the product of the factors that the images published, in tiles of 4 x 4, the biases being one more row
whose input is 1. Convolutions: the blocks' partial sums, added. All sums run in a fixed order. Must not learn how the
factors or partial sums came about.
"""

import math
from itertools import accumulate

import numpy as np
from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.items import each
from helpers.kernels.intrinsics import load4, narrow, quotient, remainder
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
TILE = 16  # weights of a tile
MOST_PARTS = 12  # partial sums that a thread has on their way at once
MOST_HELD = 4  # parameters that a thread reads ahead, before it sums their gradients


def make_update(plan, optimizer):
    """The phase's device functions.

    Parameters
    ----------
    plan : Plan
    optimizer
        Its `rule` and its number of slots.

    Returns
    -------
    (read_own, sum_gradients, update) : device functions
        read_own(parameters, slots, held, places, block, thread): what this block alone writes: no meeting is needed.
        sum_gradients(mem, partials, factors, block, thread)
        update(mem, parameters, slots, scale, correction, held, places, block, thread); a barrier lies before it.
        `held` and `places` are local arrays of float32 and int64, as large as `held_sizes(plan)` says.
    """
    threads, owned, chunk = plan.threads, plan.tiles_per_block * TILE, plan.sums_per_block
    splits, groups, scratch, size = plan.update_splits, plan.update_groups, plan.update_scratch, plan.parameter_cells
    sums_scratch = scratch + owned * splits
    (weight_of, sums_of), sum_at = _make_weight_of(plan), _make_sum_at(plan)
    rounds, two = -(-owned // threads), len(optimizer.slots) > 1
    ahead, sums_ahead = (rounds if rounds <= MOST_HELD else 0), chunk <= threads
    own_sum, sum_both = 3 * ahead, _make_sums(plan)
    rule = device_function(optimizer.rule(np.float32, math.sqrt))

    @device_function
    def read(at, held, i, parameters, slots):
        if at >= 0:
            held[i], held[i + 1] = parameters[at], slots[at]
            if two:
                held[i + 2] = slots[size + at]

    @device_function
    def read_own(parameters, slots, held, places, block, thread):
        for i in range(ahead):
            places[i] = weight_of(thread + i * threads, block)
            read(places[i], held, 3 * i, parameters, slots)
        if sums_ahead:
            places[ahead], places[ahead + 1] = sum_at(threads - 1 - thread, block)
            read(places[ahead], held, own_sum, parameters, slots)

    @device_function
    def step_at(at, gradient, held, i, parameters, slots, scale, correction):
        second = held[i + 2] if two else ZERO
        weight, first, second = rule(held[i], gradient, held[i + 1], second, scale, correction)
        parameters[at], slots[at] = weight, first
        if two:
            slots[size + at] = second
        return weight

    @device_function
    def step_weight(u, at, mem, parameters, slots, held, i, scale, correction):
        gradient, first = ZERO, sums_of(u)
        for split in range(splits):
            gradient += mem[first + split * owned]
        step_at(at, gradient, held, i, parameters, slots, scale, correction)

    @device_function
    def step_sum(q, at, copy, mem, parameters, slots, held, scale, correction):
        gradient = ZERO
        for group in range(groups):
            gradient += mem[sums_scratch + group * chunk + q]
        weight = step_at(at, gradient, held, own_sum, parameters, slots, scale, correction)
        if copy >= 0:
            parameters[copy] = weight

    @device_function
    def step_later(q, mem, parameters, slots, held, block, scale, correction):
        at, copy = sum_at(q, block)
        if at >= 0:
            read(at, held, own_sum, parameters, slots)
            step_sum(q, at, copy, mem, parameters, slots, held, scale, correction)

    sums_later = each(chunk, threads, step_later)

    @device_function
    def update(mem, parameters, slots, scale, correction, held, places, block, thread):
        for i in range(rounds):
            here = 3 * i if ahead else own_sum + 3  # behind what is held for the sum
            at = places[i] if ahead else weight_of(thread + i * threads, block)
            if at >= 0:
                if not ahead:
                    read(at, held, here, parameters, slots)
                step_weight(thread + i * threads, at, mem, parameters, slots, held, here, scale, correction)
        if not sums_ahead:
            sums_later(thread, mem, parameters, slots, held, block, scale, correction)
        elif places[ahead] >= 0:  # from the last thread on: the first ones have a tile's weight to update
            q = threads - 1 - thread
            step_sum(q, places[ahead], places[ahead + 1], mem, parameters, slots, held, scale, correction)

    return read_own, sum_both, update


def held_sizes(plan):
    """Floats and places that a thread keeps: parameter and two slots of each weight and of the sum that it owns."""
    rounds = -(-plan.tiles_per_block * TILE // plan.threads)
    ahead = rounds if rounds <= MOST_HELD else 0
    return 3 * (ahead + 1 if ahead else 2), ahead + 2


def _make_sums(plan):
    """Device function (mem, partials, factors, block, thread): all sums of gradients that the block owns.

    A thread asks for its partial sums before it begins with its tile, and adds them behind it: one wait for both.
    """
    chunk, groups, threads = plan.sums_per_block, plan.update_groups, plan.threads
    scratch = plan.update_scratch + plan.tiles_per_block * TILE * plan.update_splits
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
    scratch, columns, locate = plan.update_scratch, plan.rectangle[1], _make_locate(plan)
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


def _make_weight_of(plan):
    """Device functions (u, block) -> cell of the parameter that entry `u` of the block is, or -1; u -> its sums.

    Entries run through the rows of the rectangle: neighbours are written side by side.
    """
    (rows_of, columns), tiles, locate = plan.rectangle, plan.tiles_per_block, _make_locate(plan)
    across, entries, scratch = 4 * columns, 16 * rows_of * columns, plan.update_scratch

    @device_function
    def weight_of(u, block):
        _, _, weight, pitch, rows, width = locate(block)
        row, column = quotient(u, across), remainder(u, across)
        inside = u < entries and row < rows and column < width
        return weight + row * pitch + column if inside else np.int64(-1)

    @device_function
    def sums_of(u):
        row, column = quotient(u, across), remainder(u, across)
        tile = quotient(row, 4) * columns + quotient(column, 4)
        return scratch + (4 * remainder(row, 4) + remainder(column, 4)) * tiles + tile

    return weight_of, sums_of


def _make_sum_at(plan):
    """Device function (q, block): cell of owned sum `q` of the block, or -1, and its transposed copy or -1."""
    chunk, exchange, place = plan.sums_per_block, plan.exchange, _make_place(plan.convolutions)

    @device_function
    def sum_at(q, block):
        at, copy = np.int64(-1), np.int64(-1)
        if q < chunk and block * chunk + q < exchange:
            at, copy = place(block * chunk + q)
        return at, copy

    return sum_at


def _make_locate(plan):
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


def _make_place(layers):
    """Device function e -> (parameter, its transposed copy or -1) of sum `e` of the exchange: a chain over layers."""
    chain = None
    for layer in reversed(layers):
        chain = _place_in(layer, chain)
    if chain is None:

        @device_function
        def nowhere(e):
            return np.int64(-1), np.int64(-1)

        return nowhere
    return chain


def _place_in(layer, rest):
    begin, count, weights, biases = layer.exchange, layer.weight_count, layer.weights, layer.biases
    per_filter, filters = count // layer.filters, layer.filters
    transposed, copied = layer.transposed or 0, layer.transposed is not None
    end = begin + layer.parameter_count

    @device_function
    def here(e):
        i = e - begin
        if i >= count:
            return np.int64(biases + i - count), np.int64(-1)
        copy = transposed + remainder(i, filters) * per_filter + quotient(i, filters) if copied else np.int64(-1)
        return np.int64(weights + i), np.int64(copy)

    if rest is None:
        return here

    @device_function
    def place(e):
        return here(e) if e < end else rest(e)

    return place
