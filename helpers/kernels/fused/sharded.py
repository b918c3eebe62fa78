"""A dense layer whose weights a group of blocks shares: each works with its rows of them for the images of all.

Forward, a block publishes its image's inputs, sums over its own rows for every image of the group, and publishes those
sums; backward the same with the gradient of the outputs, of which it makes that of its own rows' inputs. What blocks
exchange lies in the images' factors; between the parts of a pass the group meets. Must not learn why the weights do
not fit one block, nor how blocks wait for each other.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.activation import make_activate
from helpers.kernels.fused.dense import make_put_gradient, pad_gradient, publish_gradient, publish_inputs
from helpers.kernels.fused.items import each, in_turn
from helpers.kernels.intrinsics import load4, narrow, quotient, remainder, store4
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
ROWS = 4  # of weights that a thread takes at once


def sharded_forward(plan, width, threads):
    """The parts of the forward pass; the group meets between one part and the next.

    Parameters
    ----------
    plan : DensePlan
    width : int
        Numbers in an image's row of factors.
    threads : int

    Returns
    -------
    list of list of device functions
        Each takes (thread, mem, parameters, factors, row, member): `row` is where this image's factors begin, `member`
        the block's number in its group. Within a part a barrier lies behind each.
    """
    shard, inputs, used = plan.shard, plan.inputs, plan.pitch_used
    rows, members, scratch, x_factors = shard.rows, shard.members, plan.scratch, plan.x_factors
    sums, places, splits = scratch + members * rows, members * used, shard.splits
    biases, y, sums_at = plan.weights + inputs * plan.pitch, plan.y.offset, shard.sums
    outputs, activate = plan.outputs, make_activate(plan)

    @device_function
    def gather(item, mem, parameters, factors, row, member):
        g, i = quotient(item, rows), member * rows + remainder(item, rows)
        inside = i < inputs
        at = narrow(row + (g - member) * width + x_factors + (i if inside else 0))
        value = factors[at]
        mem[scratch + item] = value if inside else ZERO

    @device_function
    def together(item, mem, parameters, factors, row, member):
        g, j = quotient(item, used), remainder(item, used)
        value = mem[sums + item]
        for split in range(1, splits):
            value += mem[sums + split * places + item]
        factors[narrow(row + (g - member) * width + sums_at + member * used + j)] = value

    @device_function
    def finish(j, mem, parameters, factors, row, member):
        value = parameters[biases + j]
        for m in range(members):
            value += factors[narrow(row + sums_at + m * used + j)]
        mem[y + j] = activate(value)

    multiply = each(plan.quads * shard.halves * splits, threads, _make_multiply(plan, sums))
    return [
        [_of_image(publish_inputs(plan, threads))],
        [each(members * rows, threads, gather), multiply, each(places, threads, together)],
        [each(outputs, threads, finish)],
    ]


def _make_multiply(plan, sums):
    """Device function: four neighbouring outputs of a few images, over a share of this block's rows of weights."""
    shard, used, pitch, quads, x = plan.shard, plan.pitch_used, plan.pitch, plan.quads, plan.scratch
    begin, rows, members, images, halves = shard.begin, shard.rows, shard.members, shard.images, shard.halves
    turns = -(-rows // (ROWS * shard.splits))
    even = rows % (ROWS * shard.splits) == 0

    @device_function
    @unrolled
    def multiply(item, mem, parameters, factors, row, member):
        quad, rest = remainder(item, quads), quotient(item, quads)
        first, split = images * remainder(rest, halves), quotient(rest, halves)
        total = registers(images, 4)
        for g in unroll(images):
            for j in unroll(4):
                total[g, j] = ZERO
        w = registers(ROWS, 4)
        for turn in range(turns):
            k = ROWS * (split * turns + turn)
            if even or k < rows:
                at, at_x = narrow(begin + k * pitch + 4 * quad), narrow(x + first * rows + k)
                for u in unroll(ROWS):
                    w[u, 0], w[u, 1], w[u, 2], w[u, 3] = load4(mem, at + u * pitch)
                for g in unroll(images):
                    value = load4(mem, at_x + g * rows)
                    for u in unroll(ROWS):
                        for j in unroll(4):
                            total[g, j] += value[u] * w[u, j]
        at = narrow(sums + (split * members + first) * used + 4 * quad)
        for g in unroll(images):
            store4(mem, at + g * used, total[g, 0], total[g, 1], total[g, 2], total[g, 3])

    return multiply


def sharded_input_gradient(plan, width, threads):
    """The parts of the backward pass; see `sharded_forward`."""
    publish = _of_image(publish_gradient(plan, threads))
    if plan.input_gradient is None:
        return [[publish]]
    shard, used, inputs, put = plan.shard, plan.pitch_used, plan.inputs, make_put_gradient(plan)
    rows, members, scratch, d_factors = shard.rows, shard.members, plan.gradient_scratch, plan.d_factors
    sums, places, splits, gradients_at = (
        scratch + members * used,
        members * rows,
        shard.gradient_splits,
        shard.gradients,
    )

    @device_function
    def gather(item, mem, parameters, factors, row, member):
        g, j = quotient(item, used), remainder(item, used)
        mem[scratch + item] = factors[narrow(row + (g - member) * width + d_factors + j)]

    @device_function
    def together(item, mem, parameters, factors, row, member):
        g, i = quotient(item, rows), member * rows + remainder(item, rows)
        value = mem[sums + item]
        for split in range(1, splits):
            value += mem[sums + split * places + item]
        if i < inputs:
            factors[narrow(row + (g - member) * width + gradients_at + i)] = value

    @device_function
    def finish(i, mem, parameters, factors, row, member):
        put(i, factors[narrow(row + gradients_at + i)], mem)

    multiply = each(rows // ROWS * shard.halves * splits, threads, _make_multiply_back(plan, sums))
    collect = in_turn([each(inputs, threads, finish), _of_image(pad_gradient(plan, threads))])
    return [
        [publish],
        [each(members * used, threads, gather), multiply, each(places, threads, together)],
        [collect],
    ]


def _make_multiply_back(plan, sums):
    """Device function: the gradient of four of this block's inputs for a few images, over a share of the outputs.

    The four lie apart, so that neighbouring threads have neighbouring ones, whose weights lie in other banks.
    """
    shard, used, pitch, quads, d = plan.shard, plan.pitch_used, plan.pitch, plan.quads, plan.gradient_scratch
    begin, rows, members, images, halves = shard.begin, shard.rows, shard.members, shard.images, shard.halves
    share, apart = -(-quads // shard.gradient_splits), rows // ROWS
    even = quads % shard.gradient_splits == 0

    @device_function
    @unrolled
    def multiply(item, mem, parameters, factors, row, member):
        i, rest = remainder(item, apart), quotient(item, apart)
        first, split = images * remainder(rest, halves), quotient(rest, halves)
        total = registers(ROWS, images)
        for u in unroll(ROWS):
            for g in unroll(images):
                total[u, g] = ZERO
        w = registers(ROWS, 4)
        for q in range(share):
            quad = split * share + q
            if even or quad < quads:
                at, at_d = narrow(begin + i * pitch + 4 * quad), narrow(d + first * used + 4 * quad)
                for u in unroll(ROWS):
                    w[u, 0], w[u, 1], w[u, 2], w[u, 3] = load4(mem, at + u * (apart * pitch))
                for g in unroll(images):
                    value = load4(mem, at_d + g * used)
                    for u in unroll(ROWS):
                        for j in unroll(4):
                            total[u, g] += w[u, j] * value[j]
        at = narrow(sums + (split * members + first) * rows + i)
        for g in unroll(images):
            for u in unroll(ROWS):
                mem[at + g * rows + u * apart] = total[u, g]

    return multiply


def _of_image(stage):
    """Device function of a stage that knows its own image only."""

    @device_function
    def run(thread, mem, parameters, factors, row, member):
        stage(thread, mem, parameters, factors, row)

    return run
