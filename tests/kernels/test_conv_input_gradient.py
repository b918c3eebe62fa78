"""conv_input_gradient against float64 sums, on shapes off the tile; assembled without a spill."""

import numpy as np
import pytest

from helpers.compiler import launch
from helpers.kernels.conv_input_gradient import conv_input_gradient, production, variants
from helpers.kernels.conv_tile import Tile
from tests.kernels.conv_cases import CASES, assert_close, case_op, conv_op, input_gradient, poisoned, values

SMALL = {
    "quads": {"images": 1, "row_groups": 2, "column_groups": 2, "filter_groups": 2, "filters": 4},
    "images": {"images": 2, "row_groups": 1, "column_groups": 3, "filter_groups": 1, "filters": 8},
}


def run(kernel, op, batch):
    """Launch on random data; compare with the oracle."""
    g = op.geometry
    dy, w, mask = values(batch, *g.out_shape), values(*g.weight_shape), values(batch, *g.in_shape)
    dx = poisoned(batch, *g.in_shape)
    launch(kernel, dx, dy, w, mask if op.mask else np.zeros(1, np.float32))
    wanted = input_gradient(g, dy, w)
    assert_close(dx, wanted * (mask > 0) if op.mask else wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tile", SMALL)
def test_input_gradient_agrees_with_sums(name, tile):
    op, batch = case_op(name, mask="x" if tile == "images" and name != "one cell" else None)
    tile = Tile(**SMALL[tile], channels=min(op.geometry.out_channels, 4))
    run(conv_input_gradient(op, batch, tile), op, batch)


def test_teams_share_the_channels():
    op = conv_op((1, 5, 6, 8), (1, 3, 3), 8, padding=("valid", "same", "same"), mask="x")
    run(conv_input_gradient(op, 2, Tile(**SMALL["quads"], channels=4, teams=4)), op, 2)


def test_production_tile_agrees_with_sums():
    op = conv_op((1, 6, 6, 3), (1, 3, 3), 6, padding=("valid", "same", "same"))
    run(production(op, 2), op, 2)
    assert len(variants(op, 2)) > 1


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("shape, kernel, filters", [((1, 8, 8, 64), (1, 3, 3), 128), ((1, 12, 12, 6), (1, 5, 5), 16)])
def test_input_gradient_assembles_without_spill(shape, kernel, filters, capability):
    from helpers.assembly import resources

    used = resources(production(conv_op(shape, kernel, filters, mask="x"), 128), capability)
    assert used.spill_bytes == used.stack_bytes == 0
    assert used.shared_bytes <= 64 * 1024
