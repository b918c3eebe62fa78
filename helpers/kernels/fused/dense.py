"""A dense layer on one image in shared memory: forward, and the gradient of its input.

The weights' gradient is not computed here: the layer publishes its factors, the inputs and the outputs' gradient of
every image, and the owners of the weights multiply them (update.py). Weights lie in shared memory or stream from L2.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.gradients import make_gate
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
        Each takes (mem, parameters, factors, row, thread): `row` is where this image's factors begin.
    """
    inputs, outputs, pitch, quads, splits = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.splits
    share, x, y, scratch, used = -(-inputs // splits), plan.x.offset, plan.y.offset, plan.scratch, plan.pitch_used
    activation, x_factors, read = plan.activation, plan.x_factors, _weights_reader(plan)
    even = inputs % splits == 0

    @device_function
    def part(mem, parameters, factors, row, thread):
        for i in range(thread, inputs, threads):
            factors[row + x_factors + i] = mem[x + i]
        for item in range(thread, quads * splits, threads):
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
    def together(mem, parameters, factors, row, thread):
        for j in range(thread, outputs, threads):
            value = mem[scratch + j]
            for split in range(1, splits):
                value += mem[scratch + split * used + j]
            four = read(mem, parameters, inputs * pitch + (j & ~3))
            bias = four[0] if j & 3 == 0 else four[1] if j & 3 == 1 else four[2] if j & 3 == 2 else four[3]
            value += bias
            if activation:
                value = ZERO if value < ZERO else value  # NaN stays NaN
            mem[y + j] = value

    return [part, together]


def dense_input_gradient(plan, threads):
    """Publish the gradient of the outputs; a thread has one input and a share of the outputs, then shares are added.

    Returns
    -------
    list of device functions
        Each takes (mem, parameters, factors, row, thread).
    """
    inputs, outputs, pitch, quads, splits = plan.inputs, plan.outputs, plan.pitch, plan.quads, plan.gradient_splits
    share, gradient, target, scratch = -(-quads // splits), plan.gradient, plan.input_gradient, plan.gradient_scratch
    d_factors, read, gate = plan.d_factors, _weights_reader(plan), make_gate(plan)
    even, (_, columns, channels), filled = quads % splits == 0, plan.x.shape, -(-inputs // 4) * 4

    @device_function
    def publish(mem, parameters, factors, row, thread):
        for j in range(thread, outputs, threads):
            factors[row + d_factors + j] = mem[gradient + j]

    @device_function
    def part(mem, parameters, factors, row, thread):
        publish(mem, parameters, factors, row, thread)
        for item in range(thread, inputs * splits, threads):
            i, split = remainder(item, inputs), quotient(item, inputs)
            value, first = ZERO, split * share
            count = share if even else min(quads - first, share)
            for q in range(count):
                w = read(mem, parameters, i * pitch + 4 * (first + q))
                d = load4(mem, gradient + 4 * (first + q))
                value += w[0] * d[0] + w[1] * d[1] + w[2] * d[2] + w[3] * d[3]
            mem[scratch + item] = value

    @device_function
    def together(mem, parameters, factors, row, thread):
        for i in range(thread, filled, threads):
            value = ZERO
            if i < inputs:
                for split in range(splits):
                    value += mem[scratch + split * inputs + i]
                pixel, c = quotient(i, channels), remainder(i, channels)
                value = gate(mem, value, quotient(pixel, columns), remainder(pixel, columns), c)
            mem[target + i] = value  # 0 up to a multiple of four, where the layer below reads four at a time

    return [publish] if target is None else [part, together]
