"""Windows slid over images, as NumPy arrays: padding, the matrix of windows, the geometry seen from the outputs.

Knows geometry only; must not learn what a convolution or a pool computes with the windows.
"""

from math import prod

import numpy as np

from helpers.geometry import ConvGeometry

# Bytes of one gathered chunk: small enough to stay in a core's second-level cache until it is multiplied.
CHUNK_BYTES = 1 << 19

# A window row of fewer neighbouring values than this is too short to copy; whole rows of one tap are copied instead.
SHORT_RUN = 16


def padded_shape(images, geometry):
    """(N, D, H, W, C) of `images` padded just so far that every window fits."""
    axes = zip(geometry.out_shape, geometry.stride, geometry.window)
    return (images, *((out - 1) * stride + window for out, stride, window in axes), geometry.in_shape[3])


def _inside(geometry):
    """Slices of the real cells in padded images, and of the cells of an image that a window can reach."""
    axes = list(zip(geometry.in_shape, geometry.padding, padded_shape(0, geometry)[1:4]))
    counts = [min(size, total - before) for size, before, total in axes]
    inner = tuple(slice(before, before + count) for (_, before, _), count in zip(axes, counts))
    return (slice(None), *inner), (slice(None), *(slice(count) for count in counts))


def pad_images(x, geometry, value=0.0):
    """`x` (N, D, H, W, C) with `value` around it; cells behind the last window are dropped. May return a view."""
    inner, reached = _inside(geometry)
    shape = padded_shape(len(x), geometry)
    if x[reached].shape == shape:
        return x[reached]
    padded = np.full(shape, value, x.dtype)
    padded[inner] = x[reached]
    return padded


def crop_images(padded, geometry):
    """The real cells of `padded`, (N, D, H, W, C): the transpose operation of `pad_images`. May return a view."""
    inner, reached = _inside(geometry)
    if padded[inner].shape[1:4] == geometry.in_shape[:3]:
        return padded[inner]
    x = np.zeros((len(padded), *geometry.in_shape), padded.dtype)
    x[reached] = padded[inner]
    return x


def tap_slices(geometry):
    """For every cell of the window, in row-major order, the cells of padded images that it visits, as slices."""
    axes = list(zip(geometry.out_shape, geometry.stride))
    return [
        (slice(None), *(slice(t, t + (out - 1) * stride + 1, stride) for t, (out, stride) in zip(tap, axes)))
        for tap in np.ndindex(geometry.window)
    ]


def image_chunks(images, geometry, itemsize):
    """Slices of a batch of `images`; the gathered windows of each take about `CHUNK_BYTES`, one image at least."""
    bytes_an_image = prod(geometry.out_shape[:3]) * prod(geometry.window) * geometry.in_shape[3] * itemsize
    count = max(1, CHUNK_BYTES // bytes_an_image)
    return [slice(first, min(first + count, images)) for first in range(0, images, count)]


def gather_windows(x, geometry):
    """All windows of images as the rows of a matrix ("im2col").

    Parameters
    ----------
    x : ndarray, shape (N, D, H, W, C)

    Returns
    -------
    ndarray, shape (N * D' * H' * W', kd * kh * kw * C)
        Either of its axes may be the contiguous one: whichever is copied in longer runs.
    """
    padded = pad_images(x, geometry)
    n, d, h, w, c = padded.strides
    sd, sh, sw = geometry.stride
    shape = (len(x), *geometry.out_shape[:3], *geometry.window, geometry.in_shape[3])
    windows = np.lib.stride_tricks.as_strided(padded, shape, (n, d * sd, h * sh, w * sw, d, h, w, c), writeable=False)
    if geometry.window[2] * geometry.in_shape[3] >= SHORT_RUN:
        return windows.reshape(prod(shape[:4]), -1)
    return windows.transpose(4, 5, 6, 7, 0, 1, 2, 3).reshape(prod(shape[4:]), -1).T


def dilate_images(y, geometry):
    """Outputs (N, D', H', W', K) at the places where their windows start, zeros between; `y` itself at stride 1."""
    if geometry.stride == (1, 1, 1):
        return y
    sizes = [(out - 1) * stride + 1 for out, stride in zip(geometry.out_shape, geometry.stride)]
    dilated = np.zeros((len(y), *sizes, y.shape[-1]), y.dtype)
    dilated[tuple(slice(None, None, step) for step in (1, *geometry.stride))] = y
    return dilated


def transposed(geometry):
    """Geometry of the convolution that takes dilated output gradients to input gradients: stride 1, flipped kernel."""
    sizes = ((out - 1) * stride + 1 for out, stride in zip(geometry.out_shape, geometry.stride))
    padding = tuple(window - 1 - before for window, before in zip(geometry.kernel, geometry.padding))
    in_shape = (*sizes, geometry.out_channels)
    return ConvGeometry(in_shape, geometry.in_shape, geometry.kernel, (1, 1, 1), padding)
