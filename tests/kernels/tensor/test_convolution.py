"""Forward passes on tensor cores: outputs, pooling and gates against float64, over shapes off every tile."""

import numpy as np
import pytest

from helpers.kernels.tensor.correlation import Staging, Tile
from helpers.kernels.tensor.layers import Surroundings, forward_problem
from tests.kernels.conv_cases import conv_op
from tests.kernels.tensor.convolution_cases import BF16, FP16, PLAIN, check_forward, dense_op, replace
from tests.kernels.tensor.words import EVERY_FORMAT

SAME, VALID = ("valid", "same", "same"), ("valid",) * 3
# name: (in_shape, kernel, filters, stride, padding, batch)
CASES = {
    "one cell, one tap": ((1, 1, 1, 3), (1, 1, 1), 5, (1, 1, 1), VALID, 40),
    "one column": ((1, 5, 1, 17), (1, 3, 1), 32, (1, 1, 1), SAME, 19),
    "four columns, five images": ((1, 2, 4, 33), (1, 2, 3), 5, (1, 1, 1), SAME, 5),
    "seven columns, three images": ((1, 3, 5, 3), (1, 2, 3), 5, (1, 1, 1), ("valid", 0, 2), 3),
    "seventeen columns": ((1, 2, 17, 3), (1, 1, 1), 5, (1, 1, 1), VALID, 1),
    "70 filters": ((1, 2, 3, 40), (1, 1, 2), 70, (1, 1, 1), VALID, 3),
    "5x5": ((1, 4, 5, 3), (1, 5, 5), 5, (1, 1, 1), ("valid", 2, 1), 1),
    "5x5, stride 2": ((1, 7, 8, 17), (1, 5, 5), 5, (1, 2, 2), SAME, 1),
    "3x3, stride 2": ((1, 7, 8, 3), (1, 3, 3), 5, (1, 2, 2), SAME, 2),
    "2x3, stride (2, 1)": ((1, 7, 6, 3), (1, 2, 3), 5, (1, 2, 1), ("valid", 1, "same"), 1),
    "depth": ((3, 3, 2, 3), (2, 2, 3), 5, (1, 1, 1), ("valid", "same", "same"), 2),
    "depth, stride 2": ((4, 3, 3, 3), (2, 1, 3), 5, (2, 1, 1), (1, "same", "same"), 2),
}
# every field above 1 at least once, together covering more than there is along every axis
TILES = [
    Tile(rows=2, row_warps=2),
    Tile(rows=1, column_warps=2),
    Tile(rows=1, image_warps=2, row_warps=2),
    Tile(rows=4, filter_warps=4),
    Tile(rows=1, filter_warps=2, teams=2),
    Tile(rows=4, teams=2, kernel_columns=2),
    Tile(rows=2, kernel_columns=2),
    Tile(rows=2, depth=2, kernel_columns=2),
    Tile(rows=4, teams=4),
    Tile(rows=2, column_warps=2, teams=2, depth=2),
]


def case(name, **options):
    """(Op, batch) of a case."""
    in_shape, kernel, filters, stride, padding, batch = CASES[name]
    return conv_op(in_shape, kernel, filters, stride, padding, **options), batch


@pytest.mark.parametrize("name", CASES)
def test_every_geometry_by_the_rules_tile(name):
    op, batch = case(name, activation="relu")
    check_forward(op, batch, BF16 if len(name) % 2 else FP16)


@EVERY_FORMAT
def test_every_format(precision, card):
    op = conv_op((1, 2, 4, 35), (1, 2, 2), 5, padding=SAME, activation="relu")
    check_forward(op, 2, (precision, card))


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("pool", [(2, 2), (1, 2), (2, 1), (1, 4), (4, 1)], ids=str)
def test_pooling_keeps_the_largest_and_its_gate(pool, activation):
    op = conv_op((1, 5, 7, 3), (1, 2, 1), 5, padding=SAME, activation=activation, pool=pool)
    check_forward(op, 3, BF16, tile=Tile(4))


@EVERY_FORMAT
def test_pooling_in_every_format(precision, card):
    op = conv_op((1, 4, 5, 3), (1, 1, 2), 5, padding=SAME, activation="relu", pool=(2, 2))
    check_forward(op, 1, (precision, card))


@pytest.mark.parametrize("pool", [(2, 2), (1, 2), (2, 1)], ids=str)
def test_of_equal_cells_the_first_in_row_major_order_gets_the_gradient(pool):
    """Sums of small integers tie often, and exactly."""
    op = conv_op((1, 4, 6, 3), (1, 1, 2), 32, padding=SAME, pool=pool)
    found, gates = check_forward(op, 2, FP16, whole=True)
    assert np.array_equal(found, np.rint(found)) and (gates.sum(-2) == 1).all()
    cells = check_forward(replace(op, pool=None), 2, FP16, whole=True)[0]
    rows, columns = cells[:, :, ::2, 1::2][:, :, :2, :3], cells[:, :, 1::2, ::2][:, :, :2, :3]
    assert 20 < (rows == columns).sum() < rows.size  # there are ties, and not only ties


def test_a_pooled_image_of_several_planes():
    op = conv_op((3, 4, 5, 3), (2, 1, 3), 5, padding=("valid", "valid", "same"), activation="relu", pool=(2, 2))
    check_forward(op, 2, BF16)


def tiled(tile):
    """(Op, batch) of three chunks of channels that `tile` does not cover evenly."""
    columns, rows = (17, 1) if tile.column_warps > 1 else (5, 1 if tile.filter_warps > 1 else 3)
    filters = 33 if tile.filter_warps > 1 else 5
    return conv_op((1, rows, columns, 65), (1, 2, 2), filters, padding=SAME, activation="relu"), 3


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_makes_the_same_sums_without_a_race(tile):
    op, batch = tiled(tile)
    check_forward(op, batch, FP16, tile=tile)


def test_tiles_hang_over_along_every_axis_and_take_several_rounds():
    cut = [Staging(forward_problem(*tiled(tile), PLAIN), tile, 2) for tile in TILES]
    assert all(s.chunks == 3 and s.rounds > 1 for s in cut if s.parts < 3)
    hanging = [
        (s.images > 3, s.rows > s.problem.out_shape[1], s.columns > 17, s.filters > 64, s.parts > s.chunks) for s in cut
    ]
    assert all(any(axis) for axis in zip(*hanging))


@pytest.mark.parametrize("tile", [Tile(2, 2), Tile(4, image_warps=2), Tile(2, teams=2)], ids=str)
def test_every_tile_pools(tile):
    op = conv_op((1, 5, 6, 33), (1, 1, 2), 5, padding=SAME, activation="relu", pool=(2, 2))
    check_forward(op, 3, BF16, tile=tile)


@pytest.mark.parametrize("precision, card", [("fp16", (9, 0)), ("fp16", (7, 5)), ("tf32", (9, 0))], ids=str)
def test_pieces_arrive_before_they_are_multiplied(precision, card):
    """Where copies run on while threads compute, and where they do not."""
    op = conv_op((1, 2, 3, 65), (1, 1, 3), 5, padding=SAME)
    check_forward(op, 2, (precision, card), tile=Tile(1))


@pytest.mark.parametrize("in_shape", [(1, 5, 4, 3), (2, 4, 3, 2)], ids=str)
def test_an_input_that_lies_unfolded(in_shape):
    op = conv_op(in_shape, (1, 3, 3), 5, padding=SAME, activation="relu", pool=(2, 2))
    check_forward(op, 3, BF16, Surroundings(unfolded=True))


@EVERY_FORMAT
def test_an_unfolded_input_of_strides(precision, card):
    op = conv_op((1, 4, 5, 2), (1, 3, 2), 5, (1, 2, 1), ("valid", 1, "valid"), activation="relu")
    check_forward(op, 2, (precision, card), Surroundings(unfolded=True))


@pytest.mark.parametrize("image, outputs, activation", [
    ((1, 2, 3, 5), 37, "relu"), ((2, 1, 2, 33), 5, None), ((1, 1, 1, 70), 5, "relu"), ((1, 1, 1, 200), 5, None),
], ids=str)  # fmt: skip
def test_dense_layers_of_images_and_of_rows(image, outputs, activation):
    cells, channels = image[0] * image[1] * image[2], image[3]
    check_forward(dense_op(outputs, cells, channels, activation), 19, BF16, Surroundings(image=image))


@EVERY_FORMAT
def test_logits_are_float32(precision, card):
    around = Surroundings(image=(1, 2, 2, 5), logits=True)
    check_forward(dense_op(3, 4, 5), 7, (precision, card), around)


@pytest.mark.parametrize("tile", [Tile(1, image_warps=2), Tile(1, filter_warps=2, teams=2, depth=2)], ids=str)
def test_dense_layers_by_every_tile(tile):
    check_forward(dense_op(70, 5, 40), 20, FP16, Surroundings(image=(1, 5, 1, 40)), tile=tile)


def test_kernel_columns_that_do_not_divide_the_kernel_are_refused():
    op = conv_op((1, 5, 5, 3), (1, 3, 3), 5)
    with pytest.raises(ValueError, match="2 kernel columns do not divide a kernel of 3"):
        check_forward(op, 1, BF16, tile=Tile(1, kernel_columns=2))
