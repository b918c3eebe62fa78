"""Forward pass of a dense layer whose weights stream from L2: neighbouring threads read neighbouring weights.

The same work as in dense.py, in two parts with a barrier between them. Must not learn why the weights do not fit.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.dense import both, publish_inputs
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
