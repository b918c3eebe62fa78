"""The formulas of the activations beside ReLU: the function of x, and its derivative from the function's output y.

Each takes a float32 or float64 array of any shape and the layer's description with the constants, and returns an array
of that shape and type. No exponential overflows. Knows layers only; must not learn about geometry, batches or engines.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from helpers.layers import ELU, LeakyReLU, Sigmoid, Tanh


class Formula(NamedTuple):
    """`forward(x, layer)` is the output; `derivative(y, layer)` the derivative where the output is y."""

    forward: Callable
    derivative: Callable


def leaky_relu(x, layer):
    """x where it is positive, else slope x."""
    return np.where(x > 0, x, layer.slope * x)


def leaky_relu_derivative(y, layer):
    """1 where the output is positive, else the slope."""
    return np.where(y > 0, y.dtype.type(1), y.dtype.type(layer.slope))


def elu(x, layer):
    """x where it is positive, else alpha (exp(x) - 1); expm1 keeps the digits that exp(x) - 1 loses close to 0."""
    return np.where(x > 0, x, layer.alpha * np.expm1(np.minimum(x, 0)))


def elu_derivative(y, layer):
    """1 where the output is positive, else alpha exp(x), which is y + alpha."""
    return np.where(y > 0, y.dtype.type(1), y + y.dtype.type(layer.alpha))


def sigmoid(x, layer):
    """1 / (1 + exp(-x)); for negative x both sides of the fraction are multiplied by exp(x), which cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, x.dtype.type(1)) / (1 + e)


def sigmoid_derivative(y, layer):
    """y (1 - y)."""
    return y * (1 - y)


def tanh(x, layer):
    """The hyperbolic tangent."""
    return np.tanh(x)


def tanh_derivative(y, layer):
    """1 - y^2."""
    return 1 - y * y


FORMULAS = {
    LeakyReLU: Formula(leaky_relu, leaky_relu_derivative),
    ELU: Formula(elu, elu_derivative),
    Sigmoid: Formula(sigmoid, sigmoid_derivative),
    Tanh: Formula(tanh, tanh_derivative),
}
