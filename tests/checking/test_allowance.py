"""The allowed error is wide enough for any order of a float32 sum, and too narrow for a missing or a wrong product."""

import numpy as np
import pytest

from helpers import reference
from helpers.check import CheckError, check_close
from helpers.checking.oracle_cases import Draw, float32_allowance, make_case
from helpers.checking.shape_classes import shape_classes

TERMS, CELLS = 128 * 24 * 24, 50  # a weight of lenet5's first convolution at batch 128, and how many such sums


def draw_products(terms, gate=False):
    """Products of two random float32 operands as the cases draw them, (terms, CELLS) float64; `gate` zeroes half."""
    draw = Draw(np.random.default_rng(terms), terms, reference)
    a, b = draw.images((CELLS,)), draw.images((CELLS,))
    return a * (np.maximum(b - 0.3, 0.0) if gate else b)


def allowance(products):
    scale = np.sqrt((products**2).sum(axis=0))
    return float32_allowance(scale, len(products), products.sum(axis=0))


ORDERS = {
    "forward": lambda p: p,
    "backward": lambda p: p[::-1],
    "strided": lambda p: np.concatenate([p[i::7] for i in range(7)]),
    "blocks": lambda p: np.add.accumulate(p.reshape(len(p) // 64, 64, CELLS), axis=1)[:, -1],
}


def sequential_sum(products):
    """float32 sum over the first axis, one product after the other."""
    return np.add.accumulate(products, axis=0, dtype=np.float32)[-1]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("centred", [False, True])
def test_a_sequential_float32_sum_lies_within_it(order, centred):
    products = draw_products(TERMS)
    if centred:
        products = (products - products.mean(axis=0)).astype(np.float32).astype(np.float64)
    got = sequential_sum(ORDERS[order](products.astype(np.float32)))
    assert 0.1 < check_close(got, products.sum(axis=0), order, allowance(products)) < 100


def test_positive_sums_that_grow_steadily_lie_within_it():
    products = np.abs(draw_products(TERMS))
    assert (
        check_close(sequential_sum(products.astype(np.float32)), products.sum(axis=0), "sum", allowance(products)) < 100
    )


def test_gated_products_lie_within_it():
    products = draw_products(TERMS, gate=True)
    assert (
        check_close(sequential_sum(products.astype(np.float32)), products.sum(axis=0), "sum", allowance(products)) < 100
    )


@pytest.mark.parametrize("terms", [1, 2, 25, 1_000, 20_000])
def test_a_missing_product_of_average_size_lies_outside(terms):
    products = draw_products(terms)
    assert np.all(np.abs(products).mean(axis=0) > allowance(products))


class Altered:
    """helpers.reference on altered operands: `alter` changes the array at `position`, as a wrong kernel reads it."""

    def __init__(self, position, alter):
        self.position, self.alter = position, alter

    def __getattr__(self, name):
        def run(*arguments):
            arrays = list(arguments)
            arrays[self.position] = self.alter(arrays[self.position])
            return getattr(reference, name)(*arrays)

        return run


def shift(array):
    """Every cell read at an index one too low."""
    return np.roll(array, 1)


def forget(array):
    """One cell of average size read as 0."""
    result = array.copy()
    result.flat[np.argmin(np.abs(np.abs(result) - np.abs(result).mean()))] = 0.0
    return result


@pytest.mark.parametrize("alter", [shift, forget])
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    "kind",
    [f"{layer}_{part}" for layer in ("conv", "dense") for part in ("forward", "input_gradient", "weight_gradient")],
)
def test_wrong_operands_are_caught(kind, position, alter):
    for name, (op, batch) in shape_classes(kind, tile=8).items():
        if name == "one":
            continue  # one cell: there is nothing to shift
        exact, wrong = make_case(op, batch), make_case(op, batch, reference=Altered(position, alter))
        with pytest.raises(CheckError):
            for output, wanted in exact.wanted.items():
                check_close(wrong.wanted[output].astype(np.float32), wanted, output, exact.allowed[output])
