"""The CUDA engine against the float64 oracle: the same losses whatever the mode, the kernels or the card."""

import numpy as np
import pytest
from activated import ACTIVATED, check_derivative_at_zero
from toy_data import ToyDataset

from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import tiny
from helpers.device import SIMULATOR, cuda
from helpers.engines import make_engine
from helpers.kernels.base import Kernel
from helpers.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.optimizers import SGD

BATCH = 4
STEPS = 20
NETWORK, OPTIMIZER = tiny(), SGD(0.05, momentum=0.9)
DATA = ToyDataset(NETWORK.input_shape, samples=BATCH * STEPS + 3)


def engine(**options):
    made = make_engine("layerwise", NETWORK, OPTIMIZER, BATCH, seed=5, **options)
    made.load(DATA)
    return made


@pytest.fixture(scope="module")
def trained():
    """An engine after one epoch, and its losses."""
    made = engine()
    return made, made.train(0)[0]


def test_the_losses_are_the_oracles(trained):
    reference, bound = agreement_bound(NETWORK, OPTIMIZER, DATA, BATCH, 5, STEPS)
    check_agreement(trained[1], reference, bound, "layerwise")
    assert np.ptp(reference) > 0.01  # something was learned, so agreement means something


@pytest.mark.parametrize("network", ACTIVATED.values(), ids=ACTIVATED)
def test_the_losses_with_every_activation_are_the_oracles(network):
    data, steps = ToyDataset(network.input_shape, samples=BATCH * 5), 5
    made = make_engine("layerwise", network, OPTIMIZER, BATCH, seed=5)
    made.load(data)
    check_agreement(made.train(0)[0], *agreement_bound(network, OPTIMIZER, data, BATCH, 5, steps), "layerwise")


def test_derivatives_at_zero():
    check_derivative_at_zero("layerwise")


def test_a_pooling_whose_last_windows_hang_over_the_edge_trains_alike():
    """Joined with the convolution before it, it would read outputs that do not exist."""
    network = Network((5, 5, 2), [Conv2D(4, 1), ReLU(), MaxPool2D(2, 2, "same"), Flatten(), Dense(3)])
    data = ToyDataset(network.input_shape, samples=BATCH * 5)
    made = make_engine("layerwise", network, OPTIMIZER, BATCH, seed=5)
    made.load(data)
    check_agreement(made.train(0)[0], *agreement_bound(network, OPTIMIZER, data, BATCH, 5, 5), "layerwise")


def test_evaluation_counts_the_last_partial_batch_and_prediction_any_number(trained):
    oracle = make_engine("vectorized", NETWORK, OPTIMIZER, BATCH, "fp64", seed=5)
    oracle.load(DATA)
    oracle.load_state(trained[0].state())
    got, wanted = trained[0].evaluate("test"), oracle.evaluate("test")
    assert len(DATA.test_labels) % BATCH
    assert got["accuracy"] == wanted["accuracy"]
    assert got["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
    images = DATA.test_images[:7]
    np.testing.assert_allclose(trained[0].predict(images), oracle.predict(images), rtol=1e-4, atol=1e-5)


def test_a_resumed_run_is_bit_equal(trained):
    made, other = trained[0], engine()
    other.load_state(made.state())
    a, b = made.train(1, steps=2), other.train(1, steps=2)
    assert np.array_equal(a, b)
    assert all(np.array_equal(x, y) for x, y in zip(made.state().values(), other.state().values()))


def slow_dense(op, batch):
    """A reader's kernel: dense_forward without activation, one thread an output."""
    inputs, outputs = op.geometry.inputs, op.geometry.outputs

    def body(y, x, w, b):
        i = cuda.grid(1)
        if i < batch * outputs:
            n, k = i // outputs, i % outputs
            total = b[k]
            for c in range(inputs):
                total += x[n * inputs + c] * w[c * outputs + k]
            y[i] = total

    return Kernel("dense_forward", body, (-(-batch * outputs // 32), 1, 1), (32, 1, 1))


def misnamed(op, batch):
    return Kernel("dense_forward", lambda y, x, w, b: None, (1, 1, 1), (32, 1, 1))


def test_a_readers_kernel_takes_part_in_training():
    made = engine(kernels={"dense_forward": slow_dense})
    reference, bound = agreement_bound(NETWORK, OPTIMIZER, DATA, BATCH, 5, 2)
    check_agreement(made.train(0, steps=2)[0], reference, bound, "a reader's kernel")
    assert [k.body.__name__ for op, k, _, _ in made.kernels if op.kind == "dense_forward"] == ["body"] * 2


def test_copying_each_batch_gives_the_same_losses(trained):
    losses = engine(mode="copy per batch").train(0, steps=2)[0]
    np.testing.assert_allclose(losses, trained[1][:2], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_loss_that_is_not_finite_names_its_step():
    made = engine()
    made.load_state({**made.state(), "parameters": np.full(NETWORK.parameter_count, np.inf, np.float32)})
    with pytest.raises(FloatingPointError, match="not finite at step 0 of epoch 0; lower the learning rate"):
        made.train(0, steps=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "teleport"}, "mode is 'teleport'; expected 'graph'"),
        ({"kernels": {"conv": slow_dense}}, "kernels names 'conv'; operations are"),
        ({"kernels": {"conv_forward": misnamed}}, "returned a kernel of dense_forward; it must be of conv_forward"),
        ({"precision": "fp12"}, "precision is 'fp12'; engine 'layerwise' offers 'fp32'"),
    ],
)
def test_wrong_options_get_one_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        engine(**options)


def test_memory_is_counted_by_purpose(trained):
    memory = trained[0].memory
    assert set(memory) == {"parameters", "optimizer", "activations", "gradients", "scratch", "data set"}
    assert memory["parameters"] >= 4 * NETWORK.parameter_count
    assert memory["data set"] >= DATA.train_images.nbytes


@pytest.mark.gpu
@pytest.mark.skipif(SIMULATOR, reason="needs a CUDA device")
def test_two_runs_are_bit_equal_and_modes_agree(trained):
    again, resident = engine(), engine(mode="resident")
    assert np.array_equal(again.train(0)[0], trained[1])
    assert np.array_equal(resident.train(0)[0], trained[1])
