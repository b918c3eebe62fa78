"""The engine protocol: what every way of training a Network offers, and the checks that all of them share.

Knows networks and optimizers by their descriptions; must not learn about notebooks, plots or files.
"""

from abc import ABC, abstractmethod

import numpy as np

from helpers.initialization import initial_parameters


class Engine(ABC):
    """Trains one Network; subclasses set `name`, `precisions` and implement the abstract methods.

    Parameters
    ----------
    network : Network
    optimizer : SGD
    batch_size : int
    precision : str
        One of the class's `precisions`.
    seed : int
        Of the initial parameters and of the sample order.

    Raises
    ------
    ValueError
        For a network, batch size or precision that the engine cannot run; the message names the reason.
    """

    name: str
    precisions: tuple[str, ...] = ("fp32",)

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0):
        if precision not in self.precisions:
            raise ValueError(
                f"precision is {precision!r}; engine {self.name!r} offers {', '.join(map(repr, self.precisions))}"
            )
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; expected an integer of at least 1")
        self.network, self.optimizer, self.precision = network, optimizer, precision
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.dataset = None

    def initial_state(self):
        """State before the first step: named arrays, the form of `state()`."""
        parameters = initial_parameters(self.network, self.seed)
        return {"parameters": parameters, "velocity": np.zeros_like(parameters), "epoch": np.array(0)}

    def load(self, dataset):
        """Take the data set over: once, before training. Raises ValueError where it does not fit the network."""
        if dataset.image_shape != self.network.input_shape:
            raise ValueError(
                f"{dataset.name} has images of shape {dataset.image_shape}; "
                f"the network was made for {self.network.input_shape}"
            )
        if dataset.classes > self.network.classes:
            raise ValueError(
                f"{dataset.name} has {dataset.classes} classes; the network's last layer has {self.network.classes}"
            )
        for split in ("train", "validation", "test"):
            labels = getattr(dataset, f"{split}_labels")
            if len(labels) and labels.max() >= self.network.classes:
                raise ValueError(
                    f"{dataset.name} has a {split} label of {labels.max()}; the network's last layer has "
                    f"{self.network.classes} classes, so labels run from 0 to {self.network.classes - 1}"
                )
        if self.batch_size > len(dataset.train_labels):
            raise ValueError(
                f"batch_size is {self.batch_size}, but {dataset.name} has only {len(dataset.train_labels)} training "
                "samples; choose a smaller batch"
            )
        self.dataset = dataset
        self._load(dataset)

    @property
    def steps_per_epoch(self):
        """Whole batches of the training split; the last partial batch is dropped."""
        return len(self._loaded().train_labels) // self.batch_size

    def train(self, first_epoch, epochs=1, steps=None):
        """Train `epochs` epochs (or only the first `steps` batches of each), numbered from `first_epoch`.

        Returns
        -------
        losses : ndarray, float64, shape (epochs, steps)
            Mean loss of each batch, taken before its update.
        """
        steps = self.steps_per_epoch if steps is None else steps
        if not 1 <= steps <= self.steps_per_epoch:
            raise ValueError(f"steps is {steps}; an epoch of {self.dataset.name} has {self.steps_per_epoch}")
        return np.stack([self._train_epoch(first_epoch + e, steps) for e in range(epochs)])

    def predict(self, images):
        """Logits of uint8 `images` of shape (N, *network.input_shape), any N; float32, shape (N, classes)."""
        self._loaded()
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.network.input_shape:
            raise ValueError(
                f"images have dtype {images.dtype} and shape {images.shape}; "
                f"expected uint8 and (N, {', '.join(map(str, self.network.input_shape))})"
            )
        return self._predict(images) if len(images) else np.zeros((0, self.network.classes), np.float32)

    def load_state(self, state):
        """Replace parameters, optimizer slots and counters by `state`, the form that `state()` returns."""
        expected = self.initial_state()
        for name, array in expected.items():
            if name not in state:
                raise ValueError(f"the state lacks {name!r}; expected {', '.join(expected)}")
            if np.shape(state[name]) != np.shape(array):
                raise ValueError(f"{name} has shape {np.shape(state[name])}; expected {np.shape(array)}")
        self._load_state(state)

    def _loaded(self):
        if self.dataset is None:
            raise RuntimeError("no data set is loaded; call load(dataset) first")
        return self.dataset

    @abstractmethod
    def _load(self, dataset):
        """Place the data set where training reads it."""

    @abstractmethod
    def _train_epoch(self, epoch, steps):
        """Train the first `steps` batches of `epoch`; losses, float64, shape (steps,)."""

    @abstractmethod
    def evaluate(self, split="test"):
        """{"loss": mean loss, "accuracy": 0 to 1} over a whole split, the last partial batch included."""

    @abstractmethod
    def _predict(self, images):
        """Logits of checked images."""

    @abstractmethod
    def state(self):
        """Named arrays: parameters, velocity, epoch (number of epochs done)."""

    @abstractmethod
    def _load_state(self, state):
        """Take over a checked state."""

    @property
    @abstractmethod
    def memory(self):
        """Bytes by purpose: parameters, optimizer, activations, gradients, scratch, data set."""
