"""Poolings that stand alone, forward and backward, one image in shared memory.

Must not learn about convolutions; those that pool themselves are in convolution.py.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.activation import make_gate
from helpers.kernels.fused.items import each
from helpers.kernels.intrinsics import quotient, remainder

ZERO = np.float32(0.0)


def pool_forward(plan, threads):
    """An output a thread; max-pooling also keeps the winner. Device function (thread, mem, ints)."""
    (rows, columns), (stride_h, stride_w), (pad_h, pad_w) = plan.window, plan.stride, plan.padding
    (height, width, channels), (_, wide, _), size = plan.x.shape, plan.y.shape, plan.y.size
    x, x_row, x_column, x_channel = plan.x.offset, plan.x.row, plan.x.column, plan.x.channel
    y, y_row, y_column, y_channel = plan.y.offset, plan.y.row, plan.y.column, plan.y.channel
    winners, largest = plan.winners or 0, plan.winners is not None

    @device_function
    def pool(item, mem, ints):
        c, rest = remainder(item, channels), quotient(item, channels)
        left, top = remainder(rest, wide) * stride_w - pad_w, quotient(rest, wide) * stride_h - pad_h
        total, best, winner, count = ZERO, ZERO, np.int32(-1), 0
        for i in range(max(top, 0), min(top + rows, height)):
            for j in range(max(left, 0), min(left + columns, width)):
                value = mem[x + i * x_row + j * x_column + c * x_channel]
                total += value
                count += 1
                if winner < 0 or value > best:
                    best, winner = value, np.int32(i * width + j)
        value = best if largest else total / np.float32(count)
        mem[y + quotient(rest, wide) * y_row + remainder(rest, wide) * y_column + c * y_channel] = value
        if largest:
            ints[winners + item] = winner

    return each(size, threads, pool)


def pool_input_gradient(plan, threads):
    """Each input cell collects from the windows that hold it. Device function (thread, mem, ints)."""
    (rows, columns), (stride_h, stride_w), (pad_h, pad_w) = plan.window, plan.stride, plan.padding
    (height, width, channels), (high, wide, _) = plan.x.shape, plan.y.shape
    gradient, target, gate = plan.gradient, plan.input_gradient, make_gate(plan)
    winners, largest = plan.winners or 0, plan.winners is not None
    above, before = -(-rows // stride_h), -(-columns // stride_w)

    @device_function
    def collect(item, mem, ints):
        c, rest = remainder(item, channels), quotient(item, channels)
        x, y = remainder(rest, width), quotient(rest, width)
        last_y, last_x = quotient(y + pad_h, stride_h), quotient(x + pad_w, stride_w)
        value = ZERO
        for a in range(above):
            for b in range(before):
                oy, ox = last_y - a, last_x - b
                top, left = oy * stride_h - pad_h, ox * stride_w - pad_w
                inside = y < top + rows and x < left + columns
                if inside and oy >= 0 and oy < high and ox >= 0 and ox < wide:
                    at = (oy * wide + ox) * channels + c
                    d = mem[gradient + at]
                    if largest:
                        value += d if ints[winners + at] == rest else ZERO
                    else:
                        down = min(top + rows, height) - max(top, 0)
                        value += d / np.float32(down * (min(left + columns, width) - max(left, 0)))
        mem[target + item] = gate(mem, value, y, x, c)

    return each(height * width * channels, threads, collect)
