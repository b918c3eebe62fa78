"""Convolution with bias and ReLU in one pass: y = relu(conv(x, w) + b), channels last, fp32.

A tile of pixels x filters a block (conv_core.py); this module says what becomes of the sums and which tile is taken.
Must not learn about engines.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.base import Kernel
from helpers.kernels.conv_core import Epilogue, correlator
from helpers.kernels.conv_tile import Correlation, Layout
from helpers.kernels.conv_tiling import choose_tile, neighbours
from helpers.kernels.quads import quad_loader, quad_storer

ZERO = np.float32(0.0)


def bias_activation(filters, activation):
    """Device functions bias(extra, filter) and activate(sum, bias) of a forward pass; NaN stays NaN."""
    load_quad, relu = quad_loader(filters), activation == "relu"

    @device_function
    def bias(b, k):
        return load_quad(b, k, k)

    @device_function
    def activate(total, term):
        value = total + term
        return ZERO if relu and value < ZERO else value

    return bias, activate


def conv_forward(op, batch, tile=None):
    """Kernel of y (N, D, H, W, K), x (N, D, H, W, C), w (kd, kh, kw, C, K), b (K,), with op.activation.

    Block: a tile of images x rows x columns of one depth x filters. Thread: rows x columns x filters of it.
    """
    sums = Correlation.forward(op.geometry, batch)
    layout = Layout(sums, tile or choose_tile(sums))
    correlate = correlator(layout, Epilogue(*bias_activation(sums.out_shape[3], op.activation), output_store(sums)))

    def body(y, x, w, b):
        correlate(y, y, x, w, b)

    return Kernel("conv_forward", body, **layout.launch)


def output_store(sums):
    """Device function: writes four filters of one output pixel."""
    batch, (depth, height, width, filters) = sums.batch, sums.out_shape
    store_quad = quad_storer(filters)

    @device_function
    def store(y, winner, b, image, z, row, column, k, values, winners):
        if image < batch and row < height and column < width:
            store_quad(y, (((image * depth + z) * height + row) * width + column) * filters + k, k, values)

    return store


def production(op, batch, multiprocessors=132):
    """The kernel that engines use, tiled by the rule of conv_tiling.choose_tile."""
    return conv_forward(op, batch, choose_tile(Correlation.forward(op.geometry, batch), multiprocessors))


def variants(op, batch):
    """Kernels with other tiles, the production one first, for timing."""
    sums = Correlation.forward(op.geometry, batch)
    return [conv_forward(op, batch, tile) for tile in neighbours(sums, choose_tile(sums))]
