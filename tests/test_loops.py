"""The textbook loops against the reference, compiled and interpreted, and their speed against a plain convolution."""

import numpy as np
import pytest
from activated import EVERY_ACTIVATION
from geometries import conv_geometry, pool_geometry, random

from helpers import reference
from helpers.engines.loops import LoopOperations
from helpers.geometry import PointwiseGeometry

FORMS = [(True, np.float32), (True, np.float64), (False, np.float32), (False, np.float64)]
CONVOLUTIONS = [
    conv_geometry((1, 5, 6, 2), 3, (3, 3), (1, 1), ("same", "same")),
    conv_geometry((1, 7, 6, 1), 5, (4, 3), (2, 1), ("same", 1)),
    conv_geometry((3, 4, 5, 2), 4, (2, 3, 2), (1, 2, 3), ("same", 2, "valid")),
    conv_geometry((1, 1, 1, 1), 1, (1, 1), (1, 1), ("valid", "valid")),
]
POOLS = [
    ((1, 6, 5, 3), (2, 2), (2, 2), ("valid", "valid")),
    ((1, 7, 6, 2), (3, 2), (1, 2), (2, "same")),
    ((3, 4, 5, 1), (2, 3, 2), (2, 1, 1), (1, "same", 1)),
]


def assert_equal(got, wanted, dtype):
    """Equal to within some rounding errors of the type; wanted in float64."""
    assert got.dtype == dtype
    assert np.linalg.norm(got - wanted) <= 50 * np.finfo(dtype).eps * np.linalg.norm(wanted)
    assert np.linalg.norm(wanted) > 0


@pytest.mark.parametrize("compiled, dtype", FORMS)
@pytest.mark.parametrize("geometry", CONVOLUTIONS)
def test_convolution(geometry, compiled, dtype):
    loops = LoopOperations(compiled)
    arrays = (2, *geometry.in_shape), geometry.weight_shape, (geometry.out_channels,), (2, *geometry.out_shape)
    x, w, b, dy = (random(shape, seed, dtype) for seed, shape in enumerate(arrays))
    wide = [a.astype(np.float64) for a in (x, w, b, dy)]
    assert_equal(loops.conv_forward(x, w, b, geometry), reference.conv_forward(*wide[:3], geometry), dtype)
    expected = reference.conv_input_gradient(wide[3], wide[1], geometry)
    assert_equal(loops.conv_input_gradient(dy, w, geometry), expected, dtype)
    expected = reference.conv_weight_gradient(wide[0], wide[3], geometry)
    for got, wanted in zip(loops.conv_weight_gradient(x, dy, geometry), expected):
        assert_equal(got, wanted, dtype)


@pytest.mark.parametrize("compiled, dtype", FORMS)
@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("case", POOLS)
def test_pool(case, mode, compiled, dtype):
    geometry, loops = pool_geometry(mode, *case), LoopOperations(compiled)
    # rounded, so that windows hold equal cells
    x, dy = random((2, *geometry.in_shape)).round().astype(dtype), random((2, *geometry.out_shape), 1, dtype)
    y, winner = loops.pool_forward(x, geometry)
    expected, expected_winner = reference.pool_forward(x.astype(np.float64), geometry)
    assert_equal(y, expected, dtype)
    assert np.array_equal(winner, expected_winner)
    expected = reference.pool_input_gradient(dy.astype(np.float64), expected_winner, geometry)
    assert_equal(loops.pool_input_gradient(dy, winner, geometry), expected, dtype)


@pytest.mark.parametrize("compiled, dtype", FORMS)
def test_dense_relu_loss_and_update(compiled, dtype):
    loops = LoopOperations(compiled)
    x, w, b, dy = (random(s, i, dtype) for i, s in enumerate([(4, 2, 3), (6, 5), (5,), (4, 5)]))
    labels = np.array([0, 4, 1, 1], np.uint8)
    assert_equal(loops.dense_forward(x, w, b), reference.dense_forward(x, w, b), dtype)
    assert_equal(loops.dense_input_gradient(dy, w), reference.dense_input_gradient(dy, w), dtype)
    for got, wanted in zip(loops.dense_weight_gradient(x, dy), reference.dense_weight_gradient(x, dy)):
        assert_equal(got, wanted, dtype)
    assert_equal(loops.relu_forward(x), reference.relu_forward(x), dtype)
    assert_equal(loops.relu_input_gradient(x, x - 1), reference.relu_input_gradient(x, x - 1), dtype)
    got, wanted = loops.softmax_cross_entropy(dy, labels, 8), reference.softmax_cross_entropy(dy, labels, 8)
    assert_equal(got[0], wanted[0], dtype)
    assert np.array_equal(got[1], wanted[1])
    assert_equal(got[2], wanted[2], dtype)
    results = []
    for operations in (loops, reference):
        parameters, velocity = b.copy(), b.copy()
        operations.sgd_update(parameters, velocity, 2 * b, 0.1, 0.9)
        results.append((parameters, velocity))
    for got, wanted in zip(*results):
        assert_equal(got, wanted, dtype)


@pytest.mark.parametrize("compiled, dtype", FORMS)
@pytest.mark.parametrize("function", EVERY_ACTIVATION, ids=repr)
def test_activation(function, compiled, dtype):
    geometry, loops = PointwiseGeometry(function, (1, 3, 5, 2)), LoopOperations(compiled)
    x, dy = 2 * random((2, *geometry.shape), 0, dtype), random((2, *geometry.shape), 1, dtype)
    y = loops.activation_forward(x, geometry)
    assert_equal(y, reference.activation_forward(x.astype(np.float64), geometry), dtype)
    expected = reference.activation_input_gradient(dy.astype(np.float64), y.astype(np.float64), geometry)
    assert_equal(loops.activation_input_gradient(dy, y, geometry), expected, dtype)


@pytest.mark.parametrize("compiled", [True, False])
def test_nan_passes_through_every_forward_operation(compiled):
    loops = LoopOperations(compiled)
    x = random((1, 1, 4, 4, 1))
    x[0, 0, 1, 1, 0] = np.nan
    for operations in (loops, reference):
        for mode in ("max", "average"):
            geometry = pool_geometry(mode, (1, 4, 4, 1), (2, 2), (2, 2), ("valid", "valid"))
            assert np.isnan(operations.pool_forward(x, geometry)[0][0, 0, 0, 0, 0])
        assert np.isnan(operations.relu_forward(x)[0, 0, 1, 1, 0])
        for function in EVERY_ACTIVATION:
            assert np.isnan(operations.activation_forward(x, PointwiseGeometry(function, (1, 4, 4, 1)))[0, 0, 1, 1, 0])
        assert np.isnan(operations.softmax_cross_entropy(np.array([[1.0, np.nan]]), np.array([0]))[0][0])
