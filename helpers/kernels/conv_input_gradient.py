"""Gradient of a convolution's input, times (mask > 0) where the op has a mask; channels last, fp32.

The forward pass's body on the output gradient and the flipped weights, read as they lie: nothing is packed before.
With a stride the output gradient is spread out with zeros while it enters shared memory. Must not learn about engines.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.base import Kernel
from helpers.kernels.conv_core import Epilogue, correlator
from helpers.kernels.conv_tile import Correlation, Layout
from helpers.kernels.conv_tiling import choose_tile, neighbours
from helpers.kernels.quads import quad_loader, quad_storer

ZERO = np.float32(0.0)


def conv_input_gradient(op, batch, tile=None):
    """Kernel of dx (N, D, H, W, C), dy (N, D, H, W, K), w (kd, kh, kw, C, K), mask like dx (read only with op.mask).

    Block: a tile of images x rows x columns of one depth x input channels. Thread: rows x columns x channels of it.
    """
    sums = Correlation.input_gradient(op.geometry, batch)
    layout = Layout(sums, tile or choose_tile(sums))
    correlate = correlator(layout, Epilogue(no_bias, keep, masked_store(sums, op.mask is not None)))

    def body(dx, dy, w, mask):
        correlate(dx, dx, dy, w, mask)

    return Kernel("conv_input_gradient", body, **layout.launch)


@device_function
def no_bias(mask, k):
    """An input gradient adds nothing to its sums."""
    return ZERO, ZERO, ZERO, ZERO


@device_function
def keep(total, term):
    """An input gradient has no activation."""
    return total


@device_function
def pass_where(gate, value):
    """`value` where the gate is positive, else 0: the derivative of ReLU at its output `gate`."""
    return value if gate > ZERO else ZERO


def masked_store(sums, masked):
    """Device function: writes four channels of one input pixel's gradient, masked if `masked`."""
    batch, (depth, height, width, channels) = sums.batch, sums.out_shape
    load_quad, store_quad = quad_loader(channels), quad_storer(channels)

    @device_function
    def store(dx, winner, mask, image, z, row, column, c, values, winners):
        if image < batch and row < height and column < width:
            at = (((image * depth + z) * height + row) * width + column) * channels + c
            if masked:
                gates = load_quad(mask, at, c)
                masked_values = (
                    pass_where(gates[0], values[0]),
                    pass_where(gates[1], values[1]),
                    pass_where(gates[2], values[2]),
                    pass_where(gates[3], values[3]),
                )
                store_quad(dx, at, c, masked_values)
            else:
                store_quad(dx, at, c, values)

    return store


def production(op, batch, multiprocessors=132):
    """The kernel that engines use, tiled by the rule of conv_tiling.choose_tile."""
    return conv_input_gradient(op, batch, choose_tile(Correlation.input_gradient(op.geometry, batch), multiprocessors))


def variants(op, batch):
    """Kernels with other tiles, the production one first, for timing."""
    sums = Correlation.input_gradient(op.geometry, batch)
    return [conv_input_gradient(op, batch, tile) for tile in neighbours(sums, choose_tile(sums))]
