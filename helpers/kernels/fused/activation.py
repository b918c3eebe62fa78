"""A stage's activation: applied to its outputs where they are written, its derivative to gradients where those are.

Whoever makes the gradient of an activation's output multiplies it by the derivative, which the output alone tells; so
what is kept is the gradient of the activation's input. Must not learn about the stages that use it.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.items import each
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.pointwise import make_activation, make_derivative
from helpers.layers import ReLU

ZERO = np.float32(0.0)


def make_activate(plan):
    """Device function: a value of the stage's output from what its sums gave."""

    @device_function
    def itself(value):
        return value

    return make_activation(plan.activation) if plan.activation else itself


def make_gate(plan):
    """Device function (mem, value, y, x, c): value times the derivative of the activation below; writes nothing."""
    view = plan.x
    offset, row, column, channel = view.offset, view.row, view.column, view.channel

    @device_function
    def keep(mem, value, y, x, c):
        return value

    if plan.input_activation is None:
        return keep

    @device_function
    def let_through(mem, value, y, x, c):
        return value if mem[offset + y * row + x * column + c * channel] > ZERO else ZERO

    if plan.input_activation == ReLU():
        return let_through
    derivative = make_derivative(plan.input_activation)

    @device_function
    def multiply(mem, value, y, x, c):
        return value * derivative(mem[offset + y * row + x * column + c * channel])

    return multiply


def activation_forward(plan, threads):
    """An activation that no other stage could take, an output a thread. Device function (thread, mem, ints)."""
    (_, columns, channels), size = plan.x.shape, plan.x.size
    x, x_row, x_column, x_channel = plan.x.offset, plan.x.row, plan.x.column, plan.x.channel
    y, y_row, y_column, y_channel = plan.y.offset, plan.y.row, plan.y.column, plan.y.channel
    activate = make_activate(plan)

    @device_function
    def apply(item, mem, ints):
        c, rest = remainder(item, channels), quotient(item, channels)
        j, i = remainder(rest, columns), quotient(rest, columns)
        value = mem[x + i * x_row + j * x_column + c * x_channel]
        mem[y + i * y_row + j * y_column + c * y_channel] = activate(value)

    return each(size, threads, apply)


def activation_input_gradient(plan, threads):
    """Device function (thread, mem, ints): of an activation that stands alone.

    What is kept for its output is the gradient of its input already (see above); so only the derivative of an
    activation below it is still to be multiplied by.
    """
    (_, columns, channels), size = plan.x.shape, plan.x.size
    gradient, target, gate = plan.gradient, plan.input_gradient, make_gate(plan)

    @device_function
    def hand_on(item, mem, ints):
        c, rest = remainder(item, channels), quotient(item, channels)
        mem[target + item] = gate(mem, mem[gradient + item], quotient(rest, columns), remainder(rest, columns), c)

    return each(size, threads, hand_on)
