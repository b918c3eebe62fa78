"""The dense layer's three kernels: forward with bias and ReLU, input gradient with mask, weight gradient.

All three are the product of matrix_product.py with an epilogue of their own; dense_tiling.py cuts it. Must not learn
about the operations around them.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels import dense_tiling
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.matrix_product import origin, product


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
    p, x_factor, w_factor = tiling or dense_tiling.forward(op.geometry, batch)
    (accumulate, total), place = product(p, x_factor, w_factor), _place(p)
    OUTPUTS, THREADS, RELU, K = p.outputs, p.threads, op.activation == "relu", p.n

    def body(y, x, w, b):
        accumulate(x, w)
        for e in range(cuda.threadIdx.x, OUTPUTS, THREADS):
            image, k, exists = place(e)
            if exists:
                value = total(e) + b[k]
                if RELU and value < np.float32(0.0):
                    value = np.float32(0.0)
                y[image * K + k] = value

    return Kernel("dense_forward", body, **p.launch)


def dense_input_gradient(op, batch, tiling=None):
    """Kernel of dx (N, in) = dy (N, out) w^T, all float32; zero where the mask (N, in) is not positive, if op has one.

    Parameters as in `dense_forward`; the tiling by dense_tiling.input_gradient.
    """
    p, dy_factor, w_factor = tiling or dense_tiling.input_gradient(op.geometry, batch)
    (accumulate, total), place = product(p, dy_factor, w_factor), _place(p)
    OUTPUTS, THREADS, MASKED, C = p.outputs, p.threads, op.mask is not None, p.n

    def body(dx, dy, w, mask):
        accumulate(dy, w)
        for e in range(cuda.threadIdx.x, OUTPUTS, THREADS):
            image, c, exists = place(e)
            if exists:
                value = total(e)
                if MASKED and not mask[image * C + c] > np.float32(0.0):
                    value = np.float32(0.0)
                dx[image * C + c] = value

    return Kernel("dense_input_gradient", body, **p.launch)


def dense_weight_gradient(op, batch, tiling=None):
    """Kernel of gradient (1, in*out + out): x^T dy, then the sum of dy, over x (N, in) and dy (N, out), all float32.

    Parameters as in `dense_forward`; the tiling by dense_tiling.weight_gradient.
    """
    p, x_factor, dy_factor = tiling or dense_tiling.weight_gradient(op.geometry, batch)
    (accumulate, total), place = product(p, x_factor, dy_factor), _place(p)
    OUTPUTS, THREADS, K = p.outputs, p.threads, p.n

    def body(gradient, x, dy):
        accumulate(x, dy)
        for e in range(cuda.threadIdx.x, OUTPUTS, THREADS):
            row, k, exists = place(e)
            if exists:  # the row below the weights is the bias
                gradient[row * K + k] = total(e)

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


def _place(p):
    """Device function (e) -> row and column of output e of the block's tile, and whether they lie in the result."""
    start, TILE_COLUMNS = origin(p), p.tile_columns

    @device_function
    def place(e):
        row, column = start()
        row, column = row + quotient(e, TILE_COLUMNS), column + remainder(e, TILE_COLUMNS)
        return row, column, row < p.m and column < p.n

    return place
