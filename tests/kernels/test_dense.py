"""The dense kernels against float64 products, on sizes off their tiles."""

import numpy as np
import pytest

from helpers.geometry import DenseGeometry
from helpers.kernels import dense, dense_tiling
from helpers.lowering import Op

# batch, inputs, outputs
SIZES = [
    (1, 1, 1),
    (3, 5, 7),
    (4, 8, 4),
    (5, 16, 10),
    (2, 37, 3),
    (7, 12, 9),
    (1, 24, 12),
    (9, 4, 8),
    (4, 16, 10),
    (5, 8, 4),
]
# tile options that make several blocks, slices and parts
TILES = [
    {"rows": 1, "columns": 1, "row_groups": 2, "column_groups": 2, "slices": 1},
    {"rows": 2, "columns": 1, "row_groups": 1, "column_groups": 2, "slices": 3},
    {"rows": 4, "columns": 4, "row_groups": 1, "column_groups": 1, "slices": 2},
    {"rows": 1, "columns": 2, "row_groups": 1, "column_groups": 1, "slices": 16},
]


def make_op(kind, inputs, outputs, activation=None, mask=None):
    return Op(kind, "dense", (), (), DenseGeometry(inputs, outputs), activation=activation, mask=mask)


def run(op, batch, tile=None):
    """(result, float64 result) of one launch on random data; the output is poisoned before."""
    from helpers.compiler import launch

    random, g = np.random.default_rng(3), op.geometry
    x, dy, w, b, mask = (
        random.normal(0.2, 1, shape).astype(np.float32)
        for shape in ((batch, g.inputs), (batch, g.outputs), (g.inputs, g.outputs), (g.outputs,), (batch, g.inputs))
    )
    X, DY, W = x.astype(np.float64), dy.astype(np.float64), w.astype(np.float64)
    if op.kind == "dense_forward":
        wanted, arrays = X @ W + b, (x, w, b)
        wanted = np.maximum(wanted, 0) if op.activation else wanted
    elif op.kind == "dense_input_gradient":
        wanted, arrays = DY @ W.T, (dy, w, mask)
        wanted = wanted * (mask > 0) if op.mask else wanted
    else:
        wanted, arrays = np.concatenate([X.T @ DY, DY.sum(axis=0, keepdims=True)]), (x, dy)
    factory, choose = dense.FACTORIES[op.kind]
    p, *factors = choose(g, batch, 4)
    got = np.full(wanted.size, np.nan, np.float32)
    launch(factory(op, batch, (p._replace(**(tile or {})), *factors)), got, *(array.reshape(-1) for array in arrays))
    return got.reshape(wanted.shape), wanted


def agree(got, wanted):
    assert np.isfinite(got).all()
    assert np.linalg.norm(wanted) > 0
    assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted)


@pytest.mark.parametrize("kind", dense.FACTORIES)
@pytest.mark.parametrize("number", range(len(SIZES)))
def test_matches_the_product(kind, number):
    batch, inputs, outputs = SIZES[number]
    agree(*run(make_op(kind, inputs, outputs), batch, TILES[number % len(TILES)]))


@pytest.mark.parametrize("kind", dense.FACTORIES)
def test_the_chosen_tile_matches(kind):
    agree(*run(make_op(kind, 20, 12), 6))


def test_relu_and_mask():
    agree(*run(make_op("dense_forward", 6, 9, activation="relu"), 5))
    agree(*run(make_op("dense_input_gradient", 6, 9, mask="relu1"), 5))


@pytest.mark.parametrize("sizes", [(128, 256, 120), (128, 84, 10), (128, 2048, 10), (1, 3, 2), (60, 1000, 1000)])
def test_tiles_fit_a_block(sizes):
    batch, *features = sizes
    for choose in (dense_tiling.forward, dense_tiling.input_gradient, dense_tiling.weight_gradient):
        p, *_ = choose(DenseGeometry(*features), batch)
        assert p.threads <= dense_tiling.THREADS
        assert p.shared_bytes <= dense_tiling.SHARED


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("kind", dense.FACTORIES)
def test_assembles_without_spills(kind, capability):
    from helpers.assembly import resources

    for inputs, outputs in ((256, 120), (2048, 10)):
        used = resources(dense.production(make_op(kind, inputs, outputs, "relu", "y"), 128), capability)
        assert used.stack_bytes == used.spill_bytes == 0
        assert used.shared_bytes <= dense_tiling.SHARED
