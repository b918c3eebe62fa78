"""Bad input gets one sentence: what was wrong, what was expected, what to do."""

import os
import subprocess
import sys

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.architectures import lenet5, tiny
from helpers.engines import make_engine
from helpers.optimizers import SGD
from helpers.startup import card_name
from helpers.training import Trainer

ENGINES = pytest.mark.parametrize("engine", ["layerwise", "vectorized", "loops"])
HOST_ENGINES = pytest.mark.parametrize("engine", ["vectorized", "loops"])  # where a test trains; see test_layerwise.py
NETWORK = tiny()


def trainer(engine="vectorized", **settings):
    return Trainer(NETWORK, SGD(0.01), **{"batch_size": 16, "engine": engine, **settings})


def assert_one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 250


@ENGINES
def test_images_of_another_shape(engine):
    with pytest.raises(ValueError, match=r"toy has images of shape \(28, 28, 1\); the network was made for") as error:
        trainer(engine).fit(ToyDataset((28, 28, 1)), 1)
    assert_one_sentence(error)


@ENGINES
def test_prediction_of_wrong_images(engine):
    made = trainer(engine)
    with pytest.raises(RuntimeError, match="no data set is loaded"):
        made.predict(np.zeros((2, 10, 9, 2), np.uint8))
    made.engine.load(ToyDataset(NETWORK.input_shape))
    for images in (np.zeros((2, 10, 9, 1), np.uint8), np.zeros((2, 10, 9, 2), np.float32)):
        with pytest.raises(ValueError, match=r"images have dtype .* expected uint8 and \(N, 10, 9, 2\)") as error:
            made.predict(images)
        assert_one_sentence(error)


@ENGINES
def test_a_label_of_ten(engine):
    dataset = ToyDataset((28, 28, 1), classes=10)
    dataset.train_labels[5] = 10
    with pytest.raises(
        ValueError, match="toy has a train label of 10; .* 10 classes, so labels run from 0 to 9"
    ) as error:
        Trainer(lenet5(), SGD(0.01), 16, engine).fit(dataset, 1)
    assert_one_sentence(error)


def test_more_classes_than_the_network():
    with pytest.raises(ValueError, match="toy has 5 classes; the network's last layer has 3"):
        trainer().fit(ToyDataset(NETWORK.input_shape, classes=5), 1)


@ENGINES
def test_a_batch_larger_than_the_data_set(engine):
    with pytest.raises(ValueError, match="batch_size is 200, but toy has only 96 training samples; choose") as error:
        trainer(engine, batch_size=200).fit(ToyDataset(NETWORK.input_shape), 1)
    assert_one_sentence(error)


WITHOUT_A_CARD = """
from helpers.architectures import tiny
from helpers.device import DeviceError
from helpers.optimizers import SGD
from helpers.training import Trainer
try:
    Trainer(tiny(), SGD(0.01), batch_size=16, engine="layerwise")
except DeviceError as error:
    print(error)
"""


@pytest.mark.skipif(card_name() is not None, reason="needs a machine without a GPU")
def test_engine_layerwise_without_a_gpu():
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    command = [sys.executable, "-c", WITHOUT_A_CARD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and not done.stderr
    (sentence,) = done.stdout.splitlines()
    assert sentence.startswith("no NVIDIA GPU or driver was found; in Colab choose Runtime")
    assert "install the driver, or set NUMBA_ENABLE_CUDASIM=1 to run kernels on the CPU" in sentence


def test_unknown_engine():
    with pytest.raises(
        ValueError, match="engine is 'cuda'; expected 'auto', 'fused', 'layerwise', 'tensor', 'vectorized', 'loops'"
    ):
        trainer("cuda")


@ENGINES
def test_unknown_precision(engine):
    with pytest.raises(ValueError, match=f"precision is 'fp8'; engine '{engine}' offers 'fp32'") as error:
        trainer(engine, precision="fp8")
    assert_one_sentence(error)
    assert ("'fp64'" in str(error.value)) == (engine != "layerwise")


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None])
def test_no_batch_size(batch_size):
    with pytest.raises(ValueError, match="batch_size is .*; expected an integer of at least 1"):
        trainer(batch_size=batch_size)


@pytest.mark.parametrize("steps", [0, 7])
def test_steps_beyond_an_epoch(steps):
    made = make_engine("vectorized", NETWORK, SGD(0.01), 16)
    made.load(ToyDataset(NETWORK.input_shape))
    with pytest.raises(ValueError, match=f"steps is {steps}; an epoch of toy has 6"):
        made.train(0, 1, steps)


@pytest.mark.parametrize("epochs", [0, 1.5, "3"])
def test_epochs(epochs):
    with pytest.raises(ValueError, match="epochs is .*; expected an integer of at least 1"):
        trainer().fit(ToyDataset(NETWORK.input_shape), epochs)


def test_split_to_evaluate():
    with pytest.raises(ValueError, match="evaluate is 'train'; expected 'test', 'validation' or None"):
        trainer().fit(ToyDataset(NETWORK.input_shape), 1, evaluate="train")


@HOST_ENGINES
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_a_number_stops_training(engine):
    made = Trainer(NETWORK, SGD(1e30), 16, engine)
    with pytest.raises(FloatingPointError, match="the loss of step 1 of epoch 0 is nan; choose a lower") as error:
        made.fit(ToyDataset(NETWORK.input_shape), 1)
    assert_one_sentence(error)
