"""conv_pool_forward against float64 sums, and the pass that makes it; assembled without a spill."""

import numpy as np
import pytest

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.compiler import launch
from helpers.kernels.conv_pool_forward import conv_pool_forward, production, variants
from helpers.kernels.conv_tile import Tile
from helpers.lowering import fuse_pool, fuse_relu, lower
from tests.kernels.conv_cases import assert_close, conv_op, forward, max_pool, poisoned, values

SAME = ("valid", "same", "same")
POOLS = {
    "lenet": (conv_op((1, 9, 11, 1), (1, 5, 5), 6, activation="relu", pool=(2, 2)), {}),
    "floor": (conv_op((1, 7, 9, 4), (1, 3, 3), 8, padding=SAME, activation="relu", pool=(2, 2)), {"images": 2}),
    "uneven": (conv_op((1, 7, 9, 2), (1, 3, 3), 5, padding=SAME, pool=(3, 1)), {"rows": 3}),
    "three": (conv_op((1, 6, 7, 3), (1, 2, 2), 4, activation="relu", pool=(1, 3)), {"rows": 1, "columns": 3}),
    "depth": (conv_op((3, 4, 4, 2), (2, 3, 3), 4, padding=SAME, activation="relu", pool=(2, 2)), {}),
    "teams": (conv_op((1, 6, 6, 8), (1, 3, 3), 4, padding=SAME, activation="relu", pool=(2, 4)), {"teams": 2}),
}
SHAPE = {"row_groups": 2, "column_groups": 2, "filter_groups": 2, "filters": 4}


def run(kernel, op, batch):
    """Launch on random data; the winners must be those of a float32 tie break, the values close."""
    g = op.geometry
    x, w, b = values(batch, *g.in_shape), values(*g.weight_shape), values(g.out_channels) - 1
    y, winner = poisoned(batch, *op.pool.out_shape), poisoned(batch, *op.pool.out_shape, dtype=np.uint8)
    launch(kernel, y, winner, x, w, b)
    wanted = forward(g, x, w, b)
    largest, place = max_pool(op.pool, np.maximum(wanted, 0) if op.activation else wanted)
    assert_close(y, largest)
    np.testing.assert_array_equal(winner, place)


@pytest.mark.parametrize("name", POOLS)
def test_pooled_forward_agrees_with_sums(name):
    op, options = POOLS[name]
    tile = Tile(**{**SHAPE, "channels": min(op.geometry.in_channels, 4), **options})
    run(conv_pool_forward(op, 2, tile), op, 2)


def test_production_tile_agrees_with_sums():
    op = conv_op((1, 7, 6, 3), (1, 3, 3), 6, padding=SAME, activation="relu", pool=(3, 3))
    run(production(op, 2), op, 2)
    assert len(variants(op, 2)) > 1


@pytest.mark.parametrize("network, joined", [(lenet5(), 2), (vgg_small(), 3), (tiny(), 1)])
def test_fuse_pool_joins_disjoint_pools(network, joined):
    before = fuse_relu(lower(network))
    program = fuse_pool(before)
    fused = [op for op in program.ops if op.kind == "conv_pool_forward"]
    assert len(fused) == joined == len(before.ops) - len(program.ops) == len(before.tensors) - len(program.tensors)
    assert all(op.activation == "relu" and len(op.outputs) == 2 for op in fused)
    named = {name for op in program.ops for name in (*op.inputs, *op.outputs)}
    assert named <= program.tensors.keys()


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("shape, kernel, filters", [((1, 8, 8, 128), (1, 3, 3), 128), ((1, 28, 28, 1), (1, 5, 5), 6)])
def test_pooled_forward_assembles_without_spill(shape, kernel, filters, capability):
    from helpers.assembly import resources

    op = conv_op(shape, kernel, filters, activation="relu", pool=(2, 2))
    used = resources(production(op, 128), capability)
    assert used.spill_bytes == used.stack_bytes == 0
    assert used.shared_bytes <= 64 * 1024
