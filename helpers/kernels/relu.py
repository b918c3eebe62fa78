"""ReLU alone, forward and backward, for the places where no neighbour takes it into its own kernel.

Knows one flat tensor; must not learn about layers.
"""

from math import prod

import numpy as np

from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, store4
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)


def relu_forward(op, batch, shape, threads=256):
    """Kernel of y = max(x, 0) for a batch of tensors of `shape`; NaN stays NaN."""
    size = batch * prod(shape)
    width = 4 if size % 4 == 0 else 1

    @unrolled
    def body(y, x):
        i = np.int64(cuda.grid(1)) * width
        if i < size:
            value = registers(width)
            if width == 4:
                value[0], value[1], value[2], value[3] = load4(x, i)
            else:
                value[0] = x[i]
            for v in unroll(width):
                value[v] = ZERO if value[v] <= ZERO else value[v]
            if width == 4:
                store4(y, i, value[0], value[1], value[2], value[3])
            else:
                y[i] = value[0]

    return Kernel("relu_forward", body, (-(-size // (width * threads)), 1, 1), (threads, 1, 1))


def relu_input_gradient(op, batch, shape, threads=256):
    """Kernel of dx = dy where y > 0, else 0, for a batch of tensors of `shape`; ReLU'(0) = 0."""
    size = batch * prod(shape)
    width = 4 if size % 4 == 0 else 1

    @unrolled
    def body(dx, dy, y):
        i = np.int64(cuda.grid(1)) * width
        if i < size:
            gradient = registers(width)
            value = registers(width)
            if width == 4:
                gradient[0], gradient[1], gradient[2], gradient[3] = load4(dy, i)
                value[0], value[1], value[2], value[3] = load4(y, i)
            else:
                gradient[0], value[0] = dy[i], y[i]
            for v in unroll(width):
                gradient[v] = gradient[v] if value[v] > ZERO else ZERO
            if width == 4:
                store4(dx, i, gradient[0], gradient[1], gradient[2], gradient[3])
            else:
                dx[i] = gradient[0]

    return Kernel("relu_input_gradient", body, (-(-size // (width * threads)), 1, 1), (threads, 1, 1))


def production(op, batch, shape):
    """The kernel of op.kind on tensors of `shape`."""
    return {"relu_forward": relu_forward, "relu_input_gradient": relu_input_gradient}[op.kind](op, batch, shape)


def VARIANTS(op, batch, shape):
    """Other tilings worth timing."""
    factory = {"relu_forward": relu_forward, "relu_input_gradient": relu_input_gradient}[op.kind]
    return [factory(op, batch, shape, threads) for threads in (128, 512)]
