"""The trainer: it learns, keeps its history, and resumes from a checkpoint bit for bit."""

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.checkpoint import build_network, describe_network, load_checkpoint
from helpers.optimizers import SGD, cosine
from helpers.training import Trainer

NETWORK = tiny()
DATASET = ToyDataset(NETWORK.input_shape, samples=200)
SETTINGS = {"batch_size": 16, "engine": "vectorized"}


def trainer(optimizer=None, **settings):
    return Trainer(NETWORK, optimizer or SGD(0.01, momentum=0.9), **{**SETTINGS, **settings})


def test_it_learns_and_reports(capsys):
    history = trainer().fit(DATASET, epochs=12)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and lines[-1].startswith("epoch 12/12") and "accuracy" in lines[-1]
    assert history.losses.shape == (12, 12) and (history.seconds > 0).all()
    assert history.train_loss[-1] < 0.5 * history.train_loss[0]
    assert history.accuracy[-1] > 0.9
    frame = history.to_frame()
    assert list(frame.columns) == ["seconds", "train loss", "test loss", "test accuracy"]
    assert list(frame.index) == list(range(1, 13))


def test_without_evaluation():
    lines = []
    history = trainer().fit(DATASET, 1, evaluate=None, report=lines.append)
    assert len(lines) == 1 and "accuracy" not in lines[0]
    assert np.isnan(history.accuracy).all() and list(history.to_frame().columns) == ["seconds", "train loss"]


def test_two_fits_are_one():
    whole, parts = trainer(), trainer()
    losses = whole.fit(DATASET, 3, evaluate=None, report=None).losses
    first = parts.fit(DATASET, 1, evaluate="validation", report=None)
    second = parts.fit(DATASET, 2, report=None)
    assert second.first_epoch == 1
    assert np.array_equal(np.concatenate([first.losses, second.losses]), losses)


@pytest.mark.parametrize("engine, precision", [("vectorized", "fp32"), ("vectorized", "fp64"), ("loops", "fp32")])
def test_resuming_is_bit_equal(tmp_path, engine, precision):
    whole, half = (trainer(engine=engine, precision=precision, seed=7) for _ in range(2))
    losses = whole.fit(DATASET, 4, evaluate=None, report=None).losses
    half.fit(DATASET, 2, evaluate=None, report=None)
    half.save(tmp_path / "half.safetensors")
    resumed = Trainer.load(tmp_path / "half.safetensors")
    assert np.array_equal(resumed.fit(DATASET, 2, evaluate=None, report=None).losses, losses[2:])
    for name, array in whole.engine.state().items():
        assert np.array_equal(resumed.engine.state()[name], array) and resumed.engine.state()[name].dtype == array.dtype
    assert resumed.evaluate() == whole.evaluate()
    assert np.array_equal(resumed.predict(DATASET.test_images), whole.predict(DATASET.test_images))


def test_a_checkpoint_moves_to_another_engine(tmp_path):
    made = trainer()
    made.fit(DATASET, 1, evaluate=None, report=None)
    made.save(tmp_path / "a.safetensors")
    moved = Trainer.load(tmp_path / "a.safetensors", engine="loops")
    assert moved.engine.name == "loops" and moved.epoch == 1
    assert np.array_equal(moved.engine.state()["parameters"], made.engine.state()["parameters"])


def test_a_schedule_must_be_given_again(tmp_path):
    made = trainer(SGD(cosine(0.05, 4)))
    made.save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="trained with a learning-rate schedule; pass optimizer=SGD"):
        Trainer.load(tmp_path / "a.safetensors")
    assert Trainer.load(tmp_path / "a.safetensors", SGD(cosine(0.05, 4))).epoch == 0


@pytest.mark.parametrize("network", [tiny(), lenet5(), vgg_small()])
def test_a_network_survives_its_description(network):
    assert build_network(describe_network(network)) == network
    for entry in ({"layer": "GELU"}, {"layer": "LeakyReLU", "slopes": 0.1}):
        with pytest.raises(ValueError, match="has a layer .* which is not known; expected Conv, Pool, "):
            build_network({**describe_network(network), "layers": [entry]})


def test_saving_leaves_one_whole_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.safetensors"
    trainer().save(path)
    before = path.read_bytes()

    def broken(state, file, metadata):
        raise OSError("disk full")

    monkeypatch.setattr("helpers.checkpoint.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        trainer().save(path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_bad_checkpoints(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no checkpoint .*; Trainer.save"):
        load_checkpoint(path)
    trainer().save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        Trainer.load(path)
    from safetensors.numpy import save_file

    save_file({"parameters": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="has format None; expected 'cnn-from-scratch checkpoint 1'"):
        Trainer.load(path)


def test_a_state_of_another_network_is_refused():
    state = Trainer(lenet5(), SGD(), **SETTINGS).engine.state()
    with pytest.raises(ValueError, match=r"parameters has shape \(44426,\); expected \(393,\)"):
        trainer().engine.load_state(state)
    with pytest.raises(ValueError, match="the state lacks 'velocity'; expected parameters, velocity, epoch"):
        trainer().engine.load_state({"parameters": trainer().engine.state()["parameters"]})
