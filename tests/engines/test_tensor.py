"""Engine tensor against the float64 oracle: the same losses within the rounding of each format, states bit for bit."""

from functools import cache

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import lenet5, vgg_small
from helpers.checkpoint import load_checkpoint, save_checkpoint
from helpers.device import SIMULATOR, capability, gpu_available
from helpers.engines import make_engine
from helpers.engines.vectorized import VectorizedEngine
from helpers.layers import AvgPool2D, Conv, Conv2D, Dense, Flatten, MaxPool2D, Pool, ReLU
from helpers.network import Network
from helpers.optimizers import SGD
from helpers.rounding import rounded_operations

BATCH, STEPS = 4, 3
OPTIMIZER = SGD(0.05, momentum=0.9)
PRECISIONS = ("bf16", "fp16", "tf32", "3xtf32")
PARAMETERS = {"bf16": 0.02, "fp16": 2e-3, "tf32": 2e-3, "3xtf32": 1e-4}  # of the norm of parameters and velocity
LOGITS = {"bf16": 0.05, "fp16": 5e-3, "tf32": 5e-3, "3xtf32": 1e-4}
VALID = ("valid",) * 3
NETWORKS = {
    "pooled": Network(
        (4, 5, 2),
        [
            *(Conv2D(3, 3, padding="same"), ReLU(), MaxPool2D(2), Conv2D(5, (1, 2)), ReLU()),
            *(Flatten(), Dense(33), ReLU(), Dense(3)),
        ],
    ),
    "stride 2": Network(
        (5, 7, 3),
        [
            *(Conv2D(4, 3, padding="same"), ReLU(), Conv2D(35, 3, stride=2, padding="same"), ReLU(), MaxPool2D(2)),
            *(Flatten(), Dense(3)),
        ],
    ),
    "dense": Network((5, 4, 3), [Flatten(), Dense(34), ReLU(), Dense(3)]),
    "three axes": Network(
        (3, 4, 4, 9),
        [
            *(Conv(5, (2, 2, 3), (1, 1, 1), ("valid", "same", "same")), ReLU()),
            *(Pool("max", (1, 2, 2), (1, 2, 2), VALID), Conv(3, (2, 1, 2), (1, 1, 1), VALID), Flatten(), Dense(3)),
        ],
    ),
    "5x5, stride 2": Network(
        (5, 5, 17), [Conv2D(17, 5, stride=2, padding="same"), ReLU(), Conv2D(3, 2), ReLU(), Flatten(), Dense(3)]
    ),
}


@cache
def dataset_for(network):
    return ToyDataset(network.input_shape, network.classes, BATCH * STEPS)


def made(network, precision, dataset=None, optimizer=OPTIMIZER, batch=BATCH, seed=0, **options):
    engine = make_engine("tensor", network, optimizer, batch, precision, seed, **options)
    engine.load(dataset or dataset_for(network))
    return engine


def oracle_of(network, precision="3xtf32"):
    """In float64; in a reduced precision with rounded operands, whose activations take the same branches."""
    arithmetic = "fp64" if precision == "3xtf32" else "fp32"
    engine = VectorizedEngine(network, OPTIMIZER, BATCH, arithmetic, 0, processes=1)
    if precision != "3xtf32":
        engine.operations = rounded_operations(engine.operations, precision)
    engine.load(dataset_for(network))
    return engine


def bound_of(network, dataset, precision, batch=BATCH, steps=STEPS, optimizer=OPTIMIZER):
    """3xtf32 counts as float32, by products that err a little more."""
    three = precision == "3xtf32"
    return agreement_bound(network, optimizer, dataset, batch, 0, steps, "fp32" if three else precision, three)


def check_training(network, precision, steps=STEPS):
    """Losses within the bound; parameters, velocity and logits as the oracle's."""
    engine, oracle, data = made(network, precision), oracle_of(network, precision), dataset_for(network)
    losses = engine.train(0, 1, steps)[0]
    reference, bound = bound_of(network, data, precision, steps=steps)
    check_agreement(losses, reference, bound, f"tensor {precision}")
    assert steps == 1 or np.ptp(reference) > 0.01  # something was learned
    oracle.train(0, 1, steps)
    for slot in ("parameters", "velocity"):
        ours, theirs = engine.state()[slot], oracle.state()[slot]
        assert np.linalg.norm(ours - theirs) <= PARAMETERS[precision] * np.linalg.norm(theirs) > 0, slot
    images = data.test_images[: BATCH + 1]
    ours, theirs = engine.predict(images), oracle.predict(images)
    assert ours.shape == theirs.shape == (len(images), 3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=LOGITS[precision] * np.abs(theirs).max())


@pytest.mark.parametrize("precision", ["bf16", "fp16", "3xtf32"])
def test_small_networks_train_as_the_oracle_does(precision):
    check_training(NETWORKS["pooled"], precision, steps=1 if precision == "3xtf32" else 2)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_dense_networks_train_as_the_oracle_does(precision):
    check_training(NETWORKS["dense"], precision)


@pytest.mark.parametrize("name", ["stride 2", "three axes", "5x5, stride 2"])
def test_networks_of_strides_and_three_axes_train_as_the_oracle_does(name):
    """In fp16: neighbours in a pooling window whose bf16 is the same would have another winner in the oracle."""
    check_training(NETWORKS[name], "fp16", steps=1)


def test_reduced_precision_is_no_float32_in_disguise():
    network = NETWORKS["dense"]
    reference, bound = bound_of(network, dataset_for(network), "3xtf32")
    with pytest.raises(AssertionError, match="tensor disagrees at step"):
        check_agreement(made(network, "bf16").train(0, 1, STEPS)[0], reference, bound, "tensor")


def test_evaluation_counts_every_image_of_a_split_once():
    network = NETWORKS["dense"]
    engine, oracle = made(network, "3xtf32", batch=12), oracle_of(network)
    assert len(dataset_for(network).test_images) % 12
    oracle.load_state(engine.state())
    got, wanted = engine.evaluate("test"), oracle.evaluate("test")
    assert got["accuracy"] == wanted["accuracy"]
    assert got["loss"] == pytest.approx(wanted["loss"], rel=1e-5)


def assert_equal_states(left, right):
    assert list(left) == list(right)
    for name in left:
        assert np.array_equal(left[name], right[name]), name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_runs_are_bit_equal_and_a_state_goes_on_bit_for_bit(precision):
    """Weights are packed anew from the state as the update packs them."""
    network = NETWORKS["dense"]
    whole, again, resumed = (made(network, precision) for _ in range(3))
    losses = [whole.train(epoch, 1, 1)[0] for epoch in range(2)]
    assert np.array_equal(again.train(0, 1, 1)[0], losses[0])
    resumed.load_state(again.state())
    assert_equal_states(resumed.state(), again.state())
    assert np.array_equal(resumed.train(1, 1, 1)[0], losses[1])
    assert_equal_states(resumed.state(), whole.state())


def test_a_convolutions_state_goes_on_bit_for_bit():
    network = NETWORKS["pooled"]
    whole, resumed = (made(network, "bf16") for _ in range(2))
    whole.train(0, 1, 1)
    resumed.load_state(whole.state())
    assert np.array_equal(whole.train(1, 1, 1), resumed.train(1, 1, 1))
    assert_equal_states(whole.state(), resumed.state())


@pytest.mark.parametrize("name, power, epochs", [("dense", 30, 8), ("pooled", 21, 5)])
def test_a_scale_far_too_large_skips_steps_until_it_fits_and_then_trains(name, power, epochs):
    engine = made(NETWORKS[name], "fp16")
    first = engine.state()
    engine.load_state({**first, "loss_scale": np.array([2.0**power, 0], np.float32)})
    losses = [engine.train(0, 1)[0]]
    skipped = engine.state()
    assert skipped["loss_scale"].tolist() == [2.0 ** (power - STEPS), 0]
    for slot in ("parameters", "velocity"):
        assert np.array_equal(skipped[slot], first[slot]), slot
    losses += [engine.train(epoch, 1)[0] for epoch in range(1, epochs)]
    state = engine.state()
    scale, good = state["loss_scale"]
    assert 2.0**10 < scale < 2.0**19 and np.log2(scale) % 1 == 0
    assert 1 < good <= epochs * STEPS - (power - np.log2(scale))  # every halving was a step
    assert all(np.isfinite(state[slot]).all() for slot in ("parameters", "velocity"))
    assert losses[-1].mean() < losses[0].mean() - 0.01


def test_a_checkpoint_in_fp16_goes_on_bit_for_bit_between_two_changes_of_the_scale(tmp_path):
    network = NETWORKS["dense"]
    whole, resumed = (made(network, "fp16") for _ in range(2))
    whole.load_state({**whole.state(), "loss_scale": np.array([2.0**20, 0], np.float32)})
    whole.train(0, 1)
    save_checkpoint(tmp_path / "checkpoint", whole.state(), {})
    resumed.load_state(load_checkpoint(tmp_path / "checkpoint")[0])
    assert_equal_states(whole.state(), resumed.state())
    assert whole.state()["loss_scale"][0] < 2.0**20
    assert np.array_equal(whole.train(1, 2), resumed.train(1, 2))
    assert_equal_states(whole.state(), resumed.state())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_fp16_has_a_loss_scale(precision):
    """Summed behind all weight gradients, whose queue a kind of that name joins."""
    engine = made(NETWORKS["dense"], precision)
    scaled = precision == "fp16"
    assert ("loss_scale" in engine.state()) == ("loss_scale" in engine.initial_state()) == scaled
    kinds = [op.kind for op in engine.step.training_ops]
    assert kinds[-1] == "update" and kinds.count("sum_weight_gradient") == scaled
    assert not scaled or kinds[-2] == "sum_weight_gradient"
    assert "sum_weight_gradient" not in [op.kind for op in engine.step.evaluation_ops]
    taking = [kernel.operation for _, kernel, _, _ in engine.kernels if "loss_scale" in dict(kernel.arguments)]
    assert taking == (["softmax_cross_entropy", "sum_weight_gradient", "update"] if scaled else [])


def test_a_state_without_a_loss_scale_starts_with_the_first_and_no_scale_is_refused():
    engine = made(NETWORKS["dense"], "fp16")
    engine.train(0, 1)
    assert engine.state()["loss_scale"].tolist() == [1024, STEPS]
    engine.load_state(made(NETWORKS["dense"], "bf16").state())
    assert engine.state()["loss_scale"].tolist() == [1024, 0]
    for scale in (0, -2, 3, np.inf, np.nan):
        with pytest.raises(ValueError, match="the loss scale is .*; expected a power of two"):
            engine.load_state({**engine.state(), "loss_scale": np.array([scale, 0], np.float32)})
    assert engine.state()["loss_scale"].tolist() == [1024, 0]


def test_evaluation_changes_no_loss_scale():
    engine = made(NETWORKS["dense"], "fp16")
    before = engine.state()
    engine.load_state({**before, "loss_scale": np.array([2.0**30, 3], np.float32)})
    large = engine.evaluate("test")
    assert engine.state()["loss_scale"].tolist() == [2.0**30, 3]
    engine.load_state(before)
    assert engine.evaluate("test") == large


def test_what_the_engine_does_not_offer_is_refused_in_a_sentence():
    network = NETWORKS["dense"]
    with pytest.raises(ValueError, match="precision is 'fp32'; engine 'tensor' offers 'bf16'"):
        made(network, "fp32")
    with pytest.raises(ValueError, match="mode is 'eager'; expected 'graph', 'resident'"):
        made(network, "bf16", mode="eager")
    averaged = Network((4, 4, 2), [Conv2D(3, 3, padding="same"), AvgPool2D(2), Flatten(), Dense(3)])
    with pytest.raises(ValueError, match="pool1: tensor cores pool behind a convolution only"):
        made(averaged, "bf16")


ON_A_CARD = [pytest.mark.gpu, pytest.mark.skipif(SIMULATOR, reason="needs a CUDA device")]
ON_CARDS = [
    *((network, precision, "") for network in (lenet5(), vgg_small()) for precision in PRECISIONS),
    *((network, "fp16", "7.5") for network in (lenet5(), vgg_small())),
]
LARGE_BATCH, LARGE_STEPS = 128, 5


@cache
def large_dataset(network):
    return ToyDataset(network.input_shape, network.classes, LARGE_BATCH * LARGE_STEPS)


@cache
def bound_on(network, precision):
    dataset = large_dataset(network)
    return bound_of(network, dataset, precision, LARGE_BATCH, LARGE_STEPS, SGD(0.01, momentum=0.9))


class TestOnACard:
    """Larger shapes, which the interpreter is too slow for."""

    pytestmark = ON_A_CARD

    @pytest.mark.parametrize("mode", ["graph", "resident"])
    @pytest.mark.parametrize(
        "network, precision, forced", ON_CARDS, ids=lambda value: getattr(value, "name", str(value))
    )
    def test_the_first_losses_are_the_oracles(self, monkeypatch, network, precision, forced, mode):
        """Also by the code that a T4 gets."""
        if not gpu_available() or (precision != "fp16" and capability() < (8, 0)):
            pytest.skip("the card has no such format")
        if forced:
            monkeypatch.setenv("CNN_CAPABILITY", forced)
        optimizer = SGD(0.01, momentum=0.9)
        engine = made(network, precision, large_dataset(network), optimizer, LARGE_BATCH, mode=mode)
        losses = engine.train(0, 1, LARGE_STEPS)[0]
        check_agreement(losses, *bound_on(network, precision), f"tensor {precision} {forced}")

    @pytest.mark.parametrize("network", [lenet5(), vgg_small()], ids=lambda network: network.name)
    def test_two_runs_and_both_modes_are_bit_equal(self, network):
        dataset, ends = large_dataset(network), []
        for mode in ("graph", "graph", "resident"):
            engine = made(network, "fp16", dataset, SGD(0.01, momentum=0.9), LARGE_BATCH, seed=3, mode=mode)
            ends.append((engine.train(0, 20), engine.state()))
        for losses, state in ends[1:]:
            assert np.array_equal(losses, ends[0][0])
            assert_equal_states(state, ends[0][1])


@pytest.mark.parametrize("name", ["layerwise", "auto"])
def test_a_precision_of_tensor_cores_chooses_this_engine(name):
    assert make_engine(name, NETWORKS["dense"], OPTIMIZER, BATCH, "bf16").name == "tensor"


def test_kernels_of_ones_own_are_refused():
    with pytest.raises(ValueError, match="engine 'tensor' takes no kernels of your own; choose precision 'fp32'"):
        made(NETWORKS["dense"], "bf16", kernels={"conv_forward": None})
