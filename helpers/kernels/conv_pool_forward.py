"""Convolution, bias, ReLU and max-pooling in one pass: only the pooled tensor and the winners reach memory.

The convolution's body; a thread holds whole pooling windows in registers and takes their first largest cell. For
windows that do not overlap, without padding and one plane deep (lowering.fuse_pool sees to it). Must not learn about
engines.
"""

from dataclasses import replace

import numpy as np

from helpers.device import device_function
from helpers.kernels.base import Kernel
from helpers.kernels.conv_core import Epilogue, correlator
from helpers.kernels.conv_forward import bias_activation
from helpers.kernels.conv_tile import Correlation, Layout
from helpers.kernels.conv_tiling import choose_tile, neighbours
from helpers.kernels.quads import quad_storer


def pooled_sums(op, batch):
    """The correlation of op.geometry, without the outputs that no pooling window covers."""
    sums = Correlation.forward(op.geometry, batch)
    depth, rows, columns, filters = op.pool.out_shape
    _, high, wide = op.pool.window
    return replace(sums, out_shape=(depth, rows * high, columns * wide, filters))


def conv_pool_forward(op, batch, tile=None):
    """Kernel of y (N, D, H', W', K), winner like y (uint8, row-major in the window), x, w, b; H', W' pooled.

    Block and thread as in conv_forward; a thread's rows and columns are whole windows.
    """
    sums, window = pooled_sums(op, batch), op.pool.window[1:]
    layout = Layout(sums, tile or choose_tile(sums, window=window))
    epilogue = Epilogue(*bias_activation(sums.out_shape[3], op.activation), pooled_store(op.pool, batch))
    correlate = correlator(layout, epilogue, window)

    def body(y, winner, x, w, b):
        correlate(y, winner, x, w, b)

    return Kernel("conv_pool_forward", body, **layout.launch)


def pooled_store(pool, batch):
    """Device function: writes four filters of one window's largest value and its place."""
    depth, height, width, filters = pool.out_shape
    store_quad, store_bytes = quad_storer(filters), byte_storer(filters)

    @device_function
    def store(y, winner, b, image, z, row, column, k, values, winners):
        if image < batch and row < height and column < width:
            at = (((image * depth + z) * height + row) * width + column) * filters + k
            store_quad(y, at, k, values)
            store_bytes(winner, at, k, winners)

    return store


def byte_storer(size):
    """Device function: writes as uint8 those of four integers at `index` whose `position` + i < `size`."""

    @device_function
    def store(array, index, position, values):
        if position < size:
            array[index] = np.uint8(values[0])
        if position + 1 < size:
            array[index + 1] = np.uint8(values[1])
        if position + 2 < size:
            array[index + 2] = np.uint8(values[2])
        if position + 3 < size:
            array[index + 3] = np.uint8(values[3])

    return store


def production(op, batch, multiprocessors=132):
    """The kernel that engines use, tiled by the rule of conv_tiling.choose_tile."""
    tile = choose_tile(pooled_sums(op, batch), multiprocessors, op.pool.window[1:])
    return conv_pool_forward(op, batch, tile)


def variants(op, batch):
    """Kernels with other tiles, the production one first, for timing."""
    sums = pooled_sums(op, batch)
    return [conv_pool_forward(op, batch, t) for t in neighbours(sums, choose_tile(sums, window=op.pool.window[1:]))]
