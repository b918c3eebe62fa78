"""JAX's max-pooling for bf16: values and gradient of any window, against the NumPy reference."""

import numpy as np
import pytest
from geometries import pool_geometry, pools, random
from hypothesis import example, given, settings

from helpers.engines.jax import max_of_cells
from helpers.reference import pool_forward, pool_input_gradient

BATCH = 2


@settings(max_examples=15, deadline=None)
@given(pools("max"))
@example(pool_geometry("max", (1, 7, 6, 3), (3, 2), (2, 1), (1, "same")))
@example(pool_geometry("max", (4, 5, 6, 2), (2, 2, 2), (2, 2, 2), ("valid",) * 3))
def test_the_maximum_of_cells_is_pooling_and_its_first_winner_gets_the_gradient(geometry):
    jax = pytest.importorskip("jax")
    x = np.round(random((BATCH, *geometry.in_shape), dtype=np.float32))  # rounded: many cells are equal
    y, winner = pool_forward(x, geometry)
    dy = np.round(8 * random(y.shape, seed=1, dtype=np.float32))  # whole numbers: float32 adds them exactly
    got, gradient = jax.vjp(lambda x: max_of_cells(x, geometry, 3), x)
    np.testing.assert_array_equal(np.asarray(got), y)
    np.testing.assert_array_equal(np.asarray(gradient(dy)[0]), pool_input_gradient(dy, winner, geometry))
