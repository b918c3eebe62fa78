"""Fragments of tensor cores: every value has one place, and words hold what the format rounds to."""

import numpy as np
import pytest

from helpers.kernels.tensor.fragments import COLUMNS, ROWS, SHAPES, WARP, multiply, sum_place
from helpers.kernels.tensor.intrinsics import pack_bf16, pack_fp16, round_tf32
from helpers.rounding import round_to

GENERATOR = np.random.default_rng(3)
PRECISIONS = {"mma_tf32": "tf32", "mma_bf16": "bf16", "mma_fp16": "fp16", "mma_fp16_short": "fp16"}
EVERY_SHAPE = pytest.mark.parametrize("name", SHAPES)


def encode(values, precision):
    """Words of neighbouring values, by the twins of the card's conversions."""
    if precision == "tf32":
        return np.array([round_tf32.py_func(v) for v in values], np.float32)
    pack = {"bf16": pack_bf16, "fp16": pack_fp16}[precision].py_func
    return np.array([pack(*pair) for pair in np.reshape(values, (-1, 2))], np.float32)


@EVERY_SHAPE
def test_every_value_of_a_matrix_has_one_place(name):
    shape = SHAPES[name]
    a = {shape.a_place(*where) for where in np.ndindex(WARP, shape.a_words, shape.packed)}
    b = {shape.b_place(*where) for where in np.ndindex(WARP, shape.b_words, shape.packed)}
    assert a == {*np.ndindex(ROWS, shape.depth)} and len(a) == WARP * shape.a_words * shape.packed
    assert b == {*np.ndindex(shape.depth, COLUMNS)} and len(b) == WARP * shape.b_words * shape.packed
    assert {sum_place(*where) for where in np.ndindex(WARP, 4)} == {*np.ndindex(ROWS, COLUMNS)}


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_words_hold_the_nearest_values_of_the_format(precision):
    values = np.concatenate([GENERATOR.standard_normal(998), [0.0, -0.0]]).astype(np.float32)
    name = next(name for name, known in PRECISIONS.items() if known == precision)
    decoded = SHAPES[name].decode(encode(values, precision)).reshape(-1)
    np.testing.assert_array_equal(decoded, round_to(values, precision))


def test_ties_of_tf32_go_away_from_zero_and_of_16_bits_to_even():
    """What cvt.rna and cvt.rn do, here with the first of two neighbours even."""
    assert round_tf32.py_func(np.float32(1 + 2**-11)) == np.float32(1 + 2**-10)
    assert round_tf32.py_func(np.float32(-1 - 2**-11)) == np.float32(-1 - 2**-10)
    for pack, bits, name in ((pack_bf16, 7, "mma_bf16"), (pack_fp16, 10, "mma_fp16")):
        word = np.array([pack.py_func(np.float32(1 + 2.0 ** -(bits + 1)), np.float32(1 + 3 * 2.0 ** -(bits + 1)))])
        assert SHAPES[name].decode(word).tolist() == [[1.0, 1 + 2.0 ** (1 - bits)]]


@EVERY_SHAPE
def test_a_warp_multiplies_what_its_lanes_hold(name):
    shape, precision = SHAPES[name], PRECISIONS[name]
    left, right = (round_to(GENERATOR.standard_normal(s), precision) for s in ((ROWS, shape.depth), (shape.depth, 8)))
    before = GENERATOR.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    words = []
    for matrix, count, place in ((left, shape.a_words, shape.a_place), (right, shape.b_words, shape.b_place)):
        held = [matrix[place(*where)] for where in np.ndindex(WARP, count, shape.packed)]
        words.append(encode(held, precision).reshape(WARP, count))
    sums = np.array([before[sum_place(*where)] for where in np.ndindex(WARP, 4)], np.float32).reshape(WARP, 4)
    result, wanted = multiply(name, *words, sums), before + left.astype(np.float64) @ right
    for where in np.ndindex(WARP, 4):
        assert result[where] == np.float32(wanted[sum_place(*where)])


@pytest.mark.parametrize("bits", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FC00000], ids=hex)
def test_no_rounding_makes_a_number_of_what_is_none(bits):
    value = np.array([bits], np.uint32).view(np.float32)[0]
    assert np.isnan(round_tf32.py_func(value))
    for pack, precision in ((pack_bf16, "mma_bf16"), (pack_fp16, "mma_fp16")):
        values = SHAPES[precision].decode(np.array([pack.py_func(value, value)], np.float32))
        assert np.isnan(values).all()
