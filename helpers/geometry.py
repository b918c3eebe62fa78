"""Geometry of the operations: sizes, strides and padding of windows, always in three spatial dimensions.

Knows nobody: no layers, no engines. Two-dimensional operations carry a leading axis of size 1 (depth) with
window 1, stride 1 and padding 0, which folds away when a kernel is compiled for the geometry.
"""

from dataclasses import dataclass
from math import prod

Triple = tuple[int, int, int]


def window_axis(size, window, stride, padding):
    """Output size and leading padding of one axis.

    Parameters
    ----------
    size, window, stride : int
        Length of the input axis, of the window, and the step between windows.
    padding : {"valid", "same"} or int
        "valid": none. "same": ceil(size / stride) outputs; the total padding is split evenly and an odd cell goes
        behind (symmetric for odd windows at stride 1, TensorFlow's rule at stride 2). An int pads both sides.

    Returns
    -------
    outputs, before : int
        Number of windows and the padding in front; the padding behind is what the last window needs.

    Raises
    ------
    ValueError
        If the padding is unknown or no window fits.
    """
    if padding == "valid":
        before = after = 0
    elif padding == "same":
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        before, after = total // 2, total - total // 2
    elif isinstance(padding, int) and 0 <= padding < window:
        before = after = padding
    else:
        raise ValueError(
            f"padding is {padding!r}; expected 'valid', 'same' or an int from 0 to the window minus 1 ({window - 1})"
        )
    outputs = (size + before + after - window) // stride + 1
    if outputs < 1:
        raise ValueError(f"a window of {window} does not fit an axis of {size} with padding {padding!r}")
    return outputs, before


@dataclass(frozen=True)
class ConvGeometry:
    """One convolution: `in_shape` (D, H, W, C) to `out_shape` (D, H, W, K); `padding` is the part in front."""

    in_shape: tuple[int, int, int, int]
    out_shape: tuple[int, int, int, int]
    kernel: Triple
    stride: Triple
    padding: Triple

    @property
    def in_channels(self):
        return self.in_shape[3]

    @property
    def out_channels(self):
        return self.out_shape[3]

    @property
    def window(self):
        """The kernel, under the name that pooling has for it."""
        return self.kernel

    @property
    def weight_shape(self):
        """(kd, kh, kw, C, K)."""
        return (*self.kernel, self.in_channels, self.out_channels)

    @property
    def macs(self):
        """Multiply-adds of one image, windows counted whole (padding cells included)."""
        return prod(self.out_shape) * prod(self.kernel) * self.in_channels


@dataclass(frozen=True)
class PoolGeometry:
    """One pooling, `mode` "max" or "average": `in_shape` (D, H, W, C) to `out_shape` (D, H, W, C)."""

    mode: str
    in_shape: tuple[int, int, int, int]
    out_shape: tuple[int, int, int, int]
    window: Triple
    stride: Triple
    padding: Triple

    @property
    def macs(self):
        return 0


@dataclass(frozen=True)
class DenseGeometry:
    """One dense layer: `inputs` to `outputs` values an image."""

    inputs: int
    outputs: int

    @property
    def weight_shape(self):
        """(in, out)."""
        return (self.inputs, self.outputs)

    @property
    def macs(self):
        """Multiply-adds of one image."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class PointwiseGeometry:
    """One `function` (a layer's description, such as Tanh()) of every value of a tensor, `shape` for one image."""

    function: object
    shape: tuple[int, ...]

    @property
    def macs(self):
        return 0


def window_geometry(in_shape, window, stride, padding):
    """Three-dimensional (output size, stride, leading padding) of a window slid over `in_shape`.

    Parameters
    ----------
    in_shape : tuple of int
        (D, H, W, C).
    window, stride, padding
        Tuples of one entry for each trailing spatial axis, 1 to 3 of them; leading axes get window 1, stride 1.

    Returns
    -------
    outputs, window, stride, padding : tuple of 3 int each
    """
    missing = 3 - len(window)
    window, stride = (1,) * missing + tuple(window), (1,) * missing + tuple(stride)
    padding = ("valid",) * missing + tuple(padding)
    axes = [window_axis(*axis) for axis in zip(in_shape[:3], window, stride, padding)]
    return tuple(a[0] for a in axes), window, stride, tuple(a[1] for a in axes)
