"""A dense layer whose weights stream from L2: neighbouring threads read neighbouring weights.

The same work as in dense.py, in two parts with a barrier between them. Must not learn why the weights do not fit.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.dense import both, make_put_gradient, pad_gradient, publish_gradient, publish_inputs
from helpers.kernels.fused.items import each
from helpers.kernels.intrinsics import load4, quotient, remainder, store4

ZERO = np.float32(0.0)


def streamed_forward(plan, threads):
    """Four neighbouring outputs a thread, over a share of the inputs; then the shares are added.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row).
    """
    inputs, outputs, pitch, quads, splits = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.splits
    share, x, y, scratch, used = -(-inputs // splits), plan.x.offset, plan.y.offset, plan.scratch, plan.pitch_used
    activation, weights, even = plan.activation, plan.weights, inputs % splits == 0

    @device_function
    def multiply(item, mem, parameters, factors, row):
        quad, split = remainder(item, quads), quotient(item, quads)
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        first = split * share
        count = share if even else min(inputs - first, share)
        at = weights + first * pitch + 4 * quad
        for i in range(count):
            value = mem[x + first + i]
            w = load4(parameters, at + i * pitch)
            a += value * w[0]
            b += value * w[1]
            c += value * w[2]
            d += value * w[3]
        store4(mem, scratch + split * used + 4 * quad, a, b, c, d)

    @device_function
    def together(j, mem, parameters, factors, row):
        value = parameters[weights + inputs * pitch + j]
        for split in range(splits):
            value += mem[scratch + split * used + j]
        if activation:
            value = ZERO if value < ZERO else value  # NaN stays NaN
        mem[y + j] = value

    parts = both(each(quads * splits, threads, multiply), publish_inputs(plan, threads))
    return [parts, each(outputs, threads, together)]


def streamed_input_gradient(plan, threads):
    """A thread has one input and a share of the outputs; then the shares are added.

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
    weights, even = plan.weights, quads % splits == 0

    @device_function
    def multiply(item, mem, parameters, factors, row):
        i, split = remainder(item, inputs), quotient(item, inputs)
        value, first = ZERO, split * share
        count = share if even else min(quads - first, share)
        for q in range(count):
            w, d = load4(parameters, weights + i * pitch + 4 * (first + q)), load4(mem, gradient + 4 * (first + q))
            value += w[0] * d[0] + w[1] * d[1] + w[2] * d[2] + w[3] * d[3]
        mem[scratch + item] = value

    @device_function
    def together(i, mem, parameters, factors, row):
        value = ZERO
        for split in range(splits):
            value += mem[scratch + split * inputs + i]
        put(i, value, mem)

    parts = both(each(inputs * splits, threads, multiply), both(publish, pad_gradient(plan, threads)))
    return [parts, each(inputs, threads, together)]
