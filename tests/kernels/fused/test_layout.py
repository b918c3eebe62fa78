"""The fused kernel's layout of the parameters: each visible one has one cell, and what is read fast is aligned."""

import numpy as np
import pytest
from fused_cases import H100, NETWORKS, POOLED, T4, networks
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.architectures import lenet5
from helpers.kernels.fused.layout import blank_factors, pack, parameter_cells, unpack
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import plan_epoch

SIZES = st.sampled_from([1 << 16, 232448])


def check_layout(plan):
    cells, parameters, copies = parameter_cells(plan)
    count, size = plan.network.parameter_count, plan.parameter_cells
    places = np.concatenate([cells, copies])
    assert len(cells) == count and len(np.unique(places)) == len(places)
    assert places.min() >= 0 and places.max() < size
    vector = 1 + np.arange(count, dtype=np.float32)
    packed = pack(plan, vector)
    assert packed.shape == (size,) and packed.dtype == np.float32
    np.testing.assert_array_equal(unpack(plan, packed), vector)
    np.testing.assert_array_equal(packed[cells], vector)
    np.testing.assert_array_equal(packed[copies], vector[parameters])
    padding = np.ones(size, bool)
    padding[places] = False
    assert not packed[padding].any()


@given(networks(), SIZES)
@settings(max_examples=40, deadline=None)
def test_every_parameter_of_a_random_network_has_one_cell(network, shared_bytes):
    check_layout(plan_epoch(network, 4, Card(5, shared_bytes), 64))


@pytest.mark.parametrize("card", [H100, T4], ids=["H100", "T4"])
@pytest.mark.parametrize("network", [lenet5(), *NETWORKS], ids=lambda network: network.name)
def test_every_parameter_has_one_cell(network, card):
    check_layout(plan_epoch(network, 128, card))


@given(networks())
@settings(max_examples=40, deadline=None)
def test_what_moves_four_at_a_time_is_aligned(network):
    plan = plan_epoch(network, 4, Card(5, 1 << 16), 64)
    assert plan.copied % 4 == plan.resident % 4 == plan.parameter_cells % 4 == plan.factors % 4 == 0
    for layer in plan.dense:
        assert layer.weights % 4 == layer.pitch % 4 == layer.x_factors % 4 == layer.d_factors % 4 == 0
        assert layer.pitch >= layer.outputs
    assert plan.copied <= plan.resident <= plan.parameter_cells


def test_pooled_convolutions_above_the_first_are_held_twice_and_transposed():
    """Copies are in the order (filter, row, column, channel): what one filter reads lies together."""
    plan = plan_epoch(POOLED, 4, Card(5, 1 << 16), 64)
    _, parameters, copies = parameter_cells(plan)
    weight = next(p for p in POOLED.parameters if p.name == "conv2.weight")
    values = np.arange(POOLED.parameter_count, dtype=np.float32)
    expected = np.moveaxis(values[weight.slice].reshape(weight.shape), -1, 0).reshape(-1)
    first = copies.min()
    np.testing.assert_array_equal(pack(plan, values)[first : first + weight.size], expected)
    assert sorted(parameters) == list(range(weight.offset, weight.offset + weight.size))


def test_blank_factors_hold_a_one_behind_each_layers_inputs():
    """It is the input whose weights are the biases; everything else is zero before the first image."""
    plan = plan_epoch(POOLED, 6, Card(5, 1 << 16), 64)
    factors = blank_factors(plan)
    assert factors.shape == (6, plan.factors) and factors.dtype == np.float32
    ones = [layer.x_factors + layer.inputs for layer in plan.dense]
    np.testing.assert_array_equal(np.argwhere(factors == 1), [(n, at) for n in range(6) for at in sorted(ones)])
    assert factors.sum() == 6 * len(ones)
