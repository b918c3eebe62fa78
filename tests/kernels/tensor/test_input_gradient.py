"""Input gradients on tensor cores: through gates, and undoing a pooling, against float64 over shapes off every tile."""

import numpy as np
import pytest

from helpers.kernels.tensor.correlation import Correlation, Staging, Tile
from helpers.kernels.tensor.layers import Surroundings
from tests.kernels.conv_cases import conv_op
from tests.kernels.tensor.convolution_cases import (
    BF16,
    FP16,
    check_input_gradient,
    dense_op,
    gate_bits,
    gate_words,
    pooling_to,
)
from tests.kernels.tensor.words import EVERY_FORMAT

SAME, VALID = ("valid", "same", "same"), ("valid",) * 3
# name: (in_shape, kernel, filters, stride, padding, batch)
CASES = {
    "1x1": ((1, 2, 4, 17), (1, 1, 1), 5, (1, 1, 1), VALID, 5),
    "one column": ((1, 5, 1, 5), (1, 3, 1), 3, (1, 1, 1), SAME, 19),
    "seven columns, 40 channels": ((1, 3, 7, 40), (1, 2, 3), 5, (1, 1, 1), ("valid", 1, 2), 3),
    "seventeen columns, 70 filters": ((1, 2, 17, 3), (1, 1, 2), 70, (1, 1, 1), VALID, 1),
    "5x5, stride 2": ((1, 6, 5, 3), (1, 5, 5), 17, (1, 2, 2), SAME, 1),
    "3x3, stride 2": ((1, 4, 5, 3), (1, 3, 3), 33, (1, 2, 2), SAME, 1),
    "2x3, stride (2, 1)": ((1, 7, 4, 3), (1, 2, 3), 5, (1, 2, 1), ("valid", 1, "same"), 2),
    "cells that no window meets": ((1, 6, 8, 3), (1, 2, 2), 5, (1, 3, 3), VALID, 2),
    "depth": ((3, 3, 2, 3), (2, 2, 3), 5, (1, 1, 1), ("valid", "same", "same"), 2),
    "depth, stride 2": ((4, 3, 3, 3), (3, 1, 2), 5, (2, 1, 1), ("same", "same", "same"), 2),
}
TILES = [
    Tile(rows=2, row_warps=2),
    Tile(rows=4, image_warps=2, teams=2),
    Tile(rows=2, column_warps=2, filter_warps=2),
    Tile(rows=2, kernel_columns=2, depth=2),
]


def case(name):
    """(Op, batch) of a case."""
    in_shape, kernel, filters, stride, padding, batch = CASES[name]
    return conv_op(in_shape, kernel, filters, stride, padding), batch


def test_gates_survive_their_words():
    bits = np.random.default_rng(1).integers(0, 2, (3, 4, 40)).astype(bool)
    words = gate_words(bits)
    assert words.shape == (3, 5) and np.array_equal(gate_bits(words), bits)
    assert words[0, 1] >> 17 & 1 == bits[0, 2, 9]  # cell 2, channel 9: the second word, byte 2, bit 1


@pytest.mark.parametrize("name", CASES)
def test_every_geometry_through_gates(name):
    check_input_gradient(*case(name), BF16 if len(name) % 2 else FP16)


@EVERY_FORMAT
def test_every_format_without_gates(precision, card):
    op = conv_op((1, 2, 4, 3), (1, 2, 2), 33, padding=SAME)
    check_input_gradient(op, 2, (precision, card), gated=False)


@EVERY_FORMAT
def test_strides_in_every_format(precision, card):
    check_input_gradient(conv_op((1, 4, 3, 3), (1, 2, 2), 5, (1, 2, 1), SAME), 2, (precision, card))


@pytest.mark.parametrize("hanging", [(0, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("window", [(2, 2), (1, 2), (2, 1), (1, 4), (4, 1)], ids=str)
def test_an_undone_pooling_gives_to_the_winner_only(window, hanging):
    """Rows and columns that no window covers are left alone."""
    hanging = tuple(min(behind, size - 1) for behind, size in zip(hanging, window))
    op = conv_op((1, 2, 3, 5), (1, 1, 1), 3)
    check_input_gradient(op, 3, BF16, pool=pooling_to(op.geometry.in_shape, window, hanging))


@EVERY_FORMAT
def test_an_undone_pooling_in_every_format(precision, card):
    op = conv_op((1, 2, 3, 33), (1, 2, 1), 3, padding=SAME)
    check_input_gradient(op, 2, (precision, card), pool=pooling_to(op.geometry.in_shape, (2, 2), (1, 1)))


def test_an_undone_pooling_of_several_planes():
    op = conv_op((3, 2, 3, 5), (2, 1, 2), 3, padding=("valid", "same", "same"))
    check_input_gradient(op, 2, FP16, pool=pooling_to(op.geometry.in_shape, (2, 2), (0, 1)))


def tiled(tile):
    """(Op, batch) of three chunks of filters that `tile` does not cover evenly."""
    columns, rows = (17, 1) if tile.column_warps > 1 else (5, 3)
    return conv_op((1, rows, columns, 33 if tile.filter_warps > 1 else 5), (1, 2, 2), 65, padding=SAME), 3


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_every_tile_makes_the_same_sums_without_a_race(tile):
    op, batch = tiled(tile)
    assert Staging(Correlation.input_gradient(op.geometry, batch), tile, 2).chunks == 3
    check_input_gradient(op, batch, FP16, tile=tile)


@pytest.mark.parametrize("tile", [Tile(2, 2), Tile(1, teams=2)], ids=str)
def test_tiles_of_strides_and_poolings(tile):
    op = conv_op((1, 5, 3, 5), (1, 3, 1), 33, (1, 2, 1), SAME)
    check_input_gradient(op, 2, BF16, tile=tile, pool=pooling_to(op.geometry.in_shape, (2, 2), (1, 1)))


@pytest.mark.parametrize("image, gated", [
    ((1, 2, 3, 5), True), ((1, 1, 3, 5), False), ((2, 1, 2, 33), True), ((1, 1, 1, 70), True),
], ids=str)  # fmt: skip
def test_dense_layers_of_images_and_of_rows(image, gated):
    op = dense_op(37, image[0] * image[1] * image[2], image[3])
    check_input_gradient(op, 19, BF16, Surroundings(image=image), gated=gated)


@pytest.mark.parametrize("image, window, hanging", [
    ((1, 2, 3, 5), (2, 2), (1, 0)), ((1, 2, 1, 33), (1, 2), (0, 1)), ((2, 1, 2, 5), (2, 1), (0, 0)),
], ids=str)  # fmt: skip
def test_a_dense_layer_undoes_the_pooling_of_its_image(image, window, hanging):
    op = dense_op(37, image[0] * image[1] * image[2], image[3])
    check_input_gradient(op, 19, FP16, Surroundings(image=image), pool=pooling_to(image, window, hanging))


@EVERY_FORMAT
def test_dense_layers_in_every_format(precision, card):
    around = Surroundings(image=(1, 1, 2, 40))
    tile = Tile(1, filter_warps=2, teams=2)
    check_input_gradient(dense_op(40, 2, 40), 7, (precision, card), around, tile)
