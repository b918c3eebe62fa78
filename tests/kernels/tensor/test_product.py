"""The matrix product on tensor cores against float64, in every format, over shapes off its tile."""

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.device import SIMULATOR, capability, gpu_available
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.product import Tile, tensor_product
from helpers.rounding import round_to
from helpers.trace import trace

GENERATOR = np.random.default_rng(5)
FORMATS = [("tf32", (8, 0)), ("bf16", (8, 0)), ("fp16", (8, 0)), ("fp16", (7, 5))]
EVERY_FORMAT = pytest.mark.parametrize("precision, card", FORMATS)
# of random values rounded to the format, in the norm of the whole result
ERRORS = {"tf32": 1e-3, "bf16": 1e-2, "fp16": 2e-3}
SMALL = Tile(32, 32, 1, 1)
SHAPES = [(32, 32, 32), (37, 41, 70), (20, 33, 36), (1, 1, 1), (33, 5, 65)]


def factors(m, n, length):
    """Random matrices, and their product of exact float64 sums."""
    a, b = (GENERATOR.standard_normal(s).astype(np.float32) for s in ((m, length), (length, n)))
    return np.full((m, n), np.nan, np.float32), a, b


def error(c, a, b):
    wanted = a.astype(np.float64) @ b
    return np.linalg.norm(c - wanted) / np.linalg.norm(wanted)


@EVERY_FORMAT
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_only_the_factors_are_rounded(precision, card, shape):
    c, a, b = factors(*shape)
    launch(tensor_product(*shape, format_of(precision, card), SMALL), c, a, b)
    assert error(c, a, b) < ERRORS[precision]
    assert error(c, round_to(a, precision), round_to(b, precision)) < 1e-6


@pytest.mark.skipif(not SIMULATOR, reason="the tracer runs on the CPU")
@pytest.mark.parametrize("tile", [SMALL, Tile(64, 64, 2, 2), Tile(32, 64, 1, 2, 64)], ids=str)
@EVERY_FORMAT
def test_warps_share_a_tile_without_a_race(precision, card, tile):
    shape = (tile.rows + 3, tile.columns - 5, 2 * tile.terms + 7)
    c, a, b = factors(*shape)
    trace(tensor_product(*shape, format_of(precision, card), tile), c, a, b, outputs=("c",))
    assert error(c, a, b) < ERRORS[precision]


@pytest.mark.gpu
@pytest.mark.skipif(SIMULATOR, reason="needs a CUDA device")
@EVERY_FORMAT
def test_large_products_on_the_card_are_right_and_bit_equal(precision, card):
    if not gpu_available() or capability() < card:
        pytest.skip("the card has no such format")
    shape = (301, 277, 1030)
    (c, a, b), kernel = factors(*shape), tensor_product(301, 277, 1030, format_of(precision, card))
    launch(kernel, c, a, b)
    again = np.full_like(c, np.nan)
    launch(kernel, again, a, b)
    assert error(c, a, b) < ERRORS[precision] and np.array_equal(c, again)


@pytest.mark.assemble
@pytest.mark.parametrize("precision, card", [("tf32", (9, 0)), ("bf16", (9, 0)), ("fp16", (9, 0)), ("fp16", (7, 5))])
def test_assembles_within_every_cards_limits(precision, card):
    kernel = tensor_product(4096, 4096, 4096, format_of(precision, card))
    used = resources(kernel, card)
    assert used.stack_bytes == used.spill_bytes == 0
    assert used.shared_bytes <= (64 * 1024 if card == (7, 5) else 228 * 1024)


@pytest.mark.parametrize(
    "precision, card, words",
    [
        ("fp8", (9, 0), "precision is 'fp8'; tensor cores offer '3xtf32', 'tf32', 'bf16', 'fp16'"),
        ("tf32", (7, 5), "tf32 needs a card of compute capability 8.0; this one has 7.5: choose 'fp16'"),
        ("bf16", (7, 5), "bf16 needs a card of compute capability 8.0"),
    ],
)
def test_a_format_that_is_not_there_is_refused(precision, card, words):
    with pytest.raises(ValueError, match=words):
        format_of(precision, card)


@pytest.mark.parametrize("sizes", [{"columns": 64}, {"rows": 40}, {"terms": 16}], ids=str)
def test_a_tile_that_does_not_come_out_even_is_refused(sizes):
    with pytest.raises(ValueError, match="expected 32 columns and a multiple of 16 rows a warp"):
        Tile(**sizes)
    with pytest.raises(ValueError, match="256 threads do not share a stage of Tile.* evenly"):
        Tile(16, 256, 1, 8)
