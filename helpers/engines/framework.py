"""What the engines share that let a framework compute: the data set on its device, an epoch's order, evaluation.

Knows the lowered program and NumPy; must not learn which framework computes. A subclass imports its framework when it
is made, never when its module is read.
"""

import os
from abc import abstractmethod
from importlib import import_module

import numpy as np

from helpers.engines.base import Engine
from helpers.lowering import lower


class FrameworkEngine(Engine):
    """Trains the lowered program's forward operations with a framework's own layers, gradients and optimizer.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`.
    form : str, optional
        How an epoch is run, one of the class's `forms`; the first one, the ordinary form, by default.

    Raises
    ------
    ValueError
        For a form that the engine does not have.
    ImportError
        If the framework is missing; the message says what to install.
    """

    forms: tuple[str, ...]
    package: str  # what to import, and to install where that fails
    environment: dict = {}  # variables that the framework reads when it is imported, unless they are set already

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, form=None):
        super().__init__(network, optimizer, batch_size, precision, seed)
        self.form = form or self.forms[0]
        if self.form not in self.forms:
            raise ValueError(f"form is {form!r}; engine {self.name!r} offers {', '.join(map(repr, self.forms))}")
        for variable, value in self.environment.items():
            os.environ.setdefault(variable, value)
        self._framework = import_framework(self.name, self.package)
        self._program = lower(network)
        self._epoch, self._order = 0, (None, None)

    def _load(self, dataset):
        self._order = (None, None)
        self._load_split(*dataset.split("train"))

    def _train_epoch(self, epoch, steps):
        if self._order[0] != epoch:
            self._order = epoch, self._to_device(self._epoch_order(epoch))
        rates = self.optimizer.learning_rates(epoch, self.steps_per_epoch)[:steps]
        losses = np.asarray(self._run_steps(self._order[1], rates), np.float64)
        if not np.isfinite(losses).all():
            step = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise FloatingPointError(
                f"the loss of step {step} of epoch {epoch} is {losses[step]}; choose a lower learning rate"
            )
        self._epoch = epoch + 1
        return losses

    def _epoch_order(self, epoch):
        """Samples of each step, int64, shape (steps_per_epoch, batch_size): on the device before an epoch's clock.

        It stays there until another epoch is asked for, so that a second turn of an epoch times training alone.
        """
        from helpers.order import sample_order

        samples, steps = len(self.dataset.train_labels), self.steps_per_epoch
        positions = np.arange(steps * self.batch_size)
        return sample_order(samples, self.seed, epoch, positions).reshape(steps, self.batch_size)

    def evaluate(self, split="test"):
        images, labels = self._loaded().split(split)
        logits = self._predict(images).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
        return {"loss": float(losses.mean()), "accuracy": float((logits.argmax(axis=1) == labels).mean())}

    def _predict(self, images):
        """In whole batches, the last one filled up: a compiled function sees one shape only."""
        count = -(-len(images) // self.batch_size) * self.batch_size
        padded = np.concatenate([images, np.zeros((count - len(images), *images.shape[1:]), np.uint8)])
        batches = padded.reshape(-1, self.batch_size, *images.shape[1:])
        return np.concatenate([np.asarray(self._logits(batch), np.float32) for batch in batches])[: len(images)]

    def state(self):
        parameters, velocity = self._read_slots()
        return {
            "parameters": self._vector(parameters),
            "velocity": self._vector(velocity),
            "epoch": np.array(self._epoch),
        }

    def _load_state(self, state):
        self._write_slots(*(self._named(state[slot]) for slot in ("parameters", "velocity")))
        self._epoch = int(state["epoch"])

    def _named(self, vector):
        """{name: array in the documented layout} of a vector of all parameters."""
        return {p.name: np.asarray(vector, np.float32)[p.slice].reshape(p.shape) for p in self.network.parameters}

    def _vector(self, named):
        return np.concatenate([np.asarray(named[p.name], np.float32).reshape(-1) for p in self.network.parameters])

    @property
    def memory(self):
        """Bytes by purpose that every framework must hold; what it takes beside them is its own secret."""
        values = 4 * self.network.parameter_count
        data = 0 if self.dataset is None else self.dataset.train_images.nbytes
        return {"parameters": values, "optimizer": values, "gradients": values, "data set": data}

    @property
    @abstractmethod
    def on_gpu(self):
        """Whether the framework has found a GPU to train on."""

    @abstractmethod
    def _load_split(self, images, labels):
        """Place the uint8 training images and their labels where training reads them."""

    @abstractmethod
    def _to_device(self, order):
        """An epoch's order where training reads it."""

    @abstractmethod
    def _run_steps(self, order, rates):
        """Train the first `len(rates)` steps of `order`; their losses, taken before each update."""

    @abstractmethod
    def _logits(self, images):
        """Logits of one whole batch of uint8 images."""

    @abstractmethod
    def _read_slots(self):
        """Parameters and velocity as {name: array}, in the documented layouts."""

    @abstractmethod
    def _write_slots(self, parameters, velocity):
        """Take over both, in the form of `_read_slots`."""


def import_framework(engine, package):
    """The module `package`, or an ImportError that says which engine needs what and what to do.

    What is missing may be another package that this one imports, as Keras imports its backend.
    """
    try:
        return import_module(package)
    except ImportError as error:
        missing = (error.name or package).partition(".")[0]
        raise ImportError(
            f"engine {engine!r} needs {missing}, which cannot be imported here ({error}); "
            f"install it with: pip install {missing}"
        ) from None


def window_padding(geometry):
    """(before, after) of each of the three spatial axes, so that "valid" windows give the geometry's outputs.

    Cells behind the last window need no padding: there `after` is 0.
    """
    axes = zip(geometry.in_shape, geometry.out_shape, geometry.window, geometry.stride, geometry.padding)
    return [(before, max((outputs - 1) * stride + window - size - before, 0))
            for size, outputs, window, stride, before in axes]  # fmt: skip


def spatial_rank(network):
    """Spatial axes of the images: 2, or 3 where they have depth."""
    return len(network.input_shape) - 1
