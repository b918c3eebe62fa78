"""Rounding to fewer bits: against torch's and NumPy's own conversions, and in the operations that tensor cores run."""

import numpy as np
import pytest

from helpers import reference
from helpers.agreement import agreement_bound
from helpers.architectures import tiny
from helpers.engines.vectorized import VectorizedEngine, operations
from helpers.geometry import DenseGeometry
from helpers.optimizers import SGD
from helpers.rounding import PRECISIONS, perturbed_operations, round_to, rounded_operations

VALUES = (np.random.default_rng(0).normal(size=(64, 50)) * 10.0 ** np.arange(-4, 1).repeat(10)).astype(np.float32)


def test_bf16_and_fp16_are_the_known_formats(torch):
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        np.testing.assert_array_equal(round_to(VALUES, precision), torch.from_numpy(VALUES).to(dtype).float().numpy())


def test_tf32_keeps_ten_bits_and_rounds_ties_to_even():
    ulp = np.float32(2.0**-10)
    halves = np.array([1 + 0.5 * ulp, 1 + 1.5 * ulp, -1 - 0.5001 * ulp, 1 + ulp], np.float32)
    np.testing.assert_array_equal(round_to(halves, "tf32"), np.array([1, 1 + 2 * ulp, -1 - ulp, 1 + ulp], np.float32))
    gap = np.abs(round_to(VALUES, "tf32") - VALUES)
    assert 0.4 * ulp < np.max(gap / np.abs(VALUES)) <= 0.5 * ulp


@pytest.mark.parametrize("precision", PRECISIONS)
def test_operations_round_their_operands_only(precision):
    generator = np.random.default_rng(1)
    x, w, b = (generator.normal(size=s).astype(np.float32) for s in ((5, 7), (7, 3), (3,)))
    dy, geometry = generator.normal(size=(5, 3)).astype(np.float32), DenseGeometry(7, 3)
    made = rounded_operations(operations(), precision)
    rx, rw, rdy = (round_to(a, precision) for a in (x, w, dy))
    store = (lambda y: y) if precision == "tf32" else (lambda y: round_to(y, precision))
    np.testing.assert_array_equal(made.dense_forward(x, w, b, geometry), store(reference.dense_forward(rx, rw, b)))
    np.testing.assert_array_equal(made.dense_input_gradient(dy, w), store(reference.dense_input_gradient(rdy, rw)))
    for got, wanted in zip(made.dense_weight_gradient(x, dy), reference.dense_weight_gradient(rx, rdy)):
        np.testing.assert_array_equal(got, store(wanted) if wanted.ndim == 2 else wanted)
    assert np.any(made.dense_forward(x, w, b) != reference.dense_forward(x, w, b))


def test_perturbed_operands_are_off_by_the_error_and_anew_each_time():
    generator, error = np.random.default_rng(1), 2.0**-12
    x, w, b = np.ones((4, 6), np.float32), np.eye(6, dtype=np.float32), np.zeros(6, np.float32)
    made = perturbed_operations(operations(), error, np.random.default_rng(0))
    first, second = (made.dense_forward(x, w, b, DenseGeometry(6, 6)) for _ in range(2))
    gap = np.abs(first - 1)
    assert error < gap.max() <= 2.01 * error and gap.min() < 0.5 * error and first.dtype == np.float32
    assert np.all(first != second)
    dy = generator.normal(size=(4, 6)).astype(np.float32)
    _, db = made.dense_weight_gradient(x, dy)
    np.testing.assert_allclose(db, dy.sum(axis=0), rtol=1e-2)


def test_fast_algorithms_may_err_more_but_not_as_much_as_tf32(toy):
    network, bounds = tiny(), {}
    for name, options in (("direct", {}), ("fast", {"fast_algorithms": True})):
        exact, bounds[name] = agreement_bound(network, SGD(0.01, 0.9), toy, 16, 0, 5, **options)
    tf32 = VectorizedEngine(network, SGD(0.01, 0.9), 16, "fp32", 0, processes=1)
    tf32.operations = rounded_operations(tf32.operations, "tf32")
    tf32.load(toy)
    gap = np.abs(tf32.train(0, 1, 5)[0] - exact)
    assert np.all(bounds["direct"] < bounds["fast"]) and np.all(gap[:3] > bounds["fast"][:3])


def test_fewer_bits_allow_more(toy):
    network, bounds = tiny(), {}
    for precision in ("fp32", "tf32", "fp16", "bf16"):
        exact, bounds[precision] = agreement_bound(network, SGD(0.01, 0.9), toy, 16, 0, 10, precision)
        assert np.all(np.diff(bounds[precision]) >= -1e-6) and np.all(bounds[precision] < 0.1 * exact)
    assert bounds["fp32"][-1] < bounds["tf32"][-1] < bounds["bf16"][-1] and bounds["fp32"][-1] < bounds["fp16"][-1]


@pytest.fixture
def toy():
    from toy_data import ToyDataset

    return ToyDataset(tiny().input_shape, samples=16 * 10)


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="precision is 'fp8'; expected 'tf32', 'bf16', 'fp16'"):
        round_to(VALUES, "fp8")
