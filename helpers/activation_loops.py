"""Textbook loops of the activations beside ReLU, as loops_kernels.py has them of every other operation.

Arrays are flat, of one length and one type, float32 or float64, and so are the constants. A forward loop fills y from
x; a gradient's fills dx from dy and from y, since the output tells the derivative. Plain Python, or compiled by
numba.njit.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from helpers.layers import ELU, LeakyReLU, Sigmoid, Tanh


def leaky_relu_forward(y, x, slope):
    """y = x where x is positive, else slope x."""
    for i in range(x.shape[0]):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


def leaky_relu_input_gradient(dx, dy, y, slope):
    """dx = dy where y is positive, else slope dy."""
    for i in range(dy.shape[0]):
        dx[i] = dy[i] if y[i] > 0 else slope * dy[i]


def elu_forward(y, x, alpha):
    """y = x where x is positive, else alpha (exp(x) - 1)."""
    for i in range(x.shape[0]):
        y[i] = x[i] if x[i] > 0 else alpha * np.expm1(x[i])


def elu_input_gradient(dx, dy, y, alpha):
    """dx = dy where y is positive, else dy alpha exp(x), and alpha exp(x) = y + alpha."""
    for i in range(dy.shape[0]):
        dx[i] = dy[i] if y[i] > 0 else dy[i] * (y[i] + alpha)


def sigmoid_forward(y, x):
    """y = 1 / (1 + exp(-x)), for negative x as exp(x) / (exp(x) + 1): no exponential overflows."""
    one = x.dtype.type(1)
    for i in range(x.shape[0]):
        e = np.exp(-abs(x[i]))
        y[i] = (e if x[i] < 0 else one) / (one + e)


def sigmoid_input_gradient(dx, dy, y):
    """dx = dy y (1 - y)."""
    one = y.dtype.type(1)
    for i in range(dy.shape[0]):
        dx[i] = dy[i] * (y[i] * (one - y[i]))


def tanh_forward(y, x):
    """y = tanh(x)."""
    for i in range(x.shape[0]):
        y[i] = np.tanh(x[i])


def tanh_input_gradient(dx, dy, y):
    """dx = dy (1 - y^2)."""
    one = y.dtype.type(1)
    for i in range(dy.shape[0]):
        dx[i] = dy[i] * (one - y[i] * y[i])


class Loops(NamedTuple):
    """Both loops of an activation; the description's constants are their last arguments, in its order."""

    forward: Callable
    input_gradient: Callable


# by the type of a layer's description
LOOPS = {
    LeakyReLU: Loops(leaky_relu_forward, leaky_relu_input_gradient),
    ELU: Loops(elu_forward, elu_input_gradient),
    Sigmoid: Loops(sigmoid_forward, sigmoid_input_gradient),
    Tanh: Loops(tanh_forward, tanh_input_gradient),
}
