"""Every operation forward and backward as a pure NumPy function of any float type: the oracle in float64.

Arrays have the batch first and channels last, images three spatial axes: (N, D, H, W, C). Knows geometry and the
formulas of activations.py; must not learn about engines, threads or where values are kept. Contractions are matrix
products; `reverse=True` adds the same products in the opposite order, so that agreement.py can see what rounding does.
"""

from math import prod

import numpy as np

from helpers.activations import FORMULAS
from helpers.windows import (
    crop_images,
    dilate_images,
    gather_windows,
    image_chunks,
    pad_images,
    padded_shape,
    tap_slices,
    transposed,
)


def contract(a, b, reverse=False, out=None):
    """Matrix product a (M, K) @ b (K, N); `reverse` runs the sum over K backwards."""
    return np.matmul(a[:, ::-1], b[::-1], out=out) if reverse else np.matmul(a, b, out=out)


def _correlate(x, weights, geometry, reverse, bias=None):
    """Windows of x times weights (kd * kh * kw * C, K), plus bias, chunk by chunk; (N, D', H', W', K)."""
    y = np.empty((len(x), *geometry.out_shape), x.dtype)
    # one bias for every value of an image row: NumPy adds long rows faster than many of K values
    row = None if bias is None else np.tile(bias, geometry.out_shape[2])
    for part in image_chunks(len(x), geometry, x.itemsize):
        contract(gather_windows(x[part], geometry), weights, reverse, out=y[part].reshape(-1, weights.shape[1]))
        if row is not None:
            y[part].reshape(-1, len(row))[:] += row
    return y


def conv_forward(x, w, b, geometry, reverse=False):
    """Convolution (cross-correlation): y[o, k] = b[k] + sum over taps t, channels c of x[o * stride + t, c] w[t, c, k].

    Parameters
    ----------
    x : ndarray, float, shape (N, D, H, W, C)
    w : ndarray, float, shape (kd, kh, kw, C, K)
    b : ndarray, float, shape (K,)
    geometry : ConvGeometry

    Returns
    -------
    ndarray, shape (N, D', H', W', K)
    """
    return _correlate(x, w.reshape(-1, geometry.out_channels), geometry, reverse, b)


def conv_input_gradient(dy, w, geometry, reverse=False):
    """Gradient with respect to the input: a convolution of dy with the flipped kernel, channels swapped.

    Parameters
    ----------
    dy : ndarray, float, shape (N, D', H', W', K)
    w : ndarray, float, shape (kd, kh, kw, C, K)
    geometry : ConvGeometry
        Of the forward convolution; its strides put zeros between the values of dy.

    Returns
    -------
    ndarray, shape (N, D, H, W, C)
    """
    flipped = np.ascontiguousarray(w[::-1, ::-1, ::-1].swapaxes(3, 4)).reshape(-1, geometry.in_channels)
    return _correlate(dilate_images(dy, geometry), flipped, transposed(geometry), reverse)


def conv_weight_gradient(x, dy, geometry, reverse=False):
    """Gradients with respect to weight and bias: sums over images and outputs of x dy and of dy.

    Parameters
    ----------
    x : ndarray, float, shape (N, D, H, W, C)
    dy : ndarray, float, shape (N, D', H', W', K)
    geometry : ConvGeometry

    Returns
    -------
    dw : ndarray, shape (kd, kh, kw, C, K)
    db : ndarray, shape (K,)
    """
    channels = geometry.out_channels
    dw = np.zeros((prod(geometry.weight_shape[:-1]), channels), x.dtype)
    chunks = image_chunks(len(x), geometry, x.itemsize)
    for part in reversed(chunks) if reverse else chunks:
        dw += contract(gather_windows(x[part], geometry).T, dy[part].reshape(-1, channels), reverse)
    return dw.reshape(geometry.weight_shape), _sum_rows(dy.reshape(-1, channels), reverse)


def dense_forward(x, w, b, geometry=None, reverse=False):
    """y = x w + b; x (N, ...) is read as (N, in), w (in, out), b (out,)."""
    return contract(x.reshape(len(x), -1), w, reverse) + b


def dense_input_gradient(dy, w, geometry=None, reverse=False):
    """dx = dy w^T, shape (N, in)."""
    return contract(dy, w.T, reverse)


def dense_weight_gradient(x, dy, geometry=None, reverse=False):
    """(dw, db) = (x^T dy, sum of dy over the batch); x (N, ...) is read as (N, in)."""
    return contract(x.reshape(len(x), -1).T, dy, reverse), _sum_rows(dy, reverse)


def _sum_rows(rows, reverse):
    """Sum over the first axis of a matrix, as a matrix product."""
    return contract(np.ones((1, len(rows)), rows.dtype), rows, reverse)[0]


def relu_forward(x):
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, x.dtype.type(0))


def relu_input_gradient(dy, y):
    """dy where the output y is positive, else 0."""
    return dy * (y > 0)


def activation_forward(x, geometry):
    """The function of a PointwiseGeometry at each value of x; NaN stays NaN."""
    function = geometry.function
    return FORMULAS[type(function)].forward(x, function)


def activation_input_gradient(dy, y, geometry):
    """dy times the function's derivative, which its output y tells; arrays of one shape."""
    function = geometry.function
    return dy * FORMULAS[type(function)].derivative(y, function)


def pool_forward(x, geometry):
    """Max or average pooling.

    Parameters
    ----------
    x : ndarray, float, shape (N, D, H, W, C)
    geometry : PoolGeometry

    Returns
    -------
    y : ndarray, shape (N, D', H', W', C)
    winner : ndarray of uint8, same shape, or None for the average
        Row-major index of the largest cell in its window; the first of equal ones. Padded cells never win.
    """
    taps = tap_slices(geometry)
    if geometry.mode == "average":
        padded = pad_images(x, geometry)
        return sum(padded[tap] for tap in taps) / window_counts(geometry, x.dtype), None
    padded = pad_images(x, geometry, -np.inf)
    y = padded[taps[0]].copy()
    winner = np.zeros(y.shape, np.uint8)
    for index, tap in enumerate(taps[1:], start=1):
        # a later index is larger, so the maximum replaces the winner just where this cell is larger
        np.maximum(winner, (padded[tap] > y) * np.uint8(index), out=winner)
        np.maximum(y, padded[tap], out=y)
    return y, winner


def pool_input_gradient(dy, winner, geometry):
    """Gradient of pooling: dy goes to the winner of each window, or evenly to its real cells (winner None).

    Parameters
    ----------
    dy : ndarray, float, shape (N, D', H', W', C)
    winner : ndarray of uint8, same shape, or None
    geometry : PoolGeometry

    Returns
    -------
    ndarray, shape (N, D, H, W, C)
    """
    share = dy / window_counts(geometry, dy.dtype) if winner is None else dy
    padded = np.zeros(padded_shape(len(dy), geometry), dy.dtype)
    for index, tap in enumerate(tap_slices(geometry)):
        padded[tap] += share if winner is None else share * (winner == index)
    return crop_images(padded, geometry)


def window_counts(geometry, dtype):
    """Real cells in each window, padding excluded: shape (D', H', W', 1)."""
    real = pad_images(np.ones((1, *geometry.in_shape), dtype), geometry)
    return sum(real[tap] for tap in tap_slices(geometry))[0, ..., :1]


def softmax_cross_entropy(logits, labels, batch=None, reverse=False):
    """Cross-entropy of softmax(logits), with the largest logit subtracted first so that no exponential overflows.

    Parameters
    ----------
    logits : ndarray, float, shape (N, classes)
    labels : ndarray, integer, shape (N,)
    batch : int, optional
        Size of the batch whose mean loss is differentiated; N unless these rows are only a part of it.

    Returns
    -------
    loss : ndarray, shape (N,)
    correct : ndarray of int32, shape (N,)
        1 where the first of the largest logits is the label's.
    d_logits : ndarray, shape (N, classes)
        Gradient of the batch's mean loss.
    """
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = (exponentials[:, ::-1] if reverse else exponentials).sum(axis=1, keepdims=True)
    loss = np.log(total[:, 0]) - shifted[rows, labels]
    correct = (logits.argmax(axis=1) == labels).astype(np.int32)
    d_logits = exponentials / total
    d_logits[rows, labels] -= 1
    return loss, correct, d_logits / logits.dtype.type(batch or len(logits))


def sgd_update(parameters, velocity, gradient, learning_rate, momentum):
    """v = momentum v + g, w = w - rate v, both in place; arrays of one shape and type."""
    velocity *= velocity.dtype.type(momentum)
    velocity += gradient
    parameters -= parameters.dtype.type(learning_rate) * velocity
