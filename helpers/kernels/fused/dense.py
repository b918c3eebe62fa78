"""A dense layer on one image in shared memory: forward, and the gradient of its input.

The weights' gradient is not computed here: the layer publishes its factors, the inputs and the outputs' gradient of
every image, and the owners of the weights multiply them (update.py). Weights lie in shared memory or stream from L2.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.gradients import make_gate
from helpers.kernels.fused.items import each
from helpers.kernels.intrinsics import load4, quotient, remainder, store4

ZERO = np.float32(0.0)


def _weights_reader(plan):
    """Device function (mem, parameters, i): four weights from cell i of the layer's own on."""
    begin = plan.weights

    @device_function
    def resident(mem, parameters, i):
        return load4(mem, begin + i)

    @device_function
    def streamed(mem, parameters, i):
        return load4(parameters, begin + i)

    return resident if plan.resident else streamed


def dense_forward(plan, threads):
    """Four neighbouring outputs a thread, over a share of the inputs; then the shares are added.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row): `row` is where this image's factors begin.
    """
    inputs, outputs, pitch, quads, splits = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.splits
    share, x, y, scratch, used = -(-inputs // splits), plan.x.offset, plan.y.offset, plan.scratch, plan.pitch_used
    activation, x_factors, read = plan.activation, plan.x_factors, _weights_reader(plan)
    even = inputs % splits == 0

    @device_function
    def publish(i, mem, parameters, factors, row):
        factors[row + x_factors + i] = mem[x + i]

    @device_function
    def multiply(item, mem, parameters, factors, row):
        quad, split = remainder(item, quads), quotient(item, quads)
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        first = split * share
        count = share if even else min(inputs - first, share)
        at = first * pitch + 4 * quad
        for i in range(count):
            value = mem[x + first + i]
            w = read(mem, parameters, at + i * pitch)
            a += value * w[0]
            b += value * w[1]
            c += value * w[2]
            d += value * w[3]
        store4(mem, scratch + split * used + 4 * quad, a, b, c, d)

    @device_function
    def together(j, mem, parameters, factors, row):
        value = bias_of(mem, parameters, j)
        for split in range(splits):
            value += mem[scratch + split * used + j]
        if activation:
            value = ZERO if value < ZERO else value  # NaN stays NaN
        mem[y + j] = value

    bias_of = _bias_reader(plan)
    parts = _both(each(quads * splits, threads, multiply), each(inputs, threads, publish))
    return [parts, each(outputs, threads, together)]


def _bias_reader(plan):
    """Device function (mem, parameters, j): the bias of output j."""
    begin = plan.weights + plan.inputs * plan.pitch

    @device_function
    def resident(mem, parameters, j):
        return mem[begin + j]

    @device_function
    def streamed(mem, parameters, j):
        return parameters[begin + j]

    return resident if plan.resident else streamed


def _both(first, second):
    """Device function: two that need no barrier between them."""

    @device_function
    def run(thread, mem, parameters, factors, row):
        first(thread, mem, parameters, factors, row)
        second(thread, mem, parameters, factors, row)

    return run


def dense_input_gradient(plan, threads):
    """Publish the gradient of the outputs; a thread has one input and a share of the outputs, then shares are added.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, parameters, factors, row).
    """
    inputs, outputs, pitch, quads, splits = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.gradient_splits
    share, gradient, target, scratch = -(-quads // splits), plan.gradient, plan.input_gradient, plan.gradient_scratch
    d_factors, read, gate = plan.d_factors, _weights_reader(plan), make_gate(plan)
    even, (_, columns, channels), filled = quads % splits == 0, plan.x.shape, -(-inputs // 4) * 4

    @device_function
    def publish(j, mem, parameters, factors, row):
        factors[row + d_factors + j] = mem[gradient + j]

    @device_function
    def multiply(item, mem, parameters, factors, row):
        i, split = remainder(item, inputs), quotient(item, inputs)
        value, first = ZERO, split * share
        count = share if even else min(quads - first, share)
        for q in range(count):
            w = read(mem, parameters, i * pitch + 4 * (first + q))
            d = load4(mem, gradient + 4 * (first + q))
            value += w[0] * d[0] + w[1] * d[1] + w[2] * d[2] + w[3] * d[3]
        mem[scratch + item] = value

    @device_function
    def together(i, mem, parameters, factors, row):
        value = ZERO
        if i < inputs:
            for split in range(splits):
                value += mem[scratch + split * inputs + i]
            pixel, c = quotient(i, channels), remainder(i, channels)
            value = gate(mem, value, quotient(pixel, columns), remainder(pixel, columns), c)
        mem[target + i] = value  # 0 up to a multiple of four, where the layer below reads four at a time

    published = each(outputs, threads, publish)
    if target is None:
        return [published]
    return [_both(each(inputs * splits, threads, multiply), published), each(filled, threads, together)]
