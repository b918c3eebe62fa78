"""The memory plan: tensors that are needed together never overlap, and reuse saves bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.lowering import fuse_relu, lower
from helpers.memory import ALIGNMENT, lifetimes, plan_memory, tensor_bytes
from helpers.network import Network

BLOCKS = [
    (Conv2D(3, 3, padding="same"), ReLU()),
    (Conv2D(2, 2, padding="same"),),
    (MaxPool2D(2, stride=1, padding="same"),),
    (AvgPool2D(2, stride=1), ReLU()),
]


@st.composite
def programs(draw):
    layers = [layer for block in draw(st.lists(st.sampled_from(BLOCKS), max_size=4)) for layer in block]
    program = lower(Network((8, 7, 2), [*layers, Flatten(), Dense(4), ReLU(), Dense(3)]))
    return fuse_relu(program) if draw(st.booleans()) else program


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(1, 130), st.sampled_from([4, 8]), st.booleans())
def test_tensors_needed_together_never_overlap(program, batch_size, itemsize, reuse):
    plan = plan_memory(program, batch_size, itemsize, reuse)
    assert set(plan.placements) == set(program.tensors)
    placements = list(plan.placements.values())
    for i, a in enumerate(placements):
        assert a.offset % ALIGNMENT == 0 and a.end <= plan.size
        for b in placements[i + 1 :]:
            assert (reuse and not a.lives_with(b)) or a.end <= b.offset or b.end <= a.offset


@settings(max_examples=20, deadline=None)
@given(programs())
def test_a_tensor_lives_from_its_making_to_its_last_use(program):
    lives = lifetimes(program)
    for index, op in enumerate(program.ops):
        for name in (*op.inputs, *op.outputs, *((op.mask,) if op.mask else ())):
            assert lives[name][0] <= index <= lives[name][1]


def test_reuse_saves_bytes():
    for network in (lenet5(), vgg_small(), tiny()):
        program = lower(network)
        assert plan_memory(program, 128, reuse=True).size < plan_memory(program, 128).size


def test_purposes_are_the_tensors_bytes():
    program = lower(tiny())
    plan = plan_memory(program, 16, itemsize=8)
    expected = sum(16 * tensor_bytes(tensor, 8) for tensor in program.tensors.values())
    assert sum(plan.purposes.values()) == expected <= plan.size
