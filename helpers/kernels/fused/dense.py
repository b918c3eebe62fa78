"""A dense layer on one image in shared memory: forward, and the gradient of its input.

The weights' gradient is not computed here: the layer publishes its factors, the inputs and the outputs' gradient of
every image, and the owners of the weights multiply them (sums.py). All weights lie in shared memory here; a group of
blocks shares others (sharded.py), and some stream from L2 (streamed.py).
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.fused.activation import make_activate, make_gate
from helpers.kernels.fused.items import each, in_turn
from helpers.kernels.intrinsics import load4, quotient, remainder
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
WARP, ALL_LANES = 32, 0xFFFFFFFF


def dense_forward(plan, threads):
    """Four neighbouring outputs a group of lanes, each lane over every so many inputs.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row): `row` is where this image's factors begin.
    """
    inputs, outputs, pitch, quads, lanes = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.lanes
    x, y, weights, activate = plan.x.offset, plan.y.offset, plan.weights, make_activate(plan)
    turns, even, groups, biases = -(-inputs // lanes), inputs % lanes == 0, threads // lanes, weights + inputs * pitch
    rounds, share, half, add = -(-quads // groups), lanes // 4, lanes // 2, make_lane_sum(lanes // 4)
    per_warp = WARP // lanes

    @device_function
    def finish(value, quad, lane, mem):
        j = 4 * quad + quotient(lane, share)
        if remainder(lane, share) == 0 and j < outputs:
            mem[y + j] = activate(value + mem[biases + j])

    @device_function
    def multiply(thread, mem, parameters, factors, row):
        lane, group = remainder(thread, lanes), quotient(thread, lanes)
        for turn in range(rounds):
            if turn * groups + group - remainder(group, per_warp) < quads:  # the same for all lanes of a warp
                quad = turn * groups + group
                column = weights + 4 * min(quad, quads - 1)
                a, b, c, d = ZERO, ZERO, ZERO, ZERO
                for i in range(turns):
                    k = lane + i * lanes
                    here = k if even else min(k, inputs - 1)
                    value = mem[x + here] if even or k < inputs else ZERO
                    w = load4(mem, column + here * pitch)
                    a += value * w[0]
                    b += value * w[1]
                    c += value * w[2]
                    d += value * w[3]
                upper = (lane & half) > 0  # half of the lanes go on with two of the four sums, then a quarter with one
                kept, given = (c if upper else a), (a if upper else c)
                kept_2, given_2 = (d if upper else b), (b if upper else d)
                kept += cuda.shfl_xor_sync(ALL_LANES, given, half)
                kept_2 += cuda.shfl_xor_sync(ALL_LANES, given_2, half)
                upper = (lane & share) > 0
                kept, given = (kept_2 if upper else kept), (kept if upper else kept_2)
                kept += cuda.shfl_xor_sync(ALL_LANES, given, share)
                value = add(kept)
                if quad < quads:
                    finish(value, quad, lane, mem)

    return [in_turn([multiply, publish_inputs(plan, threads)])]


def make_lane_sum(lanes):
    """Device function: the sum of a value over a power of two of neighbouring lanes, for all of them."""
    if lanes == 1:

        @device_function
        def itself(value):
            return value

        return itself
    half, rest = lanes // 2, make_lane_sum(lanes // 2)

    @device_function
    def add(value):
        value += cuda.shfl_xor_sync(ALL_LANES, value, half)
        return rest(value)

    return add


def publish_inputs(plan, threads):
    """Device function: the layer's inputs among this image's factors."""
    x, x_factors = plan.x.offset, plan.x_factors

    @device_function
    def publish(i, mem, parameters, factors, row):
        factors[row + x_factors + i] = mem[x + i]

    return each(plan.inputs, threads, publish)


def publish_gradient(plan, threads):
    """Device function: the gradient of the layer's outputs among this image's factors."""
    gradient, d_factors = plan.gradient, plan.d_factors

    @device_function
    def publish(j, mem, parameters, factors, row):
        factors[row + d_factors + j] = mem[gradient + j]

    return each(plan.outputs, threads, publish)


def make_put_gradient(plan):
    """Device function (i, value, mem): the gradient of input `i`, gated."""
    target, gate, (_, columns, channels) = plan.input_gradient, make_gate(plan), plan.x.shape

    @device_function
    def put(i, value, mem):
        pixel, c = quotient(i, channels), remainder(i, channels)
        mem[target + i] = gate(mem, value, quotient(pixel, columns), remainder(pixel, columns), c)

    return put


def dense_input_gradient(plan, threads):
    """Publish the gradient of the outputs; a thread has a few inputs and a share of the outputs, then shares are added.

    Neighbouring threads have neighbouring inputs, whose weights lie in other banks. Lanes that share a sum and add by
    shuffles, as forward, were slower here: they have more to compute than to read.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row).
    """
    publish = publish_gradient(plan, threads)
    if plan.input_gradient is None:
        return [publish]
    inputs, pitch, quads, splits = plan.inputs, plan.pitch, plan.quads, plan.gradient_splits
    share, gradient, scratch, put = -(-quads // splits), plan.gradient, plan.gradient_scratch, make_put_gradient(plan)
    weights, even, rows = plan.weights, quads % splits == 0, plan.gradient_rows
    apart = inputs // rows

    @device_function
    @unrolled
    def multiply(item, mem, parameters, factors, row):
        i, split = remainder(item, apart), quotient(item, apart)
        first = split * share
        values = registers(rows)
        for u in unroll(rows):
            values[u] = ZERO
        count = share if even else min(quads - first, share)
        for q in range(count):
            d, at = load4(mem, gradient + 4 * (first + q)), weights + i * pitch + 4 * (first + q)
            for u in unroll(rows):
                w = load4(mem, at + u * (apart * pitch))
                values[u] += w[0] * d[0] + w[1] * d[1] + w[2] * d[2] + w[3] * d[3]
        for u in unroll(rows):
            mem[scratch + split * inputs + u * apart + i] = values[u]

    @device_function
    def together(i, mem, parameters, factors, row):
        value = ZERO
        for split in range(splits):
            value += mem[scratch + split * inputs + i]
        put(i, value, mem)

    parts = in_turn([each(apart * splits, threads, multiply), publish, pad_gradient(plan, threads)])
    return [parts, each(inputs, threads, together)]


def pad_gradient(plan, threads):
    """Device function: 0 behind the inputs' gradient up to a multiple of four, as the layer below reads it."""
    target, inputs = plan.input_gradient, plan.inputs

    @device_function
    def pad(i, mem, parameters, factors, row):
        mem[target + inputs + i] = ZERO

    return each(-inputs % 4, threads, pad)
