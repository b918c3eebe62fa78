"""Exercises of notebook 03: right answers pass, empty shells are not counted as wrong, wrong answers are told where."""

import itertools

import numpy as np
import pytest

from helpers.check import CheckError
from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.order import philox, sample_index
from helpers.kernels.state import EPOCH, SAMPLES, SEED, STEP
from helpers.order import feistel, half_bits, round_keys
from helpers.teaching.exercises import grade
from helpers.teaching.training_exercises import SHIFT, order_cases, schedule_cases, shift_cases
from helpers.trace import TraceError

CASES = {"fix": order_cases, "extend": shift_cases, "beat": schedule_cases}


def broken_order(samples, seed, epoch):
    index = feistel(np.arange(samples, dtype=np.uint32), round_keys(seed, epoch), half_bits(samples))
    return index % samples


def walked_order(samples, seed, epoch):
    keys, bits = round_keys(seed, epoch), half_bits(samples)
    index = feistel(np.arange(samples, dtype=np.uint32), keys, bits)
    while (outside := index >= samples).any():
        index[outside] = feistel(index[outside], keys, bits)
    return index


def shifting(direction=1, per_image=True):
    """Factory of load_batch kernels that move images; direction -1 and per_image False are planted mistakes."""

    def factory(op, batch, shape):
        height, width, channels = shape
        size = height * width * channels

        def body(input, labels, images, all_labels, scale, state):
            lane, i = cuda.blockIdx.x, cuda.threadIdx.x
            position = state[STEP] * batch + lane
            sample = sample_index(position, state[SAMPLES], state[SEED], state[EPOCH])
            zero, who = np.uint64(0), np.uint64(sample if per_image else 0)
            word, _, _, _ = philox(np.uint64(state[EPOCH]), who, zero, zero, np.uint64(state[SEED]), np.uint64(SHIFT))
            column, channel = i // channels % width, i % channels
            source = column - direction * (int(word % np.uint64(3)) - 1)
            value = np.float32(0)
            if 0 <= source < width:
                value = np.float32(images[sample * size + i + (source - column) * channels])
            input[lane * size + i] = value * scale[channel] + scale[channels + channel]
            if i == 0:
                labels[lane] = all_labels[sample]

        return Kernel("load_batch", body, (batch, 1, 1), (size, 1, 1))

    return factory


def in_turns(ops, seconds):
    """Weight gradients take two side streams in turns."""
    side = itertools.cycle((1, 2))
    return [next(side) if op.kind.endswith("_weight_gradient") else 0 for op in ops]


@pytest.mark.parametrize("name, answer", [("fix", walked_order), ("extend", shifting()), ("beat", in_turns)])
def test_right_answers_pass(name, answer, capsys):
    grade(name, answer, CASES[name]())
    assert "solved" in capsys.readouterr().out


@pytest.mark.parametrize("name", CASES)
def test_empty_shells_are_not_attempted(name, capsys):
    def shell(*arguments):
        raise NotImplementedError

    grade(name, shell, CASES[name]())
    assert "not attempted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, answer, message",
    [
        ("fix", broken_order, r"got \d+, wanted \d+"),
        ("fix", lambda samples, seed, epoch: np.arange(samples), r"shape \(16,\), at"),
        ("extend", shifting(direction=-1), "got .* wanted"),
        ("extend", shifting(per_image=False), "got .* wanted"),
        ("beat", lambda ops, seconds: [0] * len(ops), "ends at"),
        ("beat", lambda ops, seconds: [5] * len(ops), "got 5, wanted 0 to 2"),
        ("beat", lambda ops, seconds: [0], "shape"),
    ],
)
def test_wrong_answers_are_told_where(name, answer, message):
    with pytest.raises((CheckError, TraceError), match=message):
        grade(name, answer, CASES[name]())
