"""The derivative of ReLU: whoever makes the gradient of a ReLU's output lets through what the ReLU let through."""

import numpy as np

from helpers.device import device_function

ZERO = np.float32(0.0)


def make_gate(plan):
    """Device function (mem, value, y, x, c): value where the input's ReLU let it pass, else 0; writes nothing."""
    x = plan.x
    offset, row, column, channel = x.offset, x.row, x.column, x.channel

    @device_function
    def gate(mem, value, y, x, c):
        return value if mem[offset + y * row + x * column + c * channel] > ZERO else ZERO

    @device_function
    def keep(mem, value, y, x, c):
        return value

    return gate if plan.input_gated else keep
