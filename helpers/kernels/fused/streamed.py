"""A dense layer whose weights stream from L2: neighbouring threads read neighbouring weights, forward and backward.

The same work as in dense.py. Must not learn why the weights do not fit.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.fused.activation import make_activate
from helpers.kernels.fused.dense import (
    ALL_LANES,
    WARP,
    make_put_gradient,
    pad_gradient,
    publish_gradient,
    publish_inputs,
)
from helpers.kernels.fused.items import each, in_turn
from helpers.kernels.intrinsics import load4, quotient, remainder, store4
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
ROWS = 8  # inputs whose gradients a warp makes at once


def streamed_forward(plan, threads):
    """Four neighbouring outputs a thread, over a share of the inputs; then the shares are added.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row).
    """
    inputs, outputs, pitch, quads, splits = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.splits
    share, x, y, scratch, used = -(-inputs // splits), plan.x.offset, plan.y.offset, plan.scratch, plan.pitch_used
    activate, weights, even = make_activate(plan), plan.weights, inputs % splits == 0
    at_once = next(n for n in (8, 7, 6, 5, 4, 3, 2, 1) if share % n == 0)

    @device_function
    @unrolled
    def multiply(item, mem, parameters, factors, row):
        quad, split = remainder(item, quads), quotient(item, quads)
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        w = registers(at_once, 4)
        for turn in range(share // at_once):
            first = split * share + turn * at_once
            for i in unroll(at_once):  # all are on their way before the first is used
                here = first + i if even else min(first + i, inputs - 1)
                w[i, 0], w[i, 1], w[i, 2], w[i, 3] = load4(parameters, weights + here * pitch + 4 * quad)
            for i in unroll(at_once):
                value = mem[x + (first + i if even else min(first + i, inputs - 1))]
                value = value if even or first + i < inputs else ZERO
                a += value * w[i, 0]
                b += value * w[i, 1]
                c += value * w[i, 2]
                d += value * w[i, 3]
        store4(mem, scratch + split * used + 4 * quad, a, b, c, d)

    @device_function
    def together(j, mem, parameters, factors, row):
        value = parameters[weights + inputs * pitch + j]
        for split in range(splits):
            value += mem[scratch + split * used + j]
        mem[y + j] = activate(value)

    parts = in_turn([each(quads * splits, threads, multiply), publish_inputs(plan, threads)])
    return [parts, each(outputs, threads, together)]


def streamed_input_gradient(plan, threads):
    """Publish the gradient of the outputs; a warp takes eight inputs, a lane every 32nd group of four outputs.

    The lanes' parts of eight sums are added in a butterfly: with each exchange a lane goes on with half as many sums.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row).
    """
    publish = publish_gradient(plan, threads)
    if plan.input_gradient is None:
        return [publish]
    inputs, pitch, quads = plan.inputs, plan.pitch, plan.quads
    gradient, put, turns, warps = plan.gradient, make_put_gradient(plan), -(-plan.quads // WARP), threads // WARP
    rounds, whole, weights = -(-inputs // (ROWS * warps)), quads % WARP == 0, plan.weights

    @device_function
    @unrolled
    def multiply(thread, mem, parameters, factors, row):
        lane, warp = remainder(thread, WARP), quotient(thread, WARP)
        for turn in range(rounds):
            first = (turn * warps + warp) * ROWS
            if first < inputs:  # the same for all lanes of a warp
                sums = registers(ROWS)
                for i in unroll(ROWS):
                    sums[i] = ZERO
                for t in range(turns):
                    quad = lane + t * WARP
                    here = 4 * (quad if whole else min(quad, quads - 1))
                    d = load4(mem, gradient + here)
                    for i in unroll(ROWS):
                        w = load4(parameters, weights + min(first + i, inputs - 1) * pitch + here)
                        part = w[0] * d[0] + w[1] * d[1] + w[2] * d[2] + w[3] * d[3]
                        sums[i] += part if whole or quad < quads else ZERO
                for step in unroll(3):
                    upper = (lane & (16 >> step)) > 0
                    for i in unroll(4 >> step):
                        kept = sums[i + (4 >> step)] if upper else sums[i]
                        given = sums[i] if upper else sums[i + (4 >> step)]
                        sums[i] = kept + cuda.shfl_xor_sync(ALL_LANES, given, 16 >> step)
                value = sums[0] + cuda.shfl_xor_sync(ALL_LANES, sums[0], 2)
                value += cuda.shfl_xor_sync(ALL_LANES, value, 1)
                if lane & 3 == 0 and first + (lane >> 2) < inputs:
                    put(first + (lane >> 2), value, mem)

    return [in_turn([multiply, publish, pad_gradient(plan, threads)])]
