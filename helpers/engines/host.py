"""What the engines that run on the CPU share: the steps of an epoch, the state, the walk over the lowered program.

Knows the program and a table of operations with the signatures of reference.py; must not learn how one is computed.
"""

import numpy as np

from helpers.engines.base import Engine
from helpers.lowering import lower
from helpers.memory import plan_memory
from helpers.order import sample_order

# Images a share of an evaluation or prediction.
EVALUATION_SHARE = 256

CACHE_LINE = 64  # bytes


def _forward(function, op, inputs, weights):
    return (function(*inputs, *weights, op.geometry),)


def _pool_forward(function, op, inputs, weights):
    y, winner = function(*inputs, op.geometry)
    return (y,) if winner is None else (y, winner)


def _input_gradient(function, op, inputs, weights):
    return (function(*inputs, weights[0], op.geometry),)


def _pool_input_gradient(function, op, inputs, weights):
    dy, *winner = inputs
    return (function(dy, winner[0] if winner else None, op.geometry),)


def _pointwise(function, op, inputs, weights):
    return (function(*inputs),)


# How each kind of operation is called: (function, op, input arrays, (weight, bias)) -> arrays of op.outputs.
CALLS = {
    "conv_forward": _forward,
    "conv_input_gradient": _input_gradient,
    "dense_forward": _forward,
    "dense_input_gradient": _input_gradient,
    "pool_forward": _pool_forward,
    "pool_input_gradient": _pool_input_gradient,
    "relu_forward": _pointwise,
    "relu_input_gradient": _pointwise,
    "activation_forward": _forward,
    "activation_input_gradient": _forward,
}


class HostEngine(Engine):
    """Runs the lowered program on NumPy arrays; subclasses set `operations` and may share a batch out.

    `operations` has one attribute for each kind of operation, with the signature of reference.py's function.
    """

    precisions = ("fp32", "fp64")
    operations: object

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0):
        super().__init__(network, optimizer, batch_size, precision, seed)
        self.dtype = np.dtype({"fp32": np.float32, "fp64": np.float64}[precision])
        self._program = lower(network)
        self._parameters = self._make_parameters()
        self._weights = {p.name: self._parameters[p.slice].reshape(p.shape) for p in network.parameters}
        self._load_state(self.initial_state())

    def _make_parameters(self):
        """The vector of parameters that this engine keeps and changes in place."""
        return poisoned(self.network.parameter_count, self.dtype)

    def state(self):
        """Copies of parameters and velocity (float32 or float64, by precision) and the number of epochs done."""
        arrays = {"parameters": self._parameters.copy(), "velocity": self._velocity.copy()}
        return {**arrays, "epoch": np.array(self._epoch)}

    def _load_state(self, state):
        self._parameters[:] = state["parameters"]
        self._velocity = np.array(state["velocity"], self.dtype)
        self._epoch = int(state["epoch"])

    def _load(self, dataset):
        """Nothing to place: the data set is read where it is."""

    def _train_epoch(self, epoch, steps):
        rates = self.optimizer.learning_rates(epoch, self.steps_per_epoch)
        samples = len(self.dataset.train_labels)
        order = sample_order(samples, self.seed, epoch, np.arange(steps * self.batch_size))
        losses = np.empty(steps)
        for step, batch in enumerate(order.reshape(steps, self.batch_size)):
            losses[step], gradient = self._loss_and_gradient(batch)
            if not np.isfinite(losses[step]):
                raise FloatingPointError(
                    f"the loss of step {step} of epoch {epoch} is {losses[step]}; choose a lower learning rate"
                )
            self.operations.sgd_update(self._parameters, self._velocity, gradient, rates[step], self.optimizer.momentum)
        self._epoch = epoch + 1
        return losses

    def evaluate(self, split="test"):
        """{"loss": mean loss, "accuracy": 0 to 1} over a whole split, the last partial batch included."""
        samples = len(self._loaded().split(split)[1])
        results = self._map("_measure", [(split, part) for part in _shares(samples)])
        losses, correct = (np.concatenate(arrays) for arrays in zip(*results))
        return {"loss": float(losses.mean(dtype=np.float64)), "accuracy": float(correct.mean())}

    def _predict(self, images):
        return np.concatenate(self._map("_logits", [(images[part],) for part in _shares(len(images))]))

    def _loss_and_gradient(self, batch):
        """Mean loss of the training samples `batch` (their indices) and its gradient, a vector like the parameters."""
        losses, gradient = self._backward(batch, len(batch))
        return losses.mean(dtype=np.float64), gradient

    def _map(self, method, shares):
        """Results of the engine's method of that name for each tuple of arguments in `shares`, in order."""
        return [getattr(self, method)(*arguments) for arguments in shares]

    def _measure(self, split, part):
        """(losses, correct) of a slice of a split."""
        images, labels = self.dataset.split(split)
        logits = self._forward(images[part])[self._program.logits]
        return self.operations.softmax_cross_entropy(logits, labels[part], len(labels))[:2]

    def _logits(self, images):
        return self._forward(images)[self._program.logits].astype(np.float32)

    def _forward(self, images):
        """Every tensor of the forward pass by name, images with three spatial axes."""
        spatial = (1,) * (5 - images.ndim) + images.shape[1:]
        tensors = {"input": self.dataset.normalize(images, self.dtype).reshape(len(images), *spatial)}
        for op in self._program.forward[1:]:
            self._run(op, tensors)
        return tensors

    def _backward(self, samples, batch):
        """Losses (N,) of some training samples of a batch of `batch`, and their part of its mean loss's gradient."""
        images, labels = (array[samples] for array in self.dataset.split("train"))
        tensors, gradient = self._forward(images), poisoned(len(self._parameters), self.dtype)
        logits = self._program.logits
        losses, _, tensors[f"d_{logits}"] = self.operations.softmax_cross_entropy(tensors[logits], labels, batch)
        for op in self._program.backward:
            if op.kind in CALLS:
                self._run(op, tensors)
            else:
                results = getattr(self.operations, op.kind)(*(tensors[name] for name in op.inputs), op.geometry)
                for parameter, result in zip(op.parameters, results):
                    gradient[parameter.slice] = result.ravel()
        return losses, gradient

    def _run(self, op, tensors):
        """Run one operation on the named tensors; an input gradient has the shape of what it is the gradient of."""
        inputs = [tensors[name] for name in op.inputs]
        weights = [self._weights[p.name] for p in op.parameters]
        outputs = CALLS[op.kind](getattr(self.operations, op.kind), op, inputs, weights)
        for name, array in zip(op.outputs, outputs):
            tensors[name] = array.reshape(tensors[name[2:]].shape) if name.startswith("d_") else array

    @property
    def memory(self):
        """Bytes by purpose: parameters, optimizer, activations, gradients, scratch, data set."""
        values = self._parameters.nbytes
        purposes = plan_memory(self._program, self.batch_size, self.dtype.itemsize).purposes
        splits = [] if self.dataset is None else [self.dataset.train_images, self.dataset.test_images]
        return {
            "parameters": values,
            "optimizer": values,
            "activations": purposes["activations"],
            "gradients": purposes["gradients"] + values,
            "scratch": self._scratch_bytes,
            "data set": sum(images.nbytes for images in splits),
        }

    _scratch_bytes = 0


def poisoned(shape, dtype):
    """An array of NaN, so that what nobody writes shows in the loss; it starts on a cache line.

    Loops over vectors that straddle two lines take up to twice the time, and NumPy's own arrays may start anywhere.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    array = memory[start : start + size].view(dtype).reshape(shape)
    array.fill(np.nan)
    return array


def _shares(images):
    """Slices of a split for evaluation."""
    return [slice(first, first + EVALUATION_SHARE) for first in range(0, images, EVALUATION_SHARE)]
