"""Loss scaling: sums of scaled gradients against NumPy, their flags, skipped steps, and how the scale changes."""

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.device import SIMULATOR
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.loss_scale import GOOD, IN_USE, LEAST, MOST, NEXT, sum_weight_gradient
from helpers.kernels.tensor.softmax import softmax_cross_entropy
from helpers.kernels.tensor.update import update
from helpers.lowering import Op
from helpers.trace import trace
from tests.kernels.tensor.test_update import FOURS, LAYERS, assert_packed, layers_of, op_of, run

FP16 = format_of("fp16", (7, 5))
SCALE = 256.0
SHAPES = FOURS[1:] + LAYERS[:2]
PLACES = {"source": 0, "splits": (3, 20, 1, 9)}
TILING = {"ahead": 2, "threads": 32}


def summed(gradient, layers, execute=launch):
    """(gradient, flags) after the kernel."""
    kernel = sum_weight_gradient(layers, **TILING)
    gradient, flags = gradient.copy(), np.full(kernel.grid[0], -1, np.int32)
    execute(kernel, gradient, flags, np.array([np.nan, np.nan, SCALE], np.float32))
    return gradient, flags


def random_gradient(length):
    return np.random.default_rng(length).normal(size=length).astype(np.float32)


def split_sums(gradient, layer):
    return gradient[layer.source :][: layer.size * layer.splits].reshape(layer.splits, layer.size)


@pytest.mark.parametrize("execute", [launch, pytest.param(trace, marks=pytest.mark.skipif(
    not SIMULATOR, reason="the tracer runs on the CPU"))])  # fmt: skip
def test_partial_sums_become_gradients_without_the_scale_and_nothing_else_changes(execute):
    layers, _, length, _ = layers_of(SHAPES, 2, PLACES["splits"], PLACES["source"])
    assert {layer.together for layer in layers} == {1, 4}
    before = random_gradient(length)
    after, flags = summed(before, layers, execute)
    assert len(flags) > len(layers) and (flags == 0).all()
    wanted = before.copy()
    for layer in layers:
        sums = split_sums(before, layer).sum(0, dtype=np.float64) / SCALE
        np.testing.assert_allclose(after[layer.source :][: layer.size], sums, rtol=1e-5, atol=1e-7)
        wanted[layer.source :][: layer.size] = after[layer.source :][: layer.size]
    assert np.array_equal(after, wanted)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("number", range(len(SHAPES)))
@pytest.mark.parametrize("where", [0, -1])
def test_one_partial_sum_that_is_not_finite_sets_one_flag(value, number, where):
    layers, _, length, _ = layers_of(SHAPES, 2, PLACES["splits"], PLACES["source"])
    gradient = random_gradient(length)
    split_sums(gradient, layers[number])[where, where] = value
    assert summed(gradient, layers)[1].sum() == 1


def test_finite_partial_sums_whose_sum_overflows_set_a_flag():
    layers, _, length, _ = layers_of(SHAPES, 2, PLACES["splits"], PLACES["source"])
    gradient = random_gradient(length)
    split_sums(gradient, layers[1])[:2, 3] = 3e38
    assert summed(gradient, layers)[1].sum() == 1


def stepped(flagged=None, scale=64.0, good=5, growth=2000, execute=launch):
    """Arrays after and before an update with four flags, one of them set, and its layers."""
    flags = np.zeros(4, np.int32)
    if flagged is not None:
        flags[flagged] = 1
    changed = {"overflows": flags, "loss_scale": np.array([np.nan, good, scale], np.float32)}

    def prepared(kernel, *arrays):
        arrays[-2][:], arrays[-1][:] = changed["overflows"], changed["loss_scale"]
        execute(kernel, *arrays)

    return run(SHAPES, FP16, execute=prepared, growth=growth, **PLACES, **TILING)


@pytest.mark.parametrize("execute", [launch, pytest.param(trace, marks=pytest.mark.skipif(
    not SIMULATOR, reason="the tracer runs on the CPU"))])  # fmt: skip
@pytest.mark.parametrize("flagged", [0, 3])
def test_a_flag_skips_the_step_and_halves_the_scale(flagged, execute):
    """Loss, hits and counters are noted as ever, and a skipped step is no failure."""
    after, before, _ = stepped(flagged, execute=execute)
    for name in ("parameters", "velocity", "packed", "gradient"):
        assert np.array_equal(after[name], before[name]), name
    assert after["loss_scale"][[NEXT, GOOD, IN_USE]].tolist() == [32, 0, 64]
    usual = stepped()[0]
    for name in ("losses", "hits", "state"):
        assert np.array_equal(after[name], usual[name], equal_nan=name == "losses"), name


def test_a_good_step_counts_and_updates():
    after, before, layers = stepped()
    assert after["loss_scale"][[NEXT, GOOD, IN_USE]].tolist() == [64, 6, 64]
    assert (after["parameters"] != before["parameters"]).all()
    assert_packed(after, before, layers, "fp16")


@pytest.mark.parametrize("flagged, scale, good, wanted", [
    (None, 64.0, 1, (64.0, 2)), (None, 64.0, 2, (128.0, 0)), (None, MOST / 2, 2, (MOST, 0)),
    (None, MOST, 2, (MOST, 0)), (None, 2 * MOST, 2, (2 * MOST, 0)), (1, 64.0, 2, (32.0, 0)),
    (1, LEAST, 0, (LEAST, 0)), (1, 2.0**30, 0, (2.0**29, 0)),
])  # fmt: skip
def test_the_scale_doubles_after_good_steps_and_stays_in_its_range(flagged, scale, good, wanted):
    after, _, _ = stepped(flagged, scale, good, growth=3)
    assert (*after["loss_scale"][[NEXT, GOOD]],) == wanted


def test_a_partial_sum_that_is_not_finite_stops_the_whole_step_of_both_kernels():
    layers, size, length, count = layers_of(SHAPES, 2, PLACES["splits"], PLACES["source"])
    for value in (np.inf, np.nan):
        gradient = random_gradient(length)
        split_sums(gradient, layers[1])[2, 5] = value
        gradient, flags = summed(gradient, layers)
        arrays = [random_gradient(size), random_gradient(size), gradient, np.ones(4, np.float32)]
        arrays += [np.zeros(4, np.float32), np.zeros(4, np.int32), np.ones(2, np.float32), np.ones(2, np.int32)]
        arrays += [np.zeros(8, np.int32), np.zeros(count, FP16.storage), flags, np.array([SCALE, 1, SCALE], np.float32)]
        before = [array.copy() for array in arrays]
        launch(update(op_of(size), 2, layers, 0.9, FP16, flags=len(flags), **TILING), *arrays)
        for place in (0, 1, 9):  # parameters, velocity, packed weights
            assert np.array_equal(arrays[place], before[place])
        assert arrays[-1].tolist() == [SCALE / 2, 0, SCALE]


@pytest.mark.assemble
@pytest.mark.parametrize("card", [(7, 5), (9, 0)])
def test_no_spill(card):
    form, kernels = format_of("fp16", card), []
    shapes = [(1, 27, 32, (1, 1, 1)), (9, 32, 32, (1, 3, 3)), (9, 32, 64, (1, 3, 3)), (16, 64, 10, (1, 1, 1))]
    layers, size, _, _ = layers_of(shapes, form.packed, splits=(132, 16, 1), source=0)
    kernels.append(sum_weight_gradient(layers))
    kernels.append(update(op_of(size), 128, layers, 0.9, form, flags=kernels[0].grid[0]))
    kernels.append(softmax_cross_entropy(Op("softmax_cross_entropy", "loss", (), ()), 128, 10, form))
    for kernel in kernels:
        used = resources(kernel, card)
        assert used.stack_bytes == used.spill_bytes == 0, kernel.operation
