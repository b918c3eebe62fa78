"""The gradient check: it passes what is right, raises on what is wrong, and refuses what would prove nothing."""

import numpy as np
import pytest

from helpers.check import CheckError
from helpers.teaching.gradient_check import ALLOWED, check_gradient, numerical_gradient

RANDOM = np.random.default_rng(0)
X, DY = RANDOM.standard_normal((3, 4)), RANDOM.standard_normal((3, 4))


def test_numerical_gradient_of_known_slopes():
    assert np.allclose(numerical_gradient(np.sin, X, DY, [0, 5]), (DY * np.cos(X)).flat[[0, 5]], atol=1e-9)


def test_a_right_gradient_passes_and_its_input_stays():
    before = X.copy()
    assert 0 < check_gradient(np.sin, X, DY * np.cos(X), DY) < ALLOWED
    assert np.array_equal(X, before)


@pytest.mark.parametrize("wrong", [DY, -DY * np.cos(X), DY * np.cos(X) + 1e-4, np.full_like(X, np.nan)])
def test_a_wrong_gradient_raises(wrong):
    with pytest.raises(CheckError, match="got .* wanted"):
        check_gradient(np.sin, X, wrong, DY)


def test_a_lost_transpose_shows():
    w = RANDOM.standard_normal((4, 4))
    with pytest.raises(CheckError):
        check_gradient(lambda x: x @ w, X, DY @ w, DY)


def test_float32_is_refused():
    with pytest.raises(ValueError, match="expected float64"):
        check_gradient(np.sin, X.astype(np.float32), DY, DY)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="equal shapes"):
        check_gradient(np.sin, X, DY.T, DY)


def test_zero_slopes_prove_nothing():
    with pytest.raises(ValueError, match="not 0"):
        check_gradient(np.zeros_like, X, np.zeros_like(X), DY)
