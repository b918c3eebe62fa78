"""The weight gradient's kernel against float64 sums written out, on geometries off its tiles."""

import itertools

import numpy as np
import pytest

from helpers.geometry import ConvGeometry, window_geometry
from helpers.kernels import conv_weight_gradient as kernels
from helpers.kernels.conv_weight_tiling import SHARED_FLOATS, THREADS, choose
from helpers.lowering import Op


def make_op(in_shape, filters, window, stride=(1, 1), padding=("valid", "valid")):
    """A weight-gradient Op; windows of 2 or 3 axes."""
    outputs, window, stride, padding = window_geometry(in_shape, window, stride, padding)
    geometry = ConvGeometry(in_shape, (*outputs, filters), window, stride, padding)
    return Op("conv_weight_gradient", "conv", ("x", "d_conv"), (), geometry)


def oracle(geometry, x, dy):
    """float64 weight gradient and bias gradient, one sum a tap."""
    images, (kd, kh, kw) = x.shape[0], geometry.kernel
    (depth, height, width), s = geometry.out_shape[:3], geometry.stride
    before = [
        (p, p + k + (o - 1) * t) for p, k, o, t in zip(geometry.padding, geometry.kernel, (depth, height, width), s)
    ]
    padded = np.pad(x.astype(np.float64), [(0, 0), *before, (0, 0)])
    dy, dw = dy.astype(np.float64), np.zeros(geometry.weight_shape)
    for a, b, c in itertools.product(range(kd), range(kh), range(kw)):
        under = padded[:, a : a + depth * s[0] : s[0], b : b + height * s[1] : s[1], c : c + width * s[2] : s[2]]
        dw[a, b, c] = np.einsum("ndhwc,ndhwk->ck", under[:, :depth, :height, :width], dy)
    assert images == dy.shape[0]
    return np.concatenate([dw.ravel(), dy.sum(axis=(0, 1, 2, 3))])


def check(op, batch, tiling=None):
    """Run and compare; the output is poisoned before."""
    from helpers.compiler import launch

    random, geometry = np.random.default_rng(7), op.geometry
    x = random.normal(0.3, 1, (batch, *geometry.in_shape)).astype(np.float32)
    dy = random.normal(-0.2, 1, (batch, *geometry.out_shape)).astype(np.float32)
    kernel = kernels.conv_weight_gradient(op, batch, tiling)
    wanted = oracle(geometry, x, dy)
    gradient = np.full((kernel.splits, wanted.size), np.nan, np.float32)
    launch(kernel, gradient.reshape(-1), x.reshape(-1), dy.reshape(-1))
    assert np.isfinite(gradient).all()
    got = gradient.astype(np.float64).sum(axis=0)
    assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted)
    assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()


GEOMETRIES = {
    "one of everything": (make_op((1, 1, 1, 1), 1, (1, 1)), 1, {}),
    "one channel, wide window": (make_op((1, 9, 8, 1), 6, (5, 5)), 2, {"splits": 2}),
    "few channels, same": (make_op((1, 5, 6, 3), 8, (3, 3), padding=("same", "same")), 2, {"splits": 2}),
    "vectors": (make_op((1, 4, 5, 8), 8, (3, 3), padding=("same", "same")), 2, {"slices": 2, "splits": 2}),
    "tiles of channels and filters": (
        make_op((1, 3, 3, 12), 20, (2, 2)),
        1,
        {"channels": 4, "channel_groups": 2, "filters": 4, "filter_groups": 2, "slices": 1},
    ),
    "channels beyond the tile": (
        make_op((1, 3, 4, 5), 7, (2, 2)),
        2,
        {"channels": 2, "channel_groups": 1, "filters": 3, "filter_groups": 1, "slices": 2},
    ),
    "stride 2, uneven padding": (make_op((1, 6, 7, 2), 3, (3, 3), (2, 2), ("same", "same")), 2, {"splits": 2}),
    "stride beyond the window": (make_op((1, 7, 8, 2), 2, (2, 2), (3, 3)), 1, {}),
    "stride and window differ": (make_op((1, 6, 7, 3), 5, (2, 3), (2, 1), (1, 1)), 2, {"splits": 2}),
    "depth": (make_op((4, 4, 3, 2), 3, (3, 2, 2), (1, 2, 1), ("same", "same", "valid")), 2, {"splits": 3}),
    "slices that do not divide": (make_op((1, 3, 5, 1), 2, (1, 1)), 1, {"rows": 3, "runs": 1, "slices": 2, "run": 5}),
    "boxes beyond the edge": (make_op((1, 5, 5, 4), 4, (1, 1)), 1, {"rows": 2, "runs": 1, "run": 2, "splits": 4}),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_matches_the_sum_over_pixels(name):
    op, batch, fixed = GEOMETRIES[name]
    check(op, batch, choose(op.geometry, batch, 4, **fixed))


LAYERS = {
    "3x3, 32 to 64": make_op((1, 16, 16, 32), 64, (3, 3), padding=("same", "same")),
    "3x3, 3 to 32": make_op((1, 32, 32, 3), 32, (3, 3), padding=("same", "same")),
    "5x5, 6 to 16": make_op((1, 12, 12, 6), 16, (5, 5)),
    "3x3x3, 16 to 32, stride 2": make_op((8, 14, 14, 16), 32, (3, 3, 3), (2, 2, 2), ("same",) * 3),
    "7x7, 3 to 64, stride 2": make_op((1, 112, 112, 3), 64, (7, 7), (2, 2), ("same", "same")),
    "1x1, 100 to 36": make_op((1, 9, 9, 100), 36, (1, 1)),
}


@pytest.mark.parametrize("multiprocessors", [40, 132])
@pytest.mark.parametrize("name", LAYERS)
def test_the_chosen_tile_fits_and_leaves_no_split_empty(name, multiprocessors):
    geometry = LAYERS[name].geometry
    tiling = choose(geometry, 16, multiprocessors)
    assert tiling.filters * tiling.filter_groups <= tiling.threads(geometry) <= THREADS
    assert tiling.shared_floats(geometry, 16) <= SHARED_FLOATS
    boxes = tiling.boxes(geometry, 16)
    assert (tiling.splits - 1) * -(-boxes // tiling.splits) < boxes


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="use a smaller window"):
        choose(make_op((30, 30, 30, 1), 1, (30, 30, 30), (1, 1, 1), ("valid",) * 3).geometry, 1)


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("name", list(LAYERS)[:4])
def test_assembles_without_spills(name, capability):
    from helpers.assembly import resources

    used = resources(kernels.production(LAYERS[name], 128), capability)
    assert used.stack_bytes == used.spill_bytes == 0
    assert used.shared_bytes <= 4 * SHARED_FLOATS
