"""Activations beside ReLU, forward and backward, each as an operation of its own.

Knows one flat tensor and pointwise.py's functions of one value; must not learn which function it applies.
"""

from math import prod

import numpy as np

from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.pointwise import make_activation, make_derivative
from helpers.kernels.vectors import vector_loader, vector_storer, vector_width
from helpers.unroll import registers, unroll, unrolled


def activation_forward(op, batch, threads=256):
    """Kernel of y = f(x), f the function of op.geometry, for a batch of tensors of its shape; NaN stays NaN."""
    size = batch * prod(op.geometry.shape)
    width = vector_width(size)
    load, store, activate = vector_loader(width), vector_storer(width), make_activation(op.geometry.function)

    @unrolled
    def body(y, x):
        i = np.int64(cuda.grid(1)) * width
        if i < size:
            value = load(x, i)
            result = registers(width)
            for v in unroll(width):
                result[v] = activate(value[v])
            store(y, i, result)

    return Kernel("activation_forward", body, (-(-size // (width * threads)), 1, 1), (threads, 1, 1))


def activation_input_gradient(op, batch, threads=256):
    """Kernel of dx = f'(x) dy, the derivative had from the output y, for a batch of tensors of op.geometry's shape."""
    size = batch * prod(op.geometry.shape)
    width = vector_width(size)
    load, store, differentiate = vector_loader(width), vector_storer(width), make_derivative(op.geometry.function)

    @unrolled
    def body(dx, dy, y):
        i = np.int64(cuda.grid(1)) * width
        if i < size:
            gradient, output = load(dy, i), load(y, i)
            result = registers(width)
            for v in unroll(width):
                result[v] = gradient[v] * differentiate(output[v])
            store(dx, i, result)

    return Kernel("activation_input_gradient", body, (-(-size // (width * threads)), 1, 1), (threads, 1, 1))


FACTORIES = {"activation_forward": activation_forward, "activation_input_gradient": activation_input_gradient}


def production(op, batch):
    """The kernel of op.kind."""
    return FACTORIES[op.kind](op, batch)


def variants(op, batch):
    """Other tilings worth timing."""
    return [FACTORIES[op.kind](op, batch, threads) for threads in (128, 512)]
