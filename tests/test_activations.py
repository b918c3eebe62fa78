"""Activations beside ReLU: what a description accepts, how it is placed and lowered, and the oracle's formulas."""

import json

import numpy as np
import pytest
from activated import ACTIVATED, EVERY_ACTIVATION
from geometries import random

from helpers import reference
from helpers.checkpoint import build_network, describe_network
from helpers.geometry import PointwiseGeometry
from helpers.initialization import initial_parameters
from helpers.layers import ACTIVATIONS, ELU, Conv2D, Dense, Flatten, LeakyReLU, ReLU, Sigmoid, Tanh
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.network import Network

EACH = pytest.mark.parametrize("function", [*EVERY_ACTIVATION, LeakyReLU(0), LeakyReLU(1), ELU(3)], ids=repr)


def geometry_of(function, shape=(1,)):
    return PointwiseGeometry(function, shape)


@pytest.mark.parametrize("slope", [-0.1, 1.5, float("nan"), float("inf"), "0.1", None, True])
def test_a_slope_that_is_none_is_named(slope):
    with pytest.raises(ValueError, match="^slope is .*; expected a number from 0 to 1$"):
        LeakyReLU(slope)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf"), 1e300, 1e-60, "1", None, True])
def test_an_alpha_that_is_none_is_named(alpha):
    with pytest.raises(ValueError, match="^alpha is .*; expected a number above 0 that float32 holds$"):
        ELU(alpha)


def test_constants_may_be_numbers_of_numpy():
    assert LeakyReLU(np.float32(0.25)) == LeakyReLU(0.25) and ELU(np.int64(2)) == ELU(2.0)
    assert {type(LeakyReLU(np.float32(0.25)).slope), type(ELU(2).alpha)} == {float}


def test_the_list_names_every_one_but_relu():
    assert {type(function) for function in EVERY_ACTIVATION} == set(ACTIVATIONS)
    assert (LeakyReLU().slope, ELU().alpha) == (0.01, 1.0)


def test_stages_and_summary():
    network = ACTIVATED["leaky relu, elu and sigmoid"]
    stages = {stage.name: stage for stage in network.stages if isinstance(stage.layer, ACTIVATIONS)}
    assert list(stages) == ["leaky_relu1", "elu1", "leaky_relu2", "sigmoid1", "elu2"]
    first = stages["leaky_relu1"]
    assert first.geometry == PointwiseGeometry(LeakyReLU(0.25), (7, 6, 3))
    assert first.input_shape == first.output_shape == (7, 6, 3) and first.macs == 0 and not first.parameters
    assert [s.name for s in ACTIVATED["tanh"].stages if isinstance(s.layer, Tanh)] == ["tanh1", "tanh2"]
    table = network.summary()
    assert table.loc["sigmoid1", "output bytes"] == 4 * 6 and table.loc["sigmoid1", "parameters"] == 0


@pytest.mark.parametrize("network", ACTIVATED.values(), ids=ACTIVATED)
@pytest.mark.parametrize("transform", [lambda p: p, lambda p: fuse_pool(fuse_relu(p))], ids=["lowered", "fused"])
def test_each_is_two_operations_that_no_pass_takes(network, transform):
    program = transform(lower(network))
    for stage in network.stages:
        if isinstance(stage.layer, ACTIVATIONS):
            forward, gradient = [op for op in program.ops if op.layer == stage.name]
            assert (forward.kind, forward.outputs) == ("activation_forward", (stage.name,))
            assert (gradient.kind, gradient.inputs) == ("activation_input_gradient", (f"d_{stage.name}", stage.name))
            assert gradient.outputs == (f"d_{forward.inputs[0]}",)
            assert forward.geometry == gradient.geometry == stage.geometry
            assert forward.activation is gradient.mask is None


def test_a_relu_before_another_activation_keeps_its_own_gradient():
    layers = [Flatten(), Dense(4), Dense(4), ReLU(), LeakyReLU(), Dense(3)]
    program = fuse_relu(lower(Network((4, 4, 1), layers)))
    assert [op.activation for op in program.forward if op.layer == "dense2"] == ["relu"]
    kinds = {op.kind: op for op in program.backward}
    assert "relu_input_gradient" in kinds and kinds["activation_input_gradient"].mask is None


def test_behind_flatten_the_tensor_is_still_an_image():
    program = lower(Network((4, 5, 2), [Conv2D(3, 2), Flatten(), ELU(), Sigmoid(), Dense(3)]))
    assert program.tensors["elu1"].shape == program.tensors["d_sigmoid1"].shape == (3, 4, 3)


def test_no_gradient_where_nothing_before_it_learns():
    program = lower(Network((4, 4, 1), [Tanh(), Flatten(), Dense(3)]))
    assert not any(op.kind == "activation_input_gradient" for op in program.ops)


@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(function, dtype):
    x = np.concatenate([np.linspace(-30, 30, 121), [-1e-9, 1e-9]]).astype(dtype)
    wide = x.astype(np.longdouble)
    wanted = {
        LeakyReLU: lambda: np.where(wide > 0, wide, dtype(getattr(function, "slope", 0)) * wide),
        ELU: lambda: np.where(wide > 0, wide, getattr(function, "alpha", 0) * np.expm1(wide)),
        Sigmoid: lambda: 1 / (1 + np.exp(-wide)),
        Tanh: lambda: np.tanh(wide),
    }[type(function)]()
    y = reference.activation_forward(x, geometry_of(function))
    assert y.dtype == dtype and np.all(np.diff(y[:121]) >= 0)
    np.testing.assert_allclose(y, wanted.astype(np.float64), rtol=4 * np.finfo(dtype).eps)
    assert reference.activation_input_gradient(x, y, geometry_of(function)).dtype == dtype


@EACH
def test_finite_differences(function):
    x, dy, step = 2 * random((4, 31)), random((4, 31), 1), 1e-6
    geometry = geometry_of(function, (31,))
    after, before = (reference.activation_forward(x + sign * step, geometry) for sign in (1, -1))
    dx = reference.activation_input_gradient(dy, reference.activation_forward(x, geometry), geometry)
    assert np.abs(x).min() > step and np.linalg.norm(dx) > 0
    np.testing.assert_allclose(dx, dy * (after - before) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "function, at_zero, derivative",
    [(LeakyReLU(0.25), 0, 0.25), (ELU(0.75), 0, 0.75), (Sigmoid(), 0.5, 0.25), (Tanh(), 0, 1)],
)
def test_at_zero(function, at_zero, derivative):
    y = reference.activation_forward(np.zeros(1), geometry_of(function))
    assert y.tolist() == [at_zero]
    assert reference.activation_input_gradient(np.ones(1), y, geometry_of(function)).tolist() == [derivative]


@pytest.mark.filterwarnings("error")
@EACH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_values_neither_warn_nor_overflow_and_nan_stays_nan(function, dtype):
    x = np.array([-1e5, 1e5, np.nan], dtype)
    y = reference.activation_forward(x, geometry_of(function))
    assert np.isfinite(y[:2]).all() and np.isnan(y[2])
    assert np.isfinite(reference.activation_input_gradient(np.ones_like(y), y, geometry_of(function))[:2]).all()


@pytest.mark.parametrize("network", ACTIVATED.values(), ids=ACTIVATED)
def test_a_checkpoint_keeps_them(network):
    assert build_network(json.loads(json.dumps(describe_network(network)))) == network


def standard_deviation(function):
    network = Network((16, 16, 4), [Conv2D(64, 3), function, Flatten(), Dense(10)])
    return initial_parameters(network, seed=3)[network.parameters[0].slice].std()


def test_initial_weights_follow_the_activation_behind_them():
    he, glorot = np.sqrt(2 / 36), np.sqrt(2 / (36 + 9 * 64))
    assert standard_deviation(ReLU()) == standard_deviation(LeakyReLU(0)) == standard_deviation(ELU())
    assert standard_deviation(ReLU()) == pytest.approx(he, rel=0.05)
    assert standard_deviation(LeakyReLU(1)) == pytest.approx(standard_deviation(ReLU()) / np.sqrt(2), rel=1e-6)
    for function in (Tanh(), Sigmoid()):
        assert standard_deviation(function) == pytest.approx(glorot, rel=0.05)
