"""Random geometries and data that several test modules share."""

import numpy as np
from hypothesis import strategies as st

from helpers.geometry import ConvGeometry, PoolGeometry, window_geometry


def random(shape, seed=0, dtype=np.float64):
    """Asymmetric random data: neither zero-centred nor of one scale, so that sign and order mistakes show."""
    generator = np.random.default_rng((seed, *shape))
    return (generator.normal(0.3, 1.0, shape) + np.linspace(-0.5, 1.0, shape[-1])).astype(dtype)


def conv_geometry(in_shape, filters, kernel, stride, padding):
    """ConvGeometry of one entry for each trailing spatial axis."""
    outputs, *window = window_geometry(in_shape, kernel, stride, padding)
    return ConvGeometry(in_shape, (*outputs, filters), *window)


def pool_geometry(mode, in_shape, window, stride, padding):
    """PoolGeometry of one entry for each trailing spatial axis."""
    outputs, *window = window_geometry(in_shape, window, stride, padding)
    return PoolGeometry(mode, in_shape, (*outputs, in_shape[3]), *window)


@st.composite
def windows(draw):
    """(in_shape, window, stride, padding) of one to three spatial axes."""
    rank = draw(st.integers(1, 3))
    window = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    padding = tuple(draw(st.sampled_from(["valid", "same", *range(size)])) for size in window)
    spatial = (1,) * (3 - rank) + tuple(draw(st.integers(size, size + 5)) for size in window)
    return (*spatial, draw(st.integers(1, 4))), window, stride, padding


@st.composite
def convolutions(draw):
    """ConvGeometry of any stride and padding."""
    in_shape, *window = draw(windows())
    return conv_geometry(in_shape, draw(st.integers(1, 5)), *window)


def pools(mode):
    """PoolGeometry of any stride and padding."""
    return windows().map(lambda window: pool_geometry(mode, *window))
