"""Index arithmetic of sliding windows as device functions: which cell a thread has, what a window reads, who reads it.

Knows a geometry (shapes, window, stride, padding); must not learn what is computed. The geometry is compile-time, so
divisions become multiplications and tests that cannot fail vanish.
"""

from helpers.device import device_function
from helpers.kernels.intrinsics import quotient, remainder


def is_padded(geometry):
    """True where some window reaches beyond the image."""
    axes = zip(geometry.in_shape, geometry.out_shape, geometry.window, geometry.stride, geometry.padding)
    return any(before > 0 or (outs - 1) * step + window > size for size, outs, window, step, before in axes)


def cell_locator(shape, width):
    """Device function: (n, d, h, w, first channel) of vector i of a batch of images of `shape`."""
    _, height, breadth, channels = shape
    vectors, depth = channels // width, shape[0]

    @device_function
    def locate(i):
        c, i = remainder(i, vectors) * width, quotient(i, vectors)
        w, i = remainder(i, breadth), quotient(i, breadth)
        h, i = remainder(i, height), quotient(i, height)
        return quotient(i, depth), remainder(i, depth), h, w, c

    return locate


def cell_finder(geometry, guarded):
    """Device function: the index of cell `tap` of window (d, h, w), and whether that cell exists (`guarded`: asked)."""
    depth, height, breadth, channels = geometry.in_shape
    (_, kh, kw), (sd, sh, sw), (pd, ph, pw) = geometry.window, geometry.stride, geometry.padding

    @device_function
    def find_cell(n, d, h, w, c, tap):
        i, j, k = d * sd - pd + tap // (kh * kw), h * sh - ph + tap // kw % kh, w * sw - pw + tap % kw
        real = not guarded or (0 <= i < depth and 0 <= j < height and 0 <= k < breadth)
        return (((n * depth + i) * height + j) * breadth + k) * channels + c, real

    return find_cell


def covering_windows(geometry):
    """Most windows that cover one cell, along each axis."""
    return tuple(-(-window // step) for window, step in zip(geometry.window, geometry.stride))


def window_finder(geometry):
    """Device function: the `number`-th window that may read cell (d, h, w).

    Returns the window's index in the output, the cell's place (tap) in it, and whether there is such a window.
    """
    (depth, height, breadth, channels), (_, ch, cw) = geometry.out_shape, covering_windows(geometry)
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw) = geometry.window, geometry.stride, geometry.padding

    @device_function
    def find_window(n, d, h, w, c, number):
        i = quotient(d + pd, sd) - number // (ch * cw)
        j, k = quotient(h + ph, sh) - number // cw % ch, quotient(w + pw, sw) - number % cw
        a, b, e = d + pd - i * sd, h + ph - j * sh, w + pw - k * sw
        real = 0 <= i < depth and 0 <= j < height and 0 <= k < breadth and a < kd and b < kh and e < kw
        return (((n * depth + i) * height + j) * breadth + k) * channels + c, (a * kh + b) * kw + e, real

    return find_window


def cell_counter(geometry):
    """Device function: real cells of the window whose output index is `at`."""
    (depth, height, breadth, _), shape = geometry.in_shape, geometry.out_shape
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw) = geometry.window, geometry.stride, geometry.padding
    locate, padded = cell_locator(shape, 1), is_padded(geometry)

    @device_function
    def extent(o, window, step, before, size):
        return min(o * step - before + window, size) - max(o * step - before, 0)

    @device_function
    def count(at):
        if not padded:
            return kd * kh * kw
        _, d, h, w, _ = locate(at)
        return extent(d, kd, sd, pd, depth) * extent(h, kh, sh, ph, height) * extent(w, kw, sw, pw, breadth)

    return count
