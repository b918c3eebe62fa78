"""Kernels of the activations beside ReLU, and the device functions of one value, against float64 NumPy."""

import re

import numpy as np
import pytest
from activated import EVERY_ACTIVATION

from helpers import reference
from helpers.assembly import resources
from helpers.check import check_kernel
from helpers.compiler import compile_ptx, launch
from helpers.geometry import PointwiseGeometry
from helpers.kernels.activation import FACTORIES, activation_forward, production, variants
from helpers.kernels.pointwise import make_activation, make_derivative
from helpers.layers import ReLU
from helpers.lowering import Op

SHAPES = [(1, 1, 1), (1, 31, 1), (8, 4, 1), (3, 11, 1), (2, 3, 4, 6), (37,)]
EACH = pytest.mark.parametrize("function", EVERY_ACTIVATION, ids=repr)
EVERY_KIND = pytest.mark.parametrize("kind", FACTORIES)


def op_of(kind, function, shape):
    return Op(kind, "layer", (), (), PointwiseGeometry(function, shape))


@EACH
@EVERY_KIND
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient(kind, function, batch, shape):
    assert check_kernel(FACTORIES[kind], op_of(kind, function, shape), batch, threads=32) < 100


@EACH
def test_forward_keeps_nan_and_large_values(function):
    x = np.array([1, np.nan, -1, np.nan, 1e5, -1e5], np.float32)
    y = np.zeros_like(x)
    launch(activation_forward(op_of("activation_forward", function, (6,)), 1, threads=32), y, x)
    wanted = reference.activation_forward(x.astype(np.float64), PointwiseGeometry(function, (6,)))
    np.testing.assert_allclose(y, wanted, rtol=1e-6)


@pytest.mark.parametrize("function", [ReLU(), *EVERY_ACTIVATION], ids=repr)
def test_functions_of_one_value_stay_in_float32(function):
    forward, derivative = (make(function).py_func for make in (make_activation, make_derivative))
    for value in np.array([-100, -1, 0, 1e-9, 2, 100], np.float32):
        assert type(forward(value)) is type(derivative(value)) is np.float32
    assert np.isnan(forward(np.float32(np.nan)))


def test_relu_of_one_value():
    forward, derivative = (make(ReLU()).py_func for make in (make_activation, make_derivative))
    values = np.array([-2, -0.0, 0, 3], np.float32)
    assert [forward(v) for v in values] == [0, 0, 0, 3] and [derivative(v) for v in values] == [0, 0, 0, 1]


@pytest.mark.assemble
@EACH
@EVERY_KIND
def test_no_float64_and_no_spill(kind, function):
    op = op_of(kind, function, (3, 3, 4))
    for kernel in [production(op, 2), production(op_of(kind, function, (3, 3, 3)), 1), *variants(op, 2)]:
        for capability in ((7, 5), (9, 0)):
            used = resources(kernel, capability)
            assert used.stack_bytes == used.spill_bytes == 0
        ptx = compile_ptx(kernel, (9, 0))
        assert not re.search(r"\.f64", ptx if isinstance(ptx, str) else ptx.decode())
