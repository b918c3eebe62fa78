"""Pooling's kernels against plain NumPy loops: windows of every kind, masks, ties, NaN."""

from itertools import product

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.geometry import PoolGeometry, window_geometry
from helpers.kernels.pool import pool_forward, pool_input_gradient, production
from helpers.lowering import Op

# in_shape, window, stride, padding
CASES = [
    ((1, 4, 4, 4), (2, 2), (2, 2), ("valid", "valid")),
    ((1, 5, 7, 3), (2, 2), (2, 2), ("valid", "valid")),
    ((2, 4, 5, 1), (2, 2, 3), (2, 2, 3), ("valid",) * 3),
    ((1, 5, 4, 8), (3, 2), (3, 2), ("valid", "valid")),
    ((1, 5, 5, 4), (3, 3), (2, 2), ("same", "same")),
    ((1, 6, 5, 2), (3, 2), (1, 2), (1, "valid")),
    ((1, 4, 7, 1), (2, 3), (3, 1), ("same", 2)),
    ((1, 5, 5, 3), (2, 2), (2, 2), ("same", "same")),
    ((3, 4, 3, 4), (2, 3, 2), (1, 2, 2), ("valid", 1, "same")),
    ((1, 3, 3, 1), (3, 3), (1, 1), ("valid", "valid")),
]
TILED = CASES[:4]


def op_of(kind, mode, case, mask=None):
    """A pooling of one of CASES."""
    shape, *rest = case
    outputs, window, stride, padding = window_geometry(shape, *rest)
    geometry = PoolGeometry(mode, shape, (*outputs, shape[3]), window, stride, padding)
    return Op(kind, "pool1", (), (), geometry, mask=mask)


def oracle(g, x, dy, mask):
    """(y, winner, dx) in float64 by loops over windows; `mask` None or the array that the op's mask names."""
    y, winner, dx = np.zeros((len(x), *g.out_shape)), np.zeros((len(x), *g.out_shape), np.uint8), np.zeros(x.shape)
    for n, *o, c in np.ndindex(y.shape):
        first = [i * s - p for i, s, p in zip(o, g.stride, g.padding)]
        taps = list(enumerate(product(*(range(f, f + k) for f, k in zip(first, g.window)))))
        taps = [(t, cell) for t, cell in taps if all(0 <= i < size for i, size in zip(cell, g.in_shape))]
        values = np.array([x[(n, *cell, c)] for _, cell in taps], np.float64)
        at = (n, *o, c)
        if g.mode == "max":
            winner[at], cell = taps[values.argmax()]
            y[at] = values.max()
            dx[(n, *cell, c)] += dy[at] * (mask is None or mask[at] > 0)
        else:
            y[at] = values.mean()
            for _, cell in taps:
                dx[(n, *cell, c)] += dy[at] / len(taps)
    return y, winner, dx * (mask > 0) if g.mode == "average" and mask is not None else dx


def data(g, batch, seed=0):
    """x with ties, dy, and a mask of the mode's resolution with zeros in it."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 6, (batch, *g.in_shape)).astype(np.float32)
    dy = rng.normal(size=(batch, *g.out_shape)).astype(np.float32)
    mask = rng.integers(-1, 3, dy.shape if g.mode == "max" else x.shape).astype(np.float32)
    return x, dy, mask


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case, mode):
    op = op_of("pool_forward", mode, case)
    x, dy, _ = data(op.geometry, 2)
    y, winner = np.full(dy.shape, np.nan, np.float32), np.full(dy.shape, 0xAA, np.uint8)
    launch(pool_forward(op, 2, threads=32), y, winner, x)
    wanted = oracle(op.geometry, x, dy, None)
    np.testing.assert_allclose(y, wanted[0], rtol=1e-6, atol=1e-6)
    assert np.array_equal(winner, wanted[1]) or mode == "average"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("case, tiles", [(c, t) for c in CASES for t in (False, True) if not t or c in TILED], ids=str)
def test_input_gradient(case, tiles, mode, masked):
    op = op_of("pool_input_gradient", mode, case, "mask" if masked else None)
    x, dy, mask = data(op.geometry, 2)
    _, winner, wanted = oracle(op.geometry, x, dy, mask if masked else None)
    dx = np.full(x.shape, np.nan, np.float32)
    nothing = np.full(1, np.nan, np.float32)
    launch(pool_input_gradient(op, 2, 32, tiles), dx, dy, winner, mask if masked else nothing)
    np.testing.assert_allclose(dx, wanted, rtol=1e-5, atol=1e-6)


def test_batch_of_one_and_nan_wins():
    op = op_of("pool_forward", "max", ((1, 2, 2, 1), (2, 2), (2, 2), ("valid", "valid")))
    for place in range(4):
        x, y, winner = np.ones(4, np.float32), np.zeros(1, np.float32), np.full(1, 0xAA, np.uint8)
        x[place] = np.nan
        launch(pool_forward(op, 1, threads=32), y, winner, x)
        assert np.isnan(y[0]) and winner[0] == place


def test_refusals():
    wide = op_of("pool_forward", "max", ((1, 17, 17, 1), (17, 17), (1, 1), ("valid", "valid")))
    with pytest.raises(ValueError, match="289 cells; expected at most 256"):
        pool_forward(wide, 1)
    with pytest.raises(ValueError, match="overlapping"):
        pool_input_gradient(op_of("pool_input_gradient", "max", CASES[4]), 1, tiles=True)


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[8]], ids=str)
def test_no_spill(case, mode, capability):
    for kind, mask in (("pool_forward", None), ("pool_input_gradient", "mask")):
        op = op_of(kind, mode, case, mask)
        used = resources(production(op, 8), capability)
        assert used.stack_bytes == used.spill_bytes == 0
