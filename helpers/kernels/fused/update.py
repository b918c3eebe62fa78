"""Between two meetings each block sums the gradient of the parameters it owns, over the batch, and updates them.

Dense weights: the product of the factors that the images published, in tiles of 4 x 4, the biases being one more row
whose input is 1. Convolutions: the blocks' partial sums, added. All sums run in a fixed order. Must not learn how the
factors or partial sums came about.
"""

import math

import numpy as np
from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.convolution import row_reader
from helpers.kernels.intrinsics import quotient, remainder

ZERO = np.float32(0.0)
TILE = 16  # weights of a tile
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
    (sum_gradients, update) : device functions
        sum_gradients(mem, parameters, slots, partials, factors, held, block, thread)
        update(mem, parameters, slots, rates, step, held, block, thread); a barrier lies between the two. `held` is a
        local array of `held_size(plan)` float32.
    """
    threads, tiles, splits, groups = plan.threads, plan.tiles_per_block, plan.update_splits, plan.update_groups
    batch, pitch, scratch, chunk = plan.batch, plan.factors, plan.update_scratch, plan.sums_per_block
    exchange, image_blocks, size = plan.exchange, plan.image_blocks, plan.parameter_cells
    locate, place = _make_locate(plan.dense), _make_place(plan.convolutions)
    sums_scratch, owned, all_tiles = scratch + tiles * TILE * splits, tiles * TILE, plan.tiles
    two = len(optimizer.slots) > 1
    rule = device_function(optimizer.rule(np.float32, math.sqrt))
    read4, rounds = row_reader(4, 1, 4), -(-owned // threads)
    ahead = rounds if rounds <= MOST_HELD else 0

    @device_function
    def weight_of(u, block):
        """Cell of the parameter that entry `u` of this block's tiles stands for; -1 where there is none."""
        tile, e = remainder(u, tiles), quotient(u, tiles)
        at = np.int64(-1)
        if block * tiles + tile < all_tiles:
            _, _, weight, width, rows = locate(block * tiles + tile)
            if (e >> 2) < rows:
                at = weight + (e >> 2) * width + (e & 3)
        return at

    @device_function
    def sum_gradients(mem, parameters, slots, partials, factors, held, block, thread):
        for i in range(ahead):  # on their way while the sums are made
            u = thread + i * threads
            if u < owned:
                at = weight_of(u, block)
                if at >= 0:
                    held[3 * i], held[3 * i + 1] = parameters[at], slots[at]
                    if two:
                        held[3 * i + 2] = slots[size + at]
        for item in range(thread, chunk * groups, threads):
            q, group = remainder(item, chunk), quotient(item, chunk)
            value = ZERO
            if block * chunk + q < exchange:
                for other in range(group, image_blocks, groups):
                    value += partials[other * exchange + block * chunk + q]
            mem[sums_scratch + item] = value
        sums, a, b = cuda.local.array(TILE, float32), cuda.local.array(4, float32), cuda.local.array(4, float32)
        for item in range(thread, tiles * splits, threads):
            tile, split = remainder(item, tiles), quotient(item, tiles)
            for i in range(TILE):
                sums[i] = ZERO
            if block * tiles + tile < all_tiles:
                x, d, _, _, _ = locate(block * tiles + tile)
                for n in range(split, batch, splits):
                    read4(a, 0, factors, n * pitch + x)
                    read4(b, 0, factors, n * pitch + d)
                    for i in range(4):
                        for j in range(4):
                            sums[4 * i + j] += a[i] * b[j]
            for i in range(TILE):
                mem[scratch + (split * TILE + i) * tiles + tile] = sums[i]

    @device_function
    def step_at(at, gradient, weight, first, second, parameters, slots, scale, correction):
        weight, first, second = rule(weight, gradient, first, second, scale, correction)
        parameters[at], slots[at] = weight, first
        if two:
            slots[size + at] = second
        return weight

    @device_function
    def update(mem, parameters, slots, rates, step, held, block, thread):
        scale, correction = rates[2 * step], rates[2 * step + 1]
        for i in range(rounds):
            u = thread + i * threads
            if u < owned:
                at = weight_of(u, block)
                if at >= 0:
                    gradient = mem[scratch + u]
                    for split in range(1, splits):
                        gradient += mem[scratch + split * owned + u]
                    if ahead:
                        weight, first, second = held[3 * i], held[3 * i + 1], held[3 * i + 2]
                    else:
                        weight, first, second = parameters[at], slots[at], ZERO
                        if two:
                            second = slots[size + at]
                    step_at(at, gradient, weight, first, second, parameters, slots, scale, correction)
        for q in range(threads - 1 - thread, chunk, threads):  # from the last thread on: the first have a tile's weight
            e = block * chunk + q
            if e < exchange:
                gradient = mem[sums_scratch + q]
                for group in range(1, groups):
                    gradient += mem[sums_scratch + group * chunk + q]
                at, copy = place(e)
                second = ZERO
                if two:
                    second = slots[size + at]
                weight = step_at(
                    at, gradient, parameters[at], slots[at], second, parameters, slots, scale, correction
                )
                if copy >= 0:
                    parameters[copy] = weight

    return sum_gradients, update


def held_size(plan):
    """Floats that a thread reads ahead: parameter and two slots of each weight it owns, at least one triple."""
    rounds = -(-plan.tiles_per_block * TILE // plan.threads)
    return 3 * (rounds if 0 < rounds <= MOST_HELD else 1)


def _make_locate(layers):
    """Device function tile -> (x factors, gradient factors, first weight, pitch, rows below): a chain over layers."""
    begins = [sum(layer.tiles for layer in layers[:i]) for i in range(len(layers))]
    chain = None
    for layer, begin in zip(reversed(layers), reversed(begins)):
        chain = _locate_in(layer, begin, chain)
    return chain


def _locate_in(layer, begin, rest):
    x, d, weights, pitch, quads, rows = (
        *(layer.x_factors, layer.d_factors, layer.weights),
        *(layer.pitch, layer.quads, layer.inputs + 1),
    )
    end = begin + layer.tiles

    @device_function
    def here(tile):
        i, j = 4 * quotient(tile - begin, quads), 4 * remainder(tile - begin, quads)
        return x + i, d + j, weights + i * pitch + j, np.int64(pitch), rows - i

    if rest is None:
        return here

    @device_function
    def locate(tile):
        return here(tile) if tile < end else rest(tile)

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
        k, tap = quotient(i, per_filter), remainder(i, per_filter)
        copy = transposed + i if copied else np.int64(-1)
        return np.int64(weights + tap * filters + k), np.int64(copy)

    if rest is None:
        return here

    @device_function
    def place(e):
        return here(e) if e < end else rest(e)

    return place
