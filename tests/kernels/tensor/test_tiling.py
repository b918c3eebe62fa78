"""Tiles by rule: every candidate fits its card and covers the problem, every layer has one, also on a T4."""

from functools import cache
from math import prod

import pytest

from helpers.architectures import lenet5, vgg_small
from helpers.assembly import resources
from helpers.kernels.tensor.catalogue import make_kernel, surroundings
from helpers.kernels.tensor.correlation import Correlation, Staging, Tile
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.layers import forward_problem
from helpers.kernels.tensor.layout import TILE, padded
from helpers.kernels.tensor.tiling import Card, choose_strips, choose_tile, strip_candidates, tile_candidates
from helpers.kernels.tensor.weight_strips import WeightProblem, WeightStrips, WeightTile
from helpers.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.tensor_program import tensor_program
from tests.kernels.tensor.words import EVERY_FORMAT

T4, LARGE = Card(40, 64 * 1024), Card()
STRIDED = Network(
    (28, 28, 17),
    [Conv2D(17, 5, stride=2, padding="same"), ReLU(), MaxPool2D(2), Conv2D(40, 5, stride=2), Flatten(), Dense(10)],
    name="strided",
)
NETWORKS = [lenet5(), vgg_small(), STRIDED]
ON_CARDS = pytest.mark.parametrize(
    "network, card",
    [*((network, LARGE) for network in NETWORKS), (NETWORKS[1], T4)],
    ids=lambda value: value.name if isinstance(value, Network) else f"{value.multiprocessors}",
)


@cache
def program_of(network):
    return tensor_program(network)


def correlations(network, batch):
    """(problem, rows of a window) of every forward pass and input gradient."""
    program = program_of(network)
    for op in program.ops:
        around = surroundings(program, op) if op.geometry else None
        if op.kind in ("conv_forward", "conv_pool_forward", "dense_forward"):
            yield forward_problem(op, batch, around), op.pool.window[1] if op.pool else 1
        elif op.kind == "conv_input_gradient":
            yield Correlation.input_gradient(op.geometry, batch), 1
        elif op.kind == "dense_input_gradient":
            inputs = around.cells * padded(around.image[3])
            yield Correlation.of_rows(batch, padded(op.geometry.outputs), inputs), 1


def weight_problems(network, batch):
    """Problem of every weight gradient."""
    program = program_of(network)
    for op in program.ops:
        around = surroundings(program, op) if op.geometry else None
        if op.kind == "dense_weight_gradient":
            yield WeightProblem.of_dense(around.cells, around.image[3], op.geometry.outputs, batch)
        elif op.kind == "conv_weight_gradient":
            make = WeightProblem.unfolded if around.unfolded else WeightProblem.of_convolution
            yield make(op.geometry, batch)


def assert_fits(sizes, threads, card):
    """`sizes` with shared_bytes; as many blocks as `residents` promises have room on the whole multiprocessor."""
    assert 32 <= threads <= 512 and threads % 32 == 0
    assert sizes.tile.residents * sizes.shared_bytes <= card.shared_bytes
    assert sizes.tile.residents * threads <= card.threads


@ON_CARDS
@pytest.mark.parametrize("packed", [1, 2])
def test_every_tile_fits_and_covers_the_outputs(network, packed, card):
    for problem, window in correlations(network, 128):
        found = tile_candidates(problem, packed, card, window)
        assert len(set(found)) == len(found) > 0
        for tile in found:
            staging = Staging(problem, tile, packed)
            assert_fits(staging, tile.threads, card)
            assert tile.rows % window == 0
            blocks = dict(zip(("images", "rows", "columns", "filters"), [staging.grid[i] for i in (0, 2, 3, 4)]))
            there = (problem.batch, *problem.out_shape[1:], problem.filters)
            for (name, count), size in zip(blocks.items(), there):
                assert count * getattr(staging, name) >= size > (count - 1) * getattr(staging, name), name
            assert staging.launch["grid"] == (prod(staging.grid), 1, 1) and staging.grid[1] == problem.out_shape[0]


@ON_CARDS
@pytest.mark.parametrize("packed", [1, 2])
def test_every_tile_of_a_weight_gradient_fits_and_covers_the_outputs(network, packed, card):
    for problem in weight_problems(network, 128):
        found = strip_candidates(problem, packed, card)
        assert len(set(found)) == len(found) > 0
        for tile in found:
            strips = WeightStrips(problem, tile, packed)
            assert_fits(strips, strips.threads, card)
            assert strips.strips % tile.shares == 0
            total = prod(strips.unit_counts)
            assert tile.splits * strips.rounds >= total > (tile.splits - 1) * strips.rounds  # none without a round
            channels, filters, planes, groups = strips.tiles
            assert channels * TILE == problem.channels and filters * TILE == problem.filters
            assert planes == problem.kernel[0] and groups * strips.kernel_rows >= problem.kernel[1]


@pytest.mark.parametrize(
    "network, card",
    [*((network, T4) for network in NETWORKS), (STRIDED, LARGE)],
    ids=["lenet5, T4", "vgg_small, T4", "strided, T4", "strided"],
)
def test_every_layer_has_a_kernel(network, card):
    program, form = program_of(network), format_of(*(("fp16", (7, 5)) if card is T4 else ("bf16", (9, 0))))
    for op in program.ops[:-1]:
        kernel = make_kernel(op, 128, program, form, card)
        assert kernel.shared_bytes <= card.shared_bytes and prod(kernel.block) <= 512


def test_as_many_blocks_fit_as_the_scarcest_of_all_allows():
    assert T4.residents(128, 100, 20_000) == 3  # shared memory
    assert T4.residents(512, 65, 1000) == 1  # 72 registers a thread, in eights
    assert T4.residents(512, 16, 1000) == 4  # threads


def test_a_pooling_is_whole_within_a_warp():
    problem = Correlation(128, (1, 32, 32), 32, (1, 32, 32), 32, (1, 3, 3), padding=(0, 1, 1))
    assert {tile.rows for tile in tile_candidates(problem, 2, LARGE, 4)} == {4, 8}
    assert {tile.rows for tile in tile_candidates(problem, 2, LARGE)} == {1, 2, 4, 8}


@pytest.mark.parametrize("batch", [1, 4, 16, 31])
@pytest.mark.parametrize("card", [T4, LARGE], ids=["T4", "large"])
def test_a_small_dense_layer_has_a_tile(batch, card):
    assert tile_candidates(Correlation.of_rows(batch, 32, 32), 2, card)


def test_a_kernel_too_large_for_shared_memory_is_refused():
    form, huge = format_of("bf16", (9, 0)), (1, 31, 31)
    with pytest.raises(ValueError, match=r"no tile of Correlation\(.*\) fits Card\(.*choose smaller kernels or str"):
        choose_tile(Correlation(8, (1, 64, 64), 32, (1, 34, 34), 32, huge), form, T4)
    with pytest.raises(ValueError, match=r"no tile of WeightProblem\(.*\) fits Card\(.*choose a smaller kernel"):
        choose_strips(WeightProblem(8, (1, 64, 64), (1, 34, 34), (961, 32, 32), huge), form, T4)


def test_sizes_that_do_not_come_out_even_are_refused():
    with pytest.raises(ValueError, match="3 kernel columns do not divide a kernel of 4"):
        Staging(Correlation(1, (1, 4, 4), 32, (1, 4, 1), 32, (1, 1, 4)), Tile(kernel_columns=3), 2)
    with pytest.raises(ValueError, match="6 shares are no power of 2"):
        WeightStrips(WeightProblem.of_dense(1, 3, 5, 8), WeightTile(shares=6), 2)


@pytest.mark.assemble
@pytest.mark.parametrize("precision, capability, card, kind, layer", [
    ("bf16", (9, 0), LARGE, "conv_pool_forward", "conv2"),
    ("fp16", (7, 5), T4, "conv_pool_forward", "conv2"),
    ("fp16", (7, 5), T4, "conv_input_gradient", "conv4"),
    ("fp16", (7, 5), T4, "conv_weight_gradient", "conv3"),
])  # fmt: skip
def test_convolutions_keep_their_sums_in_registers(kind, layer, precision, capability, card):
    program = program_of(NETWORKS[1])
    (op,) = [op for op in program.ops if (op.kind, op.layer) == (kind, layer)]
    kernel = make_kernel(op, 128, program, format_of(precision, capability), card)
    used = resources(kernel, capability)
    assert used.stack_bytes == used.spill_bytes == 0
    assert used.shared_bytes == kernel.shared_bytes <= card.shared_bytes
    assert used.registers * prod(kernel.block) * kernel.blocks_per_multiprocessor <= card.registers


@EVERY_FORMAT
def test_a_format_knows_its_chunks(precision, card):
    problem = Correlation.of_rows(64, 128, 64)
    packed = format_of(precision, card).packed
    assert Staging(problem, Tile(), packed).chunks == 128 // (16 * packed)
