"""The engines of the CPU: they agree with each other within rounding, repeat themselves, and learn."""

import numpy as np
import pytest
from activated import ACTIVATED, check_derivative_at_zero
from toy_data import ToyDataset

from helpers import reference
from helpers.agreement import BRANCHED, agreement_bound, check_agreement, largest_gap
from helpers.architectures import tiny
from helpers.engines import make_engine
from helpers.initialization import initial_parameters
from helpers.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.optimizers import SGD

NETWORK = tiny()
DATASET = ToyDataset(NETWORK.input_shape, samples=24 * 16)
OPTIMIZER = SGD(0.01, momentum=0.9)
AVERAGING = Network((6, 5, 2), [Conv2D(3, 2), AvgPool2D(2, stride=1, padding="same"), ReLU(), Flatten(), Dense(3)])


def engine(name, precision="fp32", network=NETWORK, dataset=DATASET, seed=0, **options):
    made = make_engine(name, network, OPTIMIZER, 16, precision, seed, **options)
    made.load(dataset)
    return made


@pytest.fixture(scope="module")
def bound():
    return agreement_bound(NETWORK, OPTIMIZER, DATASET, 16, seed=0, steps=20)


@pytest.mark.parametrize(
    "name, options, steps",
    [
        ("vectorized", {}, 20),
        ("vectorized", {"processes": 2}, 20),
        ("loops", {"compiled": True}, 20),
        ("loops", {"compiled": False}, 2),
    ],
)
def test_engines_agree_within_rounding(bound, name, options, steps):
    losses, allowed = (a[:steps] for a in bound)
    assert check_agreement(engine(name, **options).train(0, 1, steps)[0], losses, allowed, name) <= 1


def test_loops_in_float64_are_the_oracle(bound):
    losses = engine("loops", "fp64").train(0, 1, 20)[0]
    np.testing.assert_allclose(losses, bound[0], rtol=1e-9)


def test_average_pooling_trains_alike():
    dataset = ToyDataset(AVERAGING.input_shape)
    runs = [engine(name, "fp64", AVERAGING, dataset).train(0, 2) for name in ("vectorized", "loops")]
    np.testing.assert_allclose(*runs, rtol=1e-10)


@pytest.mark.parametrize("network", ACTIVATED.values(), ids=ACTIVATED)
def test_every_activation_trains_alike(network):
    dataset = ToyDataset(network.input_shape)
    oracle = engine("vectorized", "fp64", network, dataset, processes=1).train(0, 2)
    np.testing.assert_allclose(engine("loops", "fp64", network, dataset).train(0, 2), oracle, rtol=1e-10)
    plain = engine("loops", "fp64", network, dataset, compiled=False).train(0, 1, 2)
    np.testing.assert_allclose(plain, oracle[:1, :2], rtol=1e-10)
    losses, allowed = agreement_bound(network, OPTIMIZER, dataset, 16, seed=0, steps=6)
    np.testing.assert_array_equal(losses, oracle[0])
    for name in ("vectorized", "loops"):
        check_agreement(engine(name, network=network, dataset=dataset).train(0)[0], losses, allowed, name)


@pytest.mark.parametrize("name, options", [("loops", {}), ("loops", {"compiled": False}), ("vectorized", {})], ids=str)
def test_derivatives_at_zero(name, options):
    check_derivative_at_zero(name, **options)


def test_the_bound_notices_a_wrong_gradient(bound, monkeypatch):
    """A convolution's bias gradient off by a thousandth must not pass as rounding."""
    made = engine("vectorized")
    honest = reference.conv_weight_gradient

    def wrong(x, dy, geometry):
        dw, db = honest(x, dy, geometry)
        return dw, 1.001 * db

    monkeypatch.setattr(made.operations, "conv_weight_gradient", wrong)
    with pytest.raises(AssertionError, match="vectorized disagrees at step"):
        check_agreement(made.train(0, 1, 20)[0], *bound, "vectorized")


def test_nan_does_not_agree(bound):
    with pytest.raises(AssertionError, match="engine disagrees at step 3: got a loss of nan, wanted"):
        check_agreement(np.where(np.arange(20) == 3, np.nan, bound[0]), *bound)
    with pytest.raises(AssertionError, match=r"gave losses of shape \(19,\); expected \(20,\)"):
        check_agreement(bound[0][1:], *bound)


def test_a_coarse_run_counts_from_the_step_on_where_it_branches():
    gaps = np.array([[1.0, 1.0, 3.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(largest_gap(gaps, np.empty((0, 5))), [2, 2, 3, 3, 3])
    linear = np.full((1, 5), 2 * BRANCHED)
    np.testing.assert_array_equal(largest_gap(gaps, linear), [2, 2, 3, 3, 3])
    branching = np.array([[1.0, 3 * BRANCHED, 5.0, 7.0, 4 * BRANCHED]])
    wanted = [2, 3 * BRANCHED, 3 * BRANCHED, 3 * BRANCHED, 4 * BRANCHED]
    np.testing.assert_array_equal(largest_gap(gaps, np.concatenate([linear, branching])), wanted)


@pytest.mark.parametrize("name, options", [("vectorized", {"processes": 2}), ("loops", {})])
def test_two_runs_are_bit_equal(name, options):
    states = []
    for _ in range(2):
        made = engine(name, **options)
        made.train(0, 1)
        states.append(made.state())
    for key in states[0]:
        assert np.array_equal(states[0][key], states[1][key])


def test_sharing_a_batch_over_processes_changes_rounding_only(monkeypatch):
    monkeypatch.setattr("helpers.engines.vectorized.SHARE_FLOPS", 1.0)
    runs = [engine("vectorized", "fp64", processes=processes).train(0, 1, 5) for processes in (1, 3)]
    np.testing.assert_allclose(*runs, rtol=1e-10)


def test_first_loss_and_seed():
    made = engine("vectorized", "fp64", seed=4)
    assert np.array_equal(made.state()["parameters"], initial_parameters(NETWORK, 4))
    assert made.train(0, 1, 1)[0, 0] != engine("vectorized", "fp64", seed=5).train(0, 1, 1)[0, 0]


def test_the_last_partial_batch_is_dropped_in_training_and_kept_in_evaluation():
    dataset = ToyDataset(NETWORK.input_shape, samples=40)
    made = engine("vectorized", "fp64", dataset=dataset)
    assert made.train(0).shape == (1, 2)
    logits = made.predict(dataset.test_images)
    result = made.evaluate("test")
    assert logits.shape == (37, 3) and logits.dtype == np.float32
    assert result["accuracy"] == np.mean(logits.argmax(1) == dataset.test_labels)
    expected = reference.softmax_cross_entropy(logits.astype(np.float64), dataset.test_labels)[0].mean()
    assert np.isclose(result["loss"], expected, rtol=1e-6)


def test_prediction_of_many_images_equals_that_of_each():
    made = engine("vectorized", "fp64")
    images = np.concatenate([DATASET.train_images, DATASET.test_images])
    each = np.concatenate([made.predict(images[i : i + 1]) for i in range(0, len(images), 50)])
    np.testing.assert_allclose(made.predict(images)[::50], each, rtol=1e-6)
    assert made.predict(images[:0]).shape == (0, 3)


@pytest.mark.parametrize("name", ["vectorized", "loops"])
def test_state_moves_between_engines(name):
    source = engine("vectorized", "fp64")
    source.train(0, 2)
    target = engine(name, "fp64")
    target.load_state(source.state())
    assert target.state()["epoch"] == 2
    np.testing.assert_allclose(source.train(2, 1, 3), target.train(2, 1, 3), rtol=1e-9)


def test_memory_by_purpose():
    memory = engine("vectorized").memory
    assert memory["parameters"] == memory["optimizer"] == 4 * NETWORK.parameter_count
    assert list(memory) == ["parameters", "optimizer", "activations", "gradients", "scratch", "data set"]
    assert all(size > 0 for size in memory.values())


def test_three_dimensional_network():
    layers = [Conv2D(2, 3), MaxPool2D(2), Flatten(), Dense(2)]
    flat = Network((6, 6, 1), layers)
    with pytest.raises(ValueError, match="conv1 does not fit its input"):
        Network((2, 6, 6, 1), layers)
    assert np.isfinite(engine("vectorized", network=flat, dataset=ToyDataset((6, 6, 1), classes=2)).train(0)).all()
