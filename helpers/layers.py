"""Layer descriptions: small frozen dataclasses. No arithmetic and no shapes: network.py infers those.

`Conv2D`, `MaxPool2D` and `AvgPool2D` are thin constructors of the dimension-free `Conv` and `Pool`.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np


@dataclass(frozen=True)
class Conv:
    """Convolution (cross-correlation) with bias; `kernel`, `stride`, `padding` have one entry a spatial axis."""

    filters: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[str | int, ...]


@dataclass(frozen=True)
class Pool:
    """Pooling; `mode` is "max" (ties take the first in row-major order) or "average" (divides by the real count)."""

    mode: str
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[str | int, ...]


@dataclass(frozen=True)
class ReLU:
    """max(x, 0); its derivative at 0 is 0."""


@dataclass(frozen=True)
class LeakyReLU:
    """x where it is positive, else slope x; its derivative at 0 is `slope`, 0 to 1."""

    slope: float = 0.01

    def __post_init__(self):
        if not (_is_number(self.slope) and 0 <= self.slope <= 1):
            raise ValueError(f"slope is {self.slope!r}; expected a number from 0 to 1")
        object.__setattr__(self, "slope", float(self.slope))


@dataclass(frozen=True)
class ELU:
    """x where it is positive, else alpha (exp(x) - 1); its derivative at 0 is `alpha`, above 0."""

    alpha: float = 1.0

    def __post_init__(self):
        known = np.finfo(np.float32)
        if not (_is_number(self.alpha) and float(known.smallest_subnormal) <= self.alpha <= float(known.max)):
            raise ValueError(f"alpha is {self.alpha!r}; expected a number above 0 that float32 holds")
        object.__setattr__(self, "alpha", float(self.alpha))


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-x)), the logistic function."""


@dataclass(frozen=True)
class Tanh:
    """The hyperbolic tangent of x."""


# Beside ReLU: functions of one value, none of which ever decreases, whose derivative follows from their output alone.
ACTIVATIONS = (LeakyReLU, ELU, Sigmoid, Tanh)


@dataclass(frozen=True)
class Flatten:
    """Reads an image (D, H, W, C) as one vector, in that order."""


@dataclass(frozen=True)
class Dense:
    """Fully connected layer with bias."""

    units: int


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _spread(value, rank, what):
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(values) != rank:
        raise ValueError(f"{what} is {value!r}; expected one value or {rank} values")
    if what != "padding" and not all(isinstance(v, int) and v >= 1 for v in values):
        raise ValueError(f"{what} is {value!r}; expected integers of at least 1")
    return values


def _conv(rank, filters, kernel, stride, padding):
    if not isinstance(filters, int) or filters < 1:
        raise ValueError(f"filters is {filters!r}; expected an integer of at least 1")
    return Conv(
        filters, _spread(kernel, rank, "kernel"), _spread(stride, rank, "stride"), _spread(padding, rank, "padding")
    )


def _pool(rank, mode, window, stride, padding):
    window = _spread(window, rank, "window")
    stride = window if stride is None else _spread(stride, rank, "stride")
    return Pool(mode, window, stride, _spread(padding, rank, "padding"))


def Conv2D(filters, kernel, stride=1, padding="valid"):
    """Two-dimensional convolution of `filters` output channels; images (H, W, C)."""
    return _conv(2, filters, kernel, stride, padding)


def MaxPool2D(window=2, stride=None, padding="valid"):
    """Two-dimensional max-pooling; `stride` defaults to `window`."""
    return _pool(2, "max", window, stride, padding)


def AvgPool2D(window=2, stride=None, padding="valid"):
    """Two-dimensional average pooling; `stride` defaults to `window`."""
    return _pool(2, "average", window, stride, padding)
