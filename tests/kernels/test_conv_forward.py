"""conv_forward against float64 sums, on shapes off the tile; assembled for sm_75 and sm_90."""

import numpy as np
import pytest

from helpers.compiler import launch
from helpers.kernels.conv_forward import conv_forward, production, variants
from helpers.kernels.conv_tile import Tile
from tests.kernels.conv_cases import CASES, assert_close, case_op, conv_op, forward, poisoned, values

SMALL = {
    "quads": {"images": 1, "row_groups": 2, "column_groups": 2, "filter_groups": 2, "filters": 4},
    "images": {"images": 2, "row_groups": 1, "column_groups": 3, "filter_groups": 1, "filters": 8},
    "rows": {
        "straight": True,
        "row_groups": 3,
        "column_groups": 1,
        "filter_groups": 2,
        "rows": 1,
        "columns": 3,
        "filters": 4,
    },
}


def small_tile(name, most, **options):
    """A tile of few threads for at most `most` input channels."""
    return Tile(**{**SMALL[name], "channels": min(most, 4), **options})


def run(kernel, op, batch):
    """Launch on random data; compare with the oracle."""
    g = op.geometry
    x, w, b = values(batch, *g.in_shape), values(*g.weight_shape), values(g.out_channels)
    y = poisoned(batch, *g.out_shape)
    launch(kernel, y, x, w, b)
    wanted = forward(g, x, w, b)
    assert_close(y, np.maximum(wanted, 0) if op.activation else wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tile", SMALL)
def test_forward_agrees_with_sums(name, tile):
    op, batch = case_op(name, activation="relu" if tile == "quads" else None)
    run(conv_forward(op, batch, small_tile(tile, op.geometry.in_channels)), op, batch)


@pytest.mark.parametrize("teams", [2, 4])
def test_teams_share_the_channels(teams):
    op = conv_op((1, 5, 6, 8), (1, 3, 3), 8, padding=("valid", "same", "same"))
    run(conv_forward(op, 2, small_tile("quads", 8, teams=teams)), op, 2)


def test_production_tile_agrees_with_sums():
    op = conv_op((1, 6, 6, 3), (1, 3, 3), 6, padding=("valid", "same", "same"), activation="relu")
    run(production(op, 2), op, 2)


LAYERS = pytest.mark.parametrize("shape, filters", [((1, 32, 32, 32), 32), ((1, 8, 8, 128), 128), ((1, 28, 28, 1), 6)])


@pytest.mark.parametrize("multiprocessors", [40, 132])
@LAYERS
def test_production_fills_the_card(shape, filters, multiprocessors):
    op = conv_op(shape, (1, 3, 3), filters, padding=("valid", "same", "same"))
    kernel = production(op, 128, multiprocessors)
    assert kernel.grid[0] >= multiprocessors * 3 // 4
    assert kernel.shared_bytes <= 48 * 1024


@LAYERS
def test_other_tiles_are_offered_for_timing(shape, filters):
    op = conv_op(shape, (1, 3, 3), filters, padding=("valid", "same", "same"))
    assert len(variants(op, 128)) > 3


def test_channels_that_split_vectors_are_refused():
    op = conv_op((1, 5, 6, 8), (1, 3, 3), 8)
    with pytest.raises(ValueError, match="multiple of 4"):
        conv_forward(op, 2, small_tile("quads", 8, channels=6))


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("shape, kernel, filters", [((1, 8, 8, 128), (1, 3, 3), 128), ((1, 28, 28, 1), (1, 5, 5), 6)])
def test_forward_assembles_without_spill(shape, kernel, filters, capability):
    from helpers.assembly import resources

    used = resources(production(conv_op(shape, kernel, filters, padding=("valid", "same", "same")), 128), capability)
    assert used.spill_bytes == used.stack_bytes == 0
    assert used.shared_bytes <= 64 * 1024
