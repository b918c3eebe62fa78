"""The trainer: epochs, their history and checkpoints, on any engine.

Knows engines by their protocol only; must not learn where they compute or how.
"""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.checkpoint import (
    build_network,
    build_optimizer,
    describe_network,
    describe_optimizer,
    load_checkpoint,
    save_checkpoint,
)
from helpers.engines import make_engine


@dataclass(frozen=True)
class History:
    """What one `fit` saw, an entry an epoch.

    Parameters
    ----------
    first_epoch : int
        Number of the first epoch, counted from 0 since the network was new.
    losses : ndarray, float64, shape (epochs, steps)
        Mean loss of each batch, taken before its update.
    seconds : ndarray, float64, shape (epochs,)
        Training alone, without evaluation.
    loss, accuracy : ndarray, float64, shape (epochs,)
        On `split` after each epoch; NaN where none was evaluated.
    split : str or None
    """

    first_epoch: int
    losses: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    split: str | None

    @property
    def train_loss(self):
        """Mean of each epoch's losses, shape (epochs,)."""
        return self.losses.mean(axis=1)

    def to_frame(self):
        """pandas.DataFrame with one row an epoch, counted from 1."""
        index = pd.RangeIndex(self.first_epoch + 1, self.first_epoch + 1 + len(self.seconds), name="epoch")
        frame = pd.DataFrame({"seconds": self.seconds, "train loss": self.train_loss}, index)
        if self.split:
            frame[f"{self.split} loss"], frame[f"{self.split} accuracy"] = self.loss, self.accuracy
        return frame


class Trainer:
    """Trains a network on an engine.

    Parameters
    ----------
    network : Network
    optimizer : SGD or Adam
    batch_size : int
    engine : str
        "auto" (the fastest that runs here) or a name of `helpers.engines.ENGINES`.
    precision : str
        One that the engine offers: "fp32", "fp64", ...
    seed : int
        Of the initial parameters and of the sample order.
    **options
        Handed to the engine.

    Raises
    ------
    ValueError
        For whatever the engine refuses; one sentence.
    """

    def __init__(self, network, optimizer, batch_size=128, engine="auto", precision="fp32", seed=0, **options):
        self.network, self.optimizer = network, optimizer
        self.engine = make_engine(engine, network, optimizer, batch_size, precision, seed, **options)
        self.epoch = 0

    def fit(self, dataset, epochs, evaluate="test", report=print):
        """Train further epochs; a second call goes on where the first one stopped.

        Parameters
        ----------
        dataset : Dataset
        epochs : int
        evaluate : {"test", "validation", None}
            Split to evaluate after each epoch.
        report : callable or None
            Gets one line of text an epoch.

        Returns
        -------
        History
        """
        if not isinstance(epochs, (int, np.integer)) or epochs < 1:
            raise ValueError(f"epochs is {epochs!r}; expected an integer of at least 1")
        if evaluate not in ("test", "validation", None):
            raise ValueError(f"evaluate is {evaluate!r}; expected 'test', 'validation' or None")
        if self.engine.dataset is not dataset:
            self.engine.load(dataset)
        first, rows = self.epoch, []
        for _ in range(epochs):
            start = time.perf_counter()
            losses = self.engine.train(self.epoch)[0]
            seconds = time.perf_counter() - start
            self.epoch += 1
            result = self.engine.evaluate(evaluate) if evaluate else {"loss": np.nan, "accuracy": np.nan}
            rows.append((losses, seconds, result["loss"], result["accuracy"]))
            if report:
                report(_line(self.epoch, first + epochs, losses, seconds, evaluate, result))
        return History(first, *(np.array(column) for column in zip(*rows)), split=evaluate)

    def evaluate(self, split="test"):
        """{"loss": mean loss, "accuracy": 0 to 1} over a split of the data set that `fit` loaded."""
        return self.engine.evaluate(split)

    def predict(self, images):
        """Logits, float32, shape (N, classes), of uint8 images, shape (N, *network.input_shape)."""
        return self.engine.predict(images)

    def save(self, path):
        """Write parameters, optimizer state and settings to `path` (.safetensors); training resumes bit-equal."""
        engine = self.engine
        description = {
            "network": describe_network(self.network),
            "optimizer": describe_optimizer(self.optimizer),
            "settings": {
                "engine": engine.name,
                "batch_size": engine.batch_size,
                "precision": engine.precision,
                "seed": engine.seed,
            },
        }
        save_checkpoint(path, engine.state(), description)

    @classmethod
    def load(cls, path, optimizer=None, **settings):
        """The trainer that `save` wrote.

        Parameters
        ----------
        path : path-like
        optimizer : SGD or Adam, optional
            Instead of the saved one; needed where that had a schedule.
        **settings
            Replace saved ones, such as engine="vectorized" on a machine without a GPU, or add engine options.

        Raises
        ------
        FileNotFoundError, ValueError
            If the file is missing, is no checkpoint, or does not fit; one sentence.
        """
        state, description = load_checkpoint(path)
        network = build_network(description["network"])
        optimizer = optimizer or build_optimizer(description["optimizer"])
        trainer = cls(network, optimizer, **{**description["settings"], **settings})
        trainer.engine.load_state(state)
        trainer.epoch = int(state["epoch"])
        return trainer


def _line(epoch, epochs, losses, seconds, split, result):
    """One epoch as a line of text."""
    text = f"epoch {epoch}/{epochs}  {seconds:8.3f} s  train loss {losses.mean():.4f}"
    return f"{text}  {split} loss {result['loss']:.4f}  accuracy {100 * result['accuracy']:.2f} %" if split else text
