"""ReLU alone, forward and backward, for the places where no neighbour takes it into its own kernel.

Knows one flat tensor; must not learn about layers.
"""

from math import prod

import numpy as np

from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.vectors import gater, vector_loader, vector_storer, vector_width
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)


def relu_forward(op, batch, shape, threads=256):
    """Kernel of y = max(x, 0) for a batch of tensors of `shape`; NaN stays NaN."""
    size = batch * prod(shape)
    width = vector_width(size)
    load, store = vector_loader(width), vector_storer(width)

    @unrolled
    def body(y, x):
        i = np.int64(cuda.grid(1)) * width
        if i < size:
            value = load(x, i)
            result = registers(width)
            for v in unroll(width):
                result[v] = ZERO if value[v] <= ZERO else value[v]
            store(y, i, result)

    return Kernel("relu_forward", body, (-(-size // (width * threads)), 1, 1), (threads, 1, 1))


def relu_input_gradient(op, batch, shape, threads=256):
    """Kernel of dx = dy where y > 0, else 0, for a batch of tensors of `shape`; ReLU'(0) = 0."""
    size = batch * prod(shape)
    width = vector_width(size)
    load, store, gate = vector_loader(width), vector_storer(width), gater(width, True)

    def body(dx, dy, y):
        i = np.int64(cuda.grid(1)) * width
        if i < size:
            store(dx, i, gate(load(dy, i), y, i))

    return Kernel("relu_input_gradient", body, (-(-size // (width * threads)), 1, 1), (threads, 1, 1))


def production(op, batch, shape):
    """The kernel of op.kind on tensors of `shape`."""
    return {"relu_forward": relu_forward, "relu_input_gradient": relu_input_gradient}[op.kind](op, batch, shape)


def variants(op, batch, shape):
    """Other tilings worth timing."""
    factory = {"relu_forward": relu_forward, "relu_input_gradient": relu_input_gradient}[op.kind]
    return [factory(op, batch, shape, threads) for threads in (128, 512)]
