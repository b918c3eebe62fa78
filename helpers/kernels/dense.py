"""The dense layer's three kernels: forward with bias and ReLU, input gradient with mask, weight gradient.

All three are the product of matrix_product.py, each with its own finish of a sum; dense_tiling.py cuts it. Must not
learn about the operations around them.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels import dense_tiling
from helpers.kernels.base import Kernel
from helpers.kernels.matrix_product import matrix_multiplier

ZERO = np.float32(0.0)


def dense_forward(op, batch, tiling=None):
    """Kernel of y (N, out) = x (N, in) w (in, out) + b (out,), all float32; then ReLU where `op.activation` is "relu".

    Parameters
    ----------
    op : Op
        With a DenseGeometry.
    batch : int
    tiling : tuple of (Product, Factor, Factor)
        By default what dense_tiling.forward finds.
    """
    p, *factors = tiling or dense_tiling.forward(op.geometry, batch)
    RELU = op.activation == "relu"

    @device_function
    def activate(total, b, index, k):
        value = total + b[k]
        return ZERO if RELU and value < ZERO else value

    multiply = matrix_multiplier(p, *factors, activate)

    def body(y, x, w, b):
        multiply(y, x, w, b)

    return Kernel("dense_forward", body, **p.launch)


def dense_input_gradient(op, batch, tiling=None):
    """Kernel of dx (N, in) = dy (N, out) w^T, all float32; zero where the mask (N, in) is not positive, if op has one.

    Parameters as in `dense_forward`; the tiling by dense_tiling.input_gradient.
    """
    p, *factors = tiling or dense_tiling.input_gradient(op.geometry, batch)
    MASKED = op.mask is not None

    @device_function
    def pass_back(total, mask, index, c):
        return ZERO if MASKED and not mask[index] > ZERO else total

    multiply = matrix_multiplier(p, *factors, pass_back)

    def body(dx, dy, w, mask):
        multiply(dx, dy, w, mask)

    return Kernel("dense_input_gradient", body, **p.launch)


def dense_weight_gradient(op, batch, tiling=None):
    """Kernel of gradient (1, in*out + out): x^T dy, then the sum of dy, over x (N, in) and dy (N, out), all float32.

    Parameters as in `dense_forward`; the tiling by dense_tiling.weight_gradient, whose last row of ones adds up dy.
    """
    p, *factors = tiling or dense_tiling.weight_gradient(op.geometry, batch)

    @device_function
    def keep(total, unused, index, k):
        return total

    multiply = matrix_multiplier(p, *factors, keep)

    def body(gradient, x, dy):
        multiply(gradient, x, dy, dy)

    return Kernel("dense_weight_gradient", body, **p.launch)


FACTORIES = {
    "dense_forward": (dense_forward, dense_tiling.forward),
    "dense_input_gradient": (dense_input_gradient, dense_tiling.input_gradient),
    "dense_weight_gradient": (dense_weight_gradient, dense_tiling.weight_gradient),
}


def production(op, batch, multiprocessors=132):
    """The kernel of `op` (its kind names it) that engines use: the tiling of least estimated cycles."""
    factory, tiling = FACTORIES[op.kind]
    return factory(op, batch, tiling(op.geometry, batch, multiprocessors))


def variants(op, batch):
    """{name: Kernel} of `op` for other tilings worth timing."""
    factory, tiling = FACTORIES[op.kind]
    p, *factors = tiling(op.geometry, batch)
    wishes = {
        "default": {},
        "half slices": {"slices": max(1, p.slices // 2)},
        "double slices": {"slices": 2 * p.slices},
        "half rows": {"rows": max(1, p.rows // 2), "row_groups": p.row_groups * 2},
        "half row groups, double slices": {"row_groups": max(1, p.row_groups // 2), "slices": 2 * p.slices},
        "half column groups, double slices": {"column_groups": max(1, p.column_groups // 2), "slices": 2 * p.slices},
        "half row groups": {"row_groups": max(1, p.row_groups // 2)},
        "double row groups": {"row_groups": 2 * p.row_groups},
    }
    changed = {name: p._replace(**wish) for name, wish in wishes.items()}
    fits = {name: q for name, q in changed.items() if q.threads <= 512 and q.shared_bytes <= 48 * 1024}
    return {name: factory(op, batch, (q, *factors)) for name, q in fits.items()}
