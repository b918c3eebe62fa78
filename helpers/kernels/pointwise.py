"""Activations of one value on the card: the function, and its derivative from the function's output.

Shared by the kernels of single operations and by the fused one. Everything is float32: what Python's math returns is
cast at once, so that nothing is promoted to float64. Knows the layers' descriptions; must not learn about tensors.
"""

import math

import numpy as np

from helpers.device import device_function
from helpers.layers import ELU, LeakyReLU, ReLU, Sigmoid, Tanh

ZERO, ONE = np.float32(0.0), np.float32(1.0)


def make_activation(function):
    """Device function (value) -> float32: `function`, a layer's description, of one value; NaN stays NaN."""
    return MAKERS[type(function)](function)[0]


def make_derivative(function):
    """Device function (y) -> float32: the derivative of `function` where its output is y."""
    return MAKERS[type(function)](function)[1]


def _relu(function):
    @device_function
    def forward(value):
        return ZERO if value < ZERO else value

    @device_function
    def derivative(y):
        return ONE if y > ZERO else ZERO

    return forward, derivative


def _leaky_relu(function):
    slope = np.float32(function.slope)

    @device_function
    def forward(value):
        return value if value > ZERO else slope * value

    @device_function
    def derivative(y):
        return ONE if y > ZERO else slope

    return forward, derivative


def _elu(function):
    alpha = np.float32(function.alpha)

    @device_function
    def forward(value):
        return value if value > ZERO else alpha * np.float32(math.expm1(value))

    @device_function
    def derivative(y):
        return ONE if y > ZERO else y + alpha

    return forward, derivative


def _sigmoid(function):
    @device_function
    def forward(value):
        e = np.float32(math.exp(-abs(value)))  # at most 1, so that nothing overflows
        return (e if value < ZERO else ONE) / (ONE + e)

    @device_function
    def derivative(y):
        return y * (ONE - y)

    return forward, derivative


def _tanh(function):
    @device_function
    def forward(value):
        return np.float32(math.tanh(value))

    @device_function
    def derivative(y):
        return ONE - y * y

    return forward, derivative


# layer type: maker of both device functions
MAKERS = {ReLU: _relu, LeakyReLU: _leaky_relu, ELU: _elu, Sigmoid: _sigmoid, Tanh: _tanh}
