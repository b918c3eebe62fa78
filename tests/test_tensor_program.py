"""The program of tensor cores: poolings undone at once, gates beside activations, shapes in tiles, refusals."""

import pytest
from program_checks import check_order

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.layers import (
    ELU,
    AvgPool2D,
    Conv,
    Conv2D,
    Dense,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    Pool,
    ReLU,
    Sigmoid,
    Tanh,
)
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.network import Network
from helpers.tensor_program import image_of, is_unfolded, tensor_program, undo_pooling_at_once

DEEP = Network(
    (4, 6, 6, 9),
    [
        *(Conv(5, (2, 3, 3), (1, 1, 1), ("valid", "same", "same")), ReLU()),
        *(Pool("max", (1, 2, 2), (1, 2, 2), ("valid",) * 3), Conv(33, (1, 2, 2), (1, 1, 1), ("valid",) * 3)),
        *(Flatten(), Dense(40), ReLU(), Dense(3)),
    ],
    name="deep",
)
MLP = Network((5, 4, 3), [Flatten(), Dense(40), ReLU(), Dense(3)], name="mlp")
PROGRAMS = [tensor_program(network) for network in (lenet5(), vgg_small(), DEEP, MLP)]
EVERY_PROGRAM = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.network.name)


def op_of(program, kind, layer):
    (op,) = [op for op in program.ops if (op.kind, op.layer) == (kind, layer)]
    return op


@EVERY_PROGRAM
def test_every_tensor_is_written_once_before_it_is_read(program):
    check_order(program)


@EVERY_PROGRAM
def test_every_operation_is_a_layers_or_the_batchs(program):
    layers = {f"{layer}_{part}" for layer in ("conv", "dense") for part in ("forward", "input_gradient")}
    layers |= {"conv_pool_forward", "conv_weight_gradient", "dense_weight_gradient"}
    assert {op.kind for op in program.ops} <= layers | {"load_batch", "softmax_cross_entropy", "update"}
    named = [p for op in program.ops if op.kind.endswith("weight_gradient") for p in op.parameters]
    assert sorted(named, key=lambda p: p.offset) == list(program.network.parameters)


def test_a_pooling_is_undone_where_its_gradient_is_made():
    fused = fuse_pool(fuse_relu(lower(lenet5())))
    joined = undo_pooling_at_once(fused)
    assert sum(op.kind == "pool_input_gradient" for op in fused.backward) == 2
    assert len(joined.ops) == len(fused.ops) - 2 and joined.forward == fused.forward
    for layer, pool in (("dense1", "pool2"), ("conv2", "pool1")):
        kind = f"{layer[:-1]}_input_gradient"
        op, before = op_of(joined, kind, layer), op_of(fused, kind, layer)
        removed = op_of(fused, "pool_input_gradient", pool)
        assert before.pool is None and op.pool == removed.geometry
        assert op.outputs == removed.outputs and op.mask == removed.mask
        assert op.inputs == (*before.inputs, f"{pool}.winner")
        assert before.outputs[0] in fused.tensors and before.outputs[0] not in joined.tensors


def test_without_a_pooling_nothing_is_joined():
    fused = fuse_pool(fuse_relu(lower(MLP)))
    assert undo_pooling_at_once(fused).ops == fused.ops


@EVERY_PROGRAM
def test_who_closes_gates_writes_them_and_the_gradient_reads_them(program):
    gates = {name for name in program.tensors if name.endswith(".gate")}
    writers = {op.outputs[1]: op for op in program.forward if len(op.outputs) > 1 and op.parameters}
    assert set(writers) == gates and not any(name.endswith(".winner") for name in program.tensors)
    for gate, op in writers.items():
        assert gate == f"{op.outputs[0]}.gate" and (op.activation == "relu" or op.pool)
        (reader,) = [other for other in program.backward if other.mask == gate]
        assert (reader.pool is not None) == (op.pool is not None)
    for op in program.backward:
        if op.kind.endswith("_input_gradient"):
            assert len(op.inputs) == 1 and (op.mask is None or op.mask in gates)


def test_an_activation_that_is_not_there_leaves_no_gate():
    """conv2 of the deep network has none."""
    program = PROGRAMS[2]
    assert op_of(program, "conv_forward", "conv2").outputs == ("conv2",)
    assert op_of(program, "dense_input_gradient", "dense1").mask is None
    assert op_of(program, "dense_forward", "dense1").outputs == ("relu2", "relu2.gate")


def test_shapes_have_channels_in_whole_tiles():
    tensors = PROGRAMS[2].tensors
    assert tensors["input"].shape == (4, 6, 6, 32)
    assert tensors["pool1"].shape == (3, 3, 3, 32) and tensors["pool1"].dtype == "float"
    assert tensors["pool1.gate"].shape == (3, 3, 3, 4) and tensors["pool1.gate"].dtype == "int32"
    assert tensors["d_conv1"].shape == (3, 6, 6, 32)
    assert tensors["conv2"].shape == (3, 2, 2, 64)
    assert tensors["relu2"].shape == (1, 1, 1, 64) and tensors["relu2.gate"].shape == (1, 1, 1, 8)
    assert tensors["dense2"].shape == (1, 1, 1, 32) and tensors["dense2"].dtype == "float32"  # logits
    assert tensors["d_dense2"].dtype == "float"
    assert tensors["labels"].shape == () and tensors["labels"].dtype != "float"


def test_an_input_of_few_channels_lies_unfolded():
    for program, shape in ((PROGRAMS[0], (1, 24, 24, 32)), (PROGRAMS[1], (1, 32, 32, 32))):
        assert program.tensors["input"].shape == shape  # 5 x 5 x 1, 3 x 3 x 3
        unfolded = [(op.kind, op.layer) for op in program.ops if is_unfolded(op)]
        assert {layer for _, layer in unfolded} == {"conv1"} and len(unfolded) == 2
    assert not any(is_unfolded(op) for op in (*PROGRAMS[2].ops, *PROGRAMS[3].ops))


def test_a_first_dense_layer_reads_one_cell():
    assert PROGRAMS[3].tensors["input"].shape == (1, 1, 1, 64)
    assert image_of(MLP, "dense1") == (1, 1, 1, 60)


def test_the_image_of_a_dense_layer():
    assert image_of(lenet5(), "dense1") == (1, 4, 4, 16)
    assert image_of(lenet5(), "dense2") == (1, 1, 1, 120)
    assert image_of(DEEP, "dense1") == (3, 2, 2, 33)
    assert image_of(DEEP, "dense2") == (1, 1, 1, 40)


ADVICE = "choose engine 'layerwise' with precision 'fp32'"
BEHIND = r"tensor cores compute ReLU behind a convolution or a dense layer only"
POOLS = "tensor cores pool behind a convolution only, by the maximum of whole windows without overlap or padding"
REFUSED = {
    "average pooling": ([Conv2D(4, 3), ReLU(), AvgPool2D(2)], f"pool1: {POOLS}; {ADVICE}"),
    "overlapping pooling": ([Conv2D(4, 3), ReLU(), MaxPool2D(3, stride=2)], f"pool1: {POOLS}; {ADVICE}"),
    "padded pooling": ([Conv2D(4, 3), ReLU(), MaxPool2D(2, 2, "same")], f"pool1: {POOLS}; {ADVICE}"),
    "pooling in front": ([MaxPool2D(2), Conv2D(4, 3)], f"pool1: {POOLS}; {ADVICE}"),
    "two poolings": ([Conv2D(4, 1), MaxPool2D(2), MaxPool2D(2)], f"pool2: {POOLS}; {ADVICE}"),
    "leaky ReLU": ([Conv2D(4, 3), LeakyReLU()], f": {BEHIND}; {ADVICE}"),
    "ELU": ([Conv2D(4, 3), ELU()], f": {BEHIND}; {ADVICE}"),
    "tanh": ([Conv2D(4, 3), Tanh(), MaxPool2D(2)], f": {BEHIND}; {ADVICE}"),
    "sigmoid": ([Conv2D(4, 3), MaxPool2D(2), Sigmoid()], f": {BEHIND}; {ADVICE}"),
    "ReLU in front": ([ReLU(), Conv2D(4, 3)], f"relu1: {BEHIND}; {ADVICE}"),
    "two ReLUs": ([Conv2D(4, 3), ReLU(), ReLU()], f"relu2: {BEHIND}; {ADVICE}"),
    "wide windows": (
        [Conv2D(4, 1), ReLU(), MaxPool2D(3)],
        r"conv1: the pooling behind it has windows of \(3, 3\); expected 1, 2 or 4 rows and columns and at most "
        + f"4 cells; {ADVICE}",
    ),
    "three rows": ([Conv2D(4, 1), MaxPool2D((3, 1))], r"conv1: the pooling behind it has windows of \(3, 1\)"),
    "many cells": ([Conv2D(4, 1), MaxPool2D((4, 2))], r"conv1: the pooling behind it has windows of \(4, 2\)"),
}


@pytest.mark.parametrize("layers, message", REFUSED.values(), ids=REFUSED)
def test_what_has_no_kernel_is_refused_in_a_sentence(layers, message):
    with pytest.raises(ValueError, match=message):
        tensor_program(Network((9, 9, 2), [*layers, Flatten(), Dense(3)]))


def test_the_network_of_every_layer_kind_is_refused_by_its_overlapping_pooling():
    with pytest.raises(ValueError, match="pool2: tensor cores pool"):
        tensor_program(tiny())
