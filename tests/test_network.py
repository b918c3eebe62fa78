"""Shapes, parameter layout, cost and initialisation of the network description."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.geometry import window_axis
from helpers.initialization import initial_parameters
from helpers.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network


def test_lenet5_is_the_textbook_network():
    network = lenet5()
    assert network.parameter_count == 44426
    assert [s.output_shape for s in network.stages if s.parameters] == [(24, 24, 6), (8, 8, 16), (120,), (84,), (10,)]
    assert network.training_flops == pytest.approx(1.517e6, rel=1e-3)


def test_vgg_small_has_six_convolutions_and_one_dense_layer():
    network = vgg_small()
    weights = [p.shape for p in network.parameters if p.name.endswith("weight")]
    channels = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    assert weights == [*[(1, 3, 3, c, k) for c, k in channels], (2048, 10)]
    assert network.training_flops == pytest.approx(230e6, rel=0.02)


def test_parameters_lie_one_behind_the_other():
    for network in (lenet5(), tiny(), vgg_small()):
        position = 0
        for parameter in network.parameters:
            assert parameter.offset == position
            position += parameter.size
        assert position == network.parameter_count


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.sampled_from(["valid", "same", 0, 1, 2, 3]))
def test_windows_cover_what_the_rule_says(size, window, stride, padding):
    if isinstance(padding, int) and padding >= window:
        with pytest.raises(ValueError, match="padding"):
            window_axis(size, window, stride, padding)
        return
    try:
        outputs, before = window_axis(size, window, stride, padding)
    except ValueError:
        assert size + 2 * (padding if isinstance(padding, int) else 0) < window
        return
    if padding == "same":
        assert outputs == -(-size // stride)
        total = max((outputs - 1) * stride + window - size, 0)
        assert before == total // 2
    else:
        before_and_after = 2 * (padding if padding != "valid" else 0)
        assert outputs == (size + before_and_after - window) // stride + 1


def test_same_padding_is_symmetric_at_stride_1_and_tensorflows_at_stride_2():
    assert window_axis(28, 5, 1, "same") == (28, 2)
    assert window_axis(28, 3, 2, "same") == (14, 0)  # one cell of padding, behind
    assert window_axis(27, 3, 2, "same") == (14, 1)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Conv2D(4, 9), Flatten(), Dense(2)], "conv1 .*a window of 9 does not fit an axis of 8"),
        ([Dense(2)], "dense1 .*Flatten"),
        ([Flatten(), ReLU()], "last layer must be Dense"),
        ([Flatten(), MaxPool2D(2), Dense(2)], "pool1 does not fit"),
        (["conv", Flatten(), Dense(2)], "no layer description"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(layers, words):
    with pytest.raises(ValueError, match=words):
        Network((8, 8, 3), layers)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv2D(0, 3),
        lambda: Conv2D(4, (3, 0)),
        lambda: MaxPool2D((2, 2, 2)),
        lambda: Network((8, 8), [Dense(1)]),
    ],
)
def test_nonsense_is_refused_with_what_was_expected(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_summary_lists_every_layer_and_the_sums():
    table = tiny().summary()
    assert list(table.index) == [*(s.name for s in tiny().stages), "total"]
    assert table.loc["total", "parameters"] == tiny().parameter_count


def test_average_pooling_keeps_the_channels():
    network = Network((7, 5, 3), [AvgPool2D(3, stride=2, padding=1), Flatten(), Dense(2)])
    assert network.stages[0].output_shape == (4, 3, 3)


def test_initial_parameters_follow_he_and_glorot():
    network = Network((16, 16, 4), [Conv2D(64, 3), ReLU(), Flatten(), Dense(10)])
    vector = initial_parameters(network, seed=3)
    conv, conv_bias, dense, dense_bias = (vector[p.slice] for p in network.parameters)
    assert conv.std() == pytest.approx(np.sqrt(2 / 36), rel=0.05)
    limit = np.sqrt(6 / (network.parameters[2].fan_in + 10))
    assert np.abs(dense).max() <= limit
    assert np.abs(dense).max() > 0.99 * limit
    assert not conv_bias.any()
    assert not dense_bias.any()
    assert np.array_equal(vector, initial_parameters(network, seed=3))
    assert not np.array_equal(vector, initial_parameters(network, seed=4))
