"""Between two meetings each block updates the parameters it owns, from the sums of their gradients.

Must not learn how the sums came about (sums.py) or what the optimizer computes.
"""

import math

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.items import each
from helpers.kernels.fused.places import TILE
from helpers.kernels.fused.sums import make_locate, make_sums
from helpers.kernels.intrinsics import quotient, remainder

ZERO = np.float32(0.0)
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
    sums_scratch = scratch + plan.update_cells[0]
    (weight_of, sums_of), sum_at = _make_weight_of(plan), _make_sum_at(plan)
    rounds, two = -(-owned // threads), len(optimizer.slots) > 1
    ahead, sums_ahead = (rounds if rounds <= MOST_HELD else 0), chunk <= threads
    own_sum, sum_both = 3 * ahead, make_sums(plan)
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


def _make_weight_of(plan):
    """Device functions (u, block) -> cell of the parameter that entry `u` of the block is, or -1; u -> its sums.

    Entries run through the rows of the rectangle: neighbours are written side by side.
    """
    (rows_of, columns), tiles, locate = plan.rectangle, plan.tiles_per_block, make_locate(plan)
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
