"""Lowering is a topological order of a training step, and fusion keeps what it computes."""

import pytest

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.layers import AvgPool2D, Conv2D, Dense, Flatten, ReLU
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.network import Network

NETWORKS = [
    lenet5(),
    vgg_small(),
    tiny(),
    Network((6, 6, 1), [Flatten(), Dense(3)], name="linear"),
    Network((6, 6, 1), [ReLU(), Conv2D(2, 3), AvgPool2D(2), ReLU(), ReLU(), Flatten(), Dense(3)], name="odd"),
]


def fused(program):
    return fuse_pool(fuse_relu(program))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
@pytest.mark.parametrize("transform", [lambda p: p, fuse_relu, fused], ids=["lowered", "relu", "pool"])
def test_every_tensor_is_written_once_before_it_is_read(network, transform):
    program = transform(lower(network))
    written = set()
    for op in program.ops:
        read = {*op.inputs, *([op.mask] if op.mask else [])}
        assert read <= written, f"{op.kind} of {op.layer} reads {read - written} too early"
        assert not written & set(op.outputs)
        written |= set(op.outputs)
    assert written == set(program.tensors)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_every_parameter_gets_one_gradient(network):
    for program in (lower(network), fused(lower(network))):
        named = [p for op in program.ops if op.kind.endswith("weight_gradient") for p in op.parameters]
        assert sorted(named, key=lambda p: p.offset) == list(network.parameters)


def test_relu_costs_no_operation_where_a_neighbour_takes_it():
    kinds = [op.kind for op in fuse_relu(lower(lenet5())).ops]
    assert not any(kind.startswith("relu") for kind in kinds)


def test_a_replaced_operation_stays_unfused():
    program = fuse_relu(lower(lenet5()), keep=frozenset({"conv_forward"}))
    convolutions = [op for op in program.ops if op.kind == "conv_forward"]
    assert all(op.activation is None for op in convolutions)
    assert sum(op.kind == "relu_forward" for op in program.ops) == 2


def test_a_relu_without_a_fusable_neighbour_stays():
    kinds = [op.kind for op in fuse_relu(lower(NETWORKS[-1])).ops]
    assert "relu_forward" in kinds


def test_the_first_layer_with_weights_makes_no_input_gradient():
    backward = lower(lenet5()).backward
    assert backward[-1].kind == "conv_weight_gradient"
    assert not any(op.layer == "conv1" and op.kind == "conv_input_gradient" for op in backward)
