"""Engine `layerwise`: CUDA, one kernel per fused operation; data and parameters stay on the card.

An epoch is one launch of a CUDA graph. Knows lowering, memory plans, kernels and the device; must not learn about
files, notebooks or other engines.
"""

import time

import numpy as np

from helpers import device, graphs
from helpers.compiler import load
from helpers.device import SIMULATOR
from helpers.engines.base import Engine
from helpers.engines.step import DeviceStep
from helpers.kernels import state as words
from helpers.kernels.base import ARGUMENTS
from helpers.lowering import fuse_pool, fuse_relu, lower

MODES = ("graph", "resident", "copy per batch")


class LayerwiseEngine(Engine):
    """Trains a Network with one CUDA kernel per operation.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`.
    kernels : dict of str to factory, optional
        A reader's own kernels by operation, e.g. {"conv_forward": my_factory}; such operations run unfused.
    mode : {"graph", "resident", "copy per batch"}
        How an epoch reaches the card: one graph launch; a launch per kernel on resident data; or each batch
        normalised by the host and copied. All give the same losses; in the simulator "graph" runs as "resident".

    Raises
    ------
    DeviceError
        Without a GPU, unless NUMBA_ENABLE_CUDASIM=1 selects the simulator.
    """

    name = "layerwise"
    precisions = ("fp32",)

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, kernels=None, mode="graph"):
        super().__init__(network, optimizer, batch_size, precision, seed)
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; expected {', '.join(map(repr, MODES))}")
        replaced = dict(kernels or {})
        if unknown := [name for name in replaced if name not in ARGUMENTS]:
            raise ValueError(f"kernels names {unknown[0]!r}; operations are {', '.join(ARGUMENTS)}")
        if not SIMULATOR:
            device.capability()
        started = time.perf_counter()
        keep = frozenset(replaced)
        program = fuse_pool(fuse_relu(lower(network), keep), keep)
        self.mode = "resident" if SIMULATOR and mode == "graph" else mode
        self.step = DeviceStep(program, optimizer, self.batch_size, replaced, load)
        self.compile_seconds = time.perf_counter() - started
        self._stream = None if SIMULATOR else graphs.Stream()
        self._side = None if SIMULATOR else graphs.Stream()
        self._splits, self._graphs = {}, {}
        self._load_state(self.initial_state())

    @property
    def kernels(self):
        """(op, Kernel, Launchable, arrays) of every launch of one training step, in order; load a data set first."""
        images, labels = self._split("train")
        return self.step.launches(images, labels, self.step.training_ops)

    def _load(self, dataset):
        self._splits, self._graphs = {}, {}
        device.write(self.step.buffers["scale"], dataset.scale)
        self._split("train")

    def _split(self, split):
        """Images and labels of a split on the card, copied at its first use."""
        if split not in self._splits:
            images, labels = self._loaded().split(split)
            self._splits[split] = tuple(
                device.to_device(np.ascontiguousarray(a, np.uint8).reshape(-1)) for a in (images, labels)
            )
        return self._splits[split]

    def _begin(self, steps, samples, shuffle, epoch=0, learning_rates=()):
        """Steer the next `steps` steps: the one copy to the card before an epoch."""
        self.step.reserve(steps)
        state = np.zeros(words.WORDS, np.int32)
        state[[words.EPOCH, words.SEED, words.SAMPLES, words.SHUFFLE]] = epoch, self.seed, samples, shuffle
        self.step.steer(state, learning_rates)

    def _train_epoch(self, epoch, steps):
        rates = self.optimizer.learning_rates(epoch, self.steps_per_epoch)
        self._begin(self.steps_per_epoch, len(self.dataset.train_labels), 1, epoch, rates)
        if self.mode == "copy per batch":
            self._copy_batches(epoch, steps)
        else:
            self._run("train", self.step.training_ops, steps)
        state, losses, _ = self.step.report(steps)
        if state[words.STATUS] or not np.isfinite(losses).all():
            raise FloatingPointError(
                f"the loss is not finite at step {max(state[words.STATUS] - 1, 0)} of epoch {epoch}; "
                "lower the learning rate or check the data"
            )
        self.epoch = epoch + 1
        return losses.astype(np.float64)

    def _run(self, split, ops, steps):
        """Run `steps` steps of `ops` on a split: as one graph, or launch by launch."""
        images, labels = self._split(split)
        queue = self.step.queue(images, labels, ops, self._stream, self._side)
        if self.mode != "graph":
            for _ in range(steps):
                queue()
        else:
            key = (split, ops is self.step.training_ops, steps, self.step.reserved_steps)
            if key not in self._graphs:
                self._graphs[key] = graphs.capture(self._stream, queue, steps)
            self._graphs[key].launch(self._stream)
        device.synchronize()

    def _copy_batches(self, epoch, steps):
        """The first rung of notebook 03: the host gathers and normalises each batch and copies it to the card."""
        from helpers.order import sample_order

        images, labels = self._split("train")
        queue = self.step.queue(images, labels, self.step.training_ops[1:], self._stream, self._side)
        host_images, host_labels = self.dataset.split("train")
        for step in range(steps):
            positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
            chosen = sample_order(len(host_labels), self.seed, epoch, positions)
            device.write(self.step.tensors["input"], self.dataset.normalize(host_images[chosen], np.float32))
            device.write(self.step.tensors["labels"], host_labels[chosen].astype(np.int32))
            queue()
            device.synchronize()

    def evaluate(self, split="test"):
        labels = self._loaded().split(split)[1]
        if not len(labels):
            raise ValueError(f"{self.dataset.name} has no {split} samples; load it with validation=k for some")
        steps = -(-len(labels) // self.batch_size)
        self._begin(steps, len(labels), shuffle=0)
        self._run(split, self.step.evaluation_ops, steps)
        _, losses, hits = self.step.report(steps)
        return {"loss": float(losses.sum(dtype=np.float64) / len(labels)), "accuracy": float(hits.sum() / len(labels))}

    def _predict(self, images):
        data = device.to_device(np.ascontiguousarray(images).reshape(-1))
        labels = device.to_device(np.zeros(len(images), np.uint8))
        steps = -(-len(images) // self.batch_size)
        self._begin(steps, len(images), shuffle=0)
        queue = self.step.queue(data, labels, self.step.evaluation_ops, self._stream, self._side)
        logits = []
        for _ in range(steps):
            queue()
            logits.append(device.to_host(self.step.tensors[self.step.program.logits]))
        return np.concatenate(logits).reshape(-1, self.network.classes)[: len(images)]

    def state(self):
        return {**self.step.read_slots(), "epoch": np.array(self.epoch)}

    def _load_state(self, state):
        self.step.write_slots(state)
        self.epoch = int(state["epoch"])

    @property
    def memory(self):
        data = sum(array.nbytes for split in self._splits.values() for array in split)
        return {**self.step.memory, "data set": data}
