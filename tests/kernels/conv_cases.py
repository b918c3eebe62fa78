"""Convolutions for the kernel tests: geometries off the tile, and float64 sums over the taps to compare with."""

import itertools

import numpy as np

from helpers.geometry import ConvGeometry, PoolGeometry, window_geometry
from helpers.lowering import Op


def conv_op(in_shape, kernel, filters, stride=(1, 1, 1), padding=("valid",) * 3, activation=None, mask=None, pool=None):
    """Op of a convolution over in_shape (D, H, W, C), with a max-pooling of `pool` (rows, columns) behind it."""
    sizes, kernel, stride, before = window_geometry(in_shape, kernel, stride, padding)
    geometry = ConvGeometry(in_shape, (*sizes, filters), kernel, stride, before)
    pooling = None
    if pool:
        cells, window, step, _ = window_geometry(geometry.out_shape, (1, *pool), (1, *pool), ("valid",) * 3)
        pooling = PoolGeometry("max", geometry.out_shape, (*cells, filters), window, step, (0, 0, 0))
    return Op("conv_forward", "conv1", (), (), geometry, (), activation, mask, pooling)


# name: (in_shape, kernel, filters, stride, padding, batch)
CASES = {
    "one cell": ((1, 1, 1, 1), (1, 1, 1), 1, (1, 1, 1), ("valid",) * 3, 1),
    "five taps, one channel": ((1, 9, 10, 1), (1, 5, 5), 6, (1, 1, 1), ("valid",) * 3, 2),
    "same, vectors": ((1, 5, 6, 8), (1, 3, 3), 12, (1, 1, 1), ("valid", "same", "same"), 3),
    "same, scalars": ((1, 4, 9, 3), (1, 3, 3), 5, (1, 1, 1), ("valid", "same", "same"), 2),
    "many channels": ((1, 3, 4, 20), (1, 3, 3), 36, (1, 1, 1), ("valid", "same", "same"), 1),
    "odd channels, two rounds": ((1, 4, 4, 9), (1, 2, 2), 4, (1, 1, 1), ("valid",) * 3, 1),
    "stride 2": ((1, 7, 8, 4), (1, 3, 3), 4, (1, 2, 2), ("valid", "same", "same"), 2),
    "mixed strides, uneven window": ((1, 8, 7, 2), (1, 2, 3), 3, (1, 3, 1), ("valid", 1, 2), 2),
    "stride beyond the window": ((1, 7, 7, 4), (1, 2, 2), 4, (1, 3, 3), ("valid",) * 3, 1),
    "columns that miss 128 bits": ((1, 3, 13, 2), (1, 1, 4), 4, (1, 1, 3), ("valid", "valid", 2), 1),
    "depth": ((4, 4, 5, 2), (3, 3, 3), 4, (1, 1, 1), ("same",) * 3, 2),
    "depth, stride 2": ((5, 4, 5, 4), (3, 2, 3), 3, (2, 2, 1), ("same", "same", 1), 1),
    "row": ((1, 1, 11, 4), (1, 1, 3), 4, (1, 1, 1), ("valid", "valid", "same"), 2),
}


def case_op(name, **options):
    """(Op, batch) of a case."""
    in_shape, kernel, filters, stride, padding, batch = CASES[name]
    return conv_op(in_shape, kernel, filters, stride, padding, **options), batch


def values(*shape):
    """Random float32 values, neither centred nor symmetric."""
    return np.random.default_rng(np.prod(shape)).normal(0.2, 1, shape).astype(np.float32)


def poisoned(*shape, dtype=np.float32):
    """An output nobody wrote yet: NaN, or 0xAA bytes."""
    return np.full(shape, 0xAA if dtype == np.uint8 else np.nan, dtype)


def windows(g):
    """(tap, slices of the padded input that it meets) of every tap, and the padded input's size."""
    sizes = [(o - 1) * s + k for o, s, k in zip(g.out_shape, g.stride, g.kernel)]
    sizes = [max(size, n + p) for size, n, p in zip(sizes, g.in_shape, g.padding)]
    taps = itertools.product(*map(range, g.kernel))
    places = [
        (tap, tuple(slice(t, t + (o - 1) * s + 1, s) for t, o, s in zip(tap, g.out_shape, g.stride))) for tap in taps
    ]
    return places, sizes


def inner(g):
    """Slices of the padded input that hold the input."""
    return tuple(slice(p, p + n) for p, n in zip(g.padding, g.in_shape))


def forward(g, x, w, b):
    """Convolution and bias in float64; x (N, D, H, W, C)."""
    places, sizes = windows(g)
    padded = np.zeros((len(x), *sizes, g.in_channels))
    padded[:, *inner(g)] = x
    return b + sum(padded[:, *cells] @ w[tap].astype(float) for tap, cells in places)


def input_gradient(g, dy, w):
    """Gradient of the input in float64; dy (N, D, H, W, K)."""
    places, sizes = windows(g)
    padded = np.zeros((len(dy), *sizes, g.in_channels))
    for tap, cells in places:
        padded[:, *cells] += dy @ w[tap].T.astype(float)
    return padded[:, *inner(g)]


def max_pool(pool, y):
    """(largest, its row-major place) of every disjoint window, first wins; y (N, D, H, W, C)."""
    (_, high, wide), (depth, rows, columns, channels) = pool.window, pool.out_shape
    cells = y[:, :, : rows * high, : columns * wide]
    cells = cells.reshape(len(y), depth, rows, high, columns, wide, channels).transpose(0, 1, 2, 4, 3, 5, 6)
    cells = cells.reshape(len(y), depth, rows, columns, high * wide, channels)
    return cells.max(4), cells.argmax(4)


def assert_close(found, wanted):
    """Relative error of the whole array at float32's level, no NaN, a wanted norm that is not trivial."""
    norm = np.linalg.norm(wanted)
    assert norm > 0
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - wanted) <= 1e-6 * norm
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
