"""Lowering is a topological order of a training step, and fusion keeps what it computes."""

import pytest
from program_checks import check_order

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.layers import ELU, AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Tanh
from helpers.lowering import fuse_activations, fuse_pool, fuse_relu, lower
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
    check_order(transform(lower(network)))


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


def test_every_activation_is_fused_where_kernels_can_compute_it():
    """Into the operations around it, with its derivative at the pooled output; a second one in a row stays."""
    shape, layers = (6, 6, 1), [Conv2D(2, 3), Tanh(), MaxPool2D(2), Conv2D(3, 2), ELU(0.5), ReLU(), Flatten(), Dense(3)]
    program = fuse_pool(fuse_activations(lower(Network(shape, layers))))
    assert [(op.kind, op.activation) for op in program.forward[1:]] == [
        ("conv_pool_forward", Tanh()), ("conv_forward", ELU(0.5)), ("relu_forward", None), ("dense_forward", None),
    ]  # fmt: skip
    masks = {op.layer: (op.kind, op.mask, op.gate) for op in program.backward if op.mask}
    assert masks == {"pool1": ("pool_input_gradient", "pool1", Tanh())}
    kinds = [op.kind for op in program.backward]
    assert [kind for kind in kinds if kind in ("relu_input_gradient", "activation_input_gradient")] == [
        "relu_input_gradient", "activation_input_gradient",
    ]  # fmt: skip
    assert fuse_relu(lower(Network(shape, [Conv2D(2, 3), Tanh(), Flatten(), Dense(3)]))).forward[1].activation is None


def test_a_max_pooling_joins_only_whole_windows():
    layers = [MaxPool2D(2, 2, "same"), Flatten(), Dense(3)]
    for size, kind in ((4, "conv_pool_forward"), (5, "conv_forward")):
        program = fuse_pool(fuse_relu(lower(Network((size, size, 1), [Conv2D(2, 1), *layers]))))
        assert program.forward[1].kind == kind


def test_the_first_layer_with_weights_makes_no_input_gradient():
    backward = lower(lenet5()).backward
    assert backward[-1].kind == "conv_weight_gradient"
    assert not any(op.layer == "conv1" and op.kind == "conv_input_gradient" for op in backward)
