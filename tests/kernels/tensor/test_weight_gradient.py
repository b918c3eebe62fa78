"""Weight gradients on tensor cores: the sums over all splits against float64, biases included, every cell written."""

import pytest

from helpers.kernels.tensor.layers import Surroundings
from helpers.kernels.tensor.weight_strips import WeightProblem, WeightStrips, WeightTile
from tests.kernels.conv_cases import conv_op
from tests.kernels.tensor.convolution_cases import BF16, FP16, check_weight_gradient, dense_op
from tests.kernels.tensor.words import EVERY_FORMAT

SAME, VALID = ("valid", "same", "same"), ("valid",) * 3
# name: (in_shape, kernel, filters, stride, padding, batch)
CASES = {
    "1x1": ((1, 3, 4, 17), (1, 1, 1), 5, (1, 1, 1), VALID, 3),
    "3x3": ((1, 3, 4, 3), (1, 3, 3), 5, (1, 1, 1), SAME, 2),
    "3x3, 40 channels, 70 filters": ((1, 3, 3, 40), (1, 3, 3), 70, (1, 1, 1), VALID, 2),
    "3x3, rows of a line": ((1, 4, 4, 3), (1, 3, 3), 5, (1, 1, 1), SAME, 5),
    "1x1, rows of a line": ((1, 4, 8, 17), (1, 1, 1), 5, (1, 1, 1), VALID, 3),
    "3x3, seventeen columns": ((1, 2, 17, 3), (1, 2, 3), 5, (1, 1, 1), SAME, 1),
    "3x1, one column": ((1, 7, 1, 3), (1, 3, 1), 5, (1, 1, 1), SAME, 19),
    "5x5": ((1, 4, 5, 3), (1, 5, 5), 5, (1, 1, 1), SAME, 1),
    "5x5, stride 2": ((1, 7, 8, 17), (1, 5, 5), 5, (1, 2, 2), SAME, 1),
    "7x3": ((1, 5, 2, 3), (1, 7, 3), 5, (1, 1, 1), SAME, 1),
    "2x3, stride (2, 1)": ((1, 7, 6, 3), (1, 2, 3), 5, (1, 2, 1), ("valid", 1, "same"), 2),
    "stride (1, 3), window of 2": ((1, 4, 8, 3), (1, 2, 2), 5, (1, 1, 3), VALID, 2),
    "depth": ((3, 3, 2, 3), (2, 2, 3), 5, (1, 1, 1), ("valid", "same", "same"), 2),
    "depth, stride 2": ((4, 4, 3, 3), (3, 1, 3), 5, (2, 1, 1), ("same", "same", "same"), 2),
}
TILES = [
    WeightTile(rows=1),
    WeightTile(rows=2, splits=2),
    WeightTile(rows=1, row_strips=2, shares=2),
    WeightTile(rows=1, row_strips=4, shares=4, splits=2),
    WeightTile(rows=2, row_strips=2, splits=3),
    WeightTile(rows=1, image_lines=2, shares=2, splits=3),
    WeightTile(rows=4, image_lines=4, shares=4),
    WeightTile(rows=8),
]


def case(name):
    """(Op, batch) of a case."""
    in_shape, kernel, filters, stride, padding, batch = CASES[name]
    return conv_op(in_shape, kernel, filters, stride, padding), batch


@pytest.mark.parametrize("name", CASES)
def test_every_geometry_by_the_rules_tile(name):
    check_weight_gradient(*case(name), BF16 if len(name) % 2 else FP16)


@EVERY_FORMAT
def test_every_format(precision, card):
    check_weight_gradient(*case("2x3, stride (2, 1)"), (precision, card))


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_makes_the_same_sums_without_a_race(tile):
    op = conv_op((1, 5, 3, 3), (1, 2, 2), 5, padding=SAME)
    assert check_weight_gradient(op, 5, FP16, tile=tile) == tile.splits


@pytest.mark.parametrize("precision, card", [BF16, ("tf32", (9, 0))])
@pytest.mark.parametrize("shares", [1, 2])
def test_lines_beside_each_other(shares, precision, card):
    op, tile = conv_op((1, 1, 20, 3), (1, 1, 2), 5, padding=SAME), WeightTile(1, column_lines=2, shares=shares)
    check_weight_gradient(op, 2, (precision, card), tile=tile)


def rounds_of_splits(op, batch, tile):
    """How many rounds each split has."""
    strips = WeightStrips(WeightProblem.of_convolution(op.geometry, batch), tile, 2)
    units, whole = strips.unit_counts, strips.rounds
    total = units[0] * units[1] * units[2] * units[3]
    return [max(min(whole, total - split * whole), 0) for split in range(tile.splits)]


@pytest.mark.parametrize("splits, rounds", [(2, [3, 2]), (3, [2, 2, 1]), (4, [2, 2, 1, 0]), (5, [1] * 5)], ids=str)
def test_the_last_splits_have_fewer_rounds_or_none(splits, rounds):
    op, tile = conv_op((1, 5, 4, 3), (1, 1, 2), 5, padding=SAME), WeightTile(rows=1, splits=splits)
    assert rounds_of_splits(op, 3, tile) == rounds
    assert check_weight_gradient(op, 3, BF16, tile=tile) == splits


@pytest.mark.parametrize(
    "kernel, tile", [((1, 5, 2), WeightTile(2, 2, shares=2, splits=2)), ((1, 7, 1), WeightTile(4))], ids=str
)
def test_groups_of_kernel_rows(kernel, tile):
    """The last group has rows that do not exist."""
    op = conv_op((1, 7, 3, 3), kernel, 5, padding=("valid", "same", "valid"))
    strips = WeightStrips(WeightProblem.of_convolution(op.geometry, 2), tile, 2)
    assert strips.row_groups * strips.kernel_rows > kernel[1]
    check_weight_gradient(op, 2, BF16, tile=tile)


@pytest.mark.parametrize("tile", [WeightTile(2, 2, shares=2), WeightTile(1, splits=3)], ids=str)
def test_tiles_of_strides(tile):
    op = conv_op((1, 7, 6, 3), (1, 3, 3), 5, (1, 2, 2), SAME)
    check_weight_gradient(op, 3, FP16, tile=tile)


@pytest.mark.parametrize("image", [(1, 2, 3, 5), (2, 1, 2, 33), (1, 1, 1, 70)], ids=str)
def test_dense_layers_of_images_and_of_rows(image):
    op = dense_op(37, image[0] * image[1] * image[2], image[3])
    check_weight_gradient(op, 40, BF16, Surroundings(image=image))


@EVERY_FORMAT
def test_dense_layers_in_every_format(precision, card):
    op, tile = dense_op(5, 2, 3), WeightTile(1, image_lines=2, shares=2, splits=2)
    check_weight_gradient(op, 50, (precision, card), Surroundings(image=(1, 1, 2, 3)), tile)


@pytest.mark.parametrize("in_shape, kernel", [((1, 5, 4, 3), (1, 3, 3)), ((2, 3, 3, 2), (2, 3, 3))], ids=str)
def test_an_input_that_lies_unfolded(in_shape, kernel):
    """A window of 36 values takes two tiles."""
    op = conv_op(in_shape, kernel, 5, padding=("valid", "same", "same"))
    check_weight_gradient(op, 3, BF16, Surroundings(unfolded=True))


def test_shares_that_are_no_power_of_2_are_refused():
    op = conv_op((1, 5, 5, 3), (1, 3, 3), 5)
    with pytest.raises(ValueError, match="3 shares are no power of 2"):
        check_weight_gradient(op, 1, BF16, tile=WeightTile(1, 3, shares=3))
