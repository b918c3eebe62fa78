"""Engine `fused`: one persistent CUDA kernel trains whole epochs of a small network out of shared memory.

The host writes what steers the epochs, launches once and reads losses and status. Knows plans, kernels and the device;
must not learn how a stage computes.
"""

import time
from dataclasses import replace

import numpy as np

from helpers import device
from helpers.compiler import load
from helpers.device import SIMULATOR, DeviceError
from helpers.engines.base import Engine
from helpers.kernels.fused.barrier import LATE, PATIENCE, STATE_WORDS, TROUBLE, counters
from helpers.kernels.fused.epoch import epoch_kernel
from helpers.kernels.fused.layout import blank_factors, pack, unpack
from helpers.kernels.fused.parts import PER_EPOCH, STEPS
from helpers.kernels.fused.phases import TURN, phase_kernels
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import THREADS, card_of, plan_epoch
from helpers.kernels.fused.profile import MOST_PHASES
from helpers.kernels.state import EPOCH, SAMPLES, SEED, STATUS, STEP
from helpers.optimizers import SGD

PATIENT = 1 << 24  # looks for a late block: seconds on a card, where a step takes microseconds
INTERPRETED = Card(3, 64 * 1024, (7, 5))  # without a card: several blocks, few threads
INTERPRETED_THREADS = 32


class FusedEngine(Engine):
    """Trains a small Network with one launch for all epochs that are asked for at once.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`; every optimizer of optimizers.py.
    card : Card, optional
        Plan for this card instead of the one in use, such as a T4's plan on a larger card.
    threads : int, optional
        Threads a block, a multiple of 32.
    plan : Plan, optional
        Instead of the planner's own for `card` and `threads`.
    profiled : bool
        Count the cycles of each phase; `cycles()` tells them.
    patience : int
        How often a thread looks for a block that does not come before it gives up.

    Raises
    ------
    DoesNotFit
        Where the network does not fit the card's shared memory; the message names the layer and the bytes.
    DeviceError
        Without a GPU, unless NUMBA_ENABLE_CUDASIM=1 selects the interpreter; for a grid that cannot be resident.
    """

    name = "fused"
    precisions = ("fp32",)

    def __init__(
        self, network, optimizer, batch_size=128, precision="fp32", seed=0, card=None, threads=None, plan=None,
        profiled=False, patience=PATIENT,
    ):  # fmt: skip
        super().__init__(network, optimizer, batch_size, precision, seed)
        self._patience, self._evaluator = patience, None
        if SIMULATOR:
            card, threads = card or INTERPRETED, threads or INTERPRETED_THREADS
        elif card is None:
            card = card_of(device.device_properties(), device.capability())
        self.plan = plan or plan_epoch(network, self.batch_size, card, threads or THREADS)
        if (self.plan.network, self.plan.batch) != (network, self.batch_size):
            raise ValueError(
                f"the plan is of {self.plan.network.name} at batch {self.plan.batch}; expected {network.name} at "
                f"batch {self.batch_size}"
            )
        started = time.perf_counter()
        self._prepare(profiled)
        self.compile_seconds = time.perf_counter() - started
        self._place()
        self._load_state(self.initial_state())

    def _prepare(self, profiled):
        """Make what is launched: the epoch's kernel, or without a card its phases."""
        self.phases = []
        if SIMULATOR:
            images, *others = phase_kernels(self.plan, self.optimizer)
            self._images = load(images)
            self._update, self._report = load(others)
            return
        kernel, self.phases = epoch_kernel(self.plan, self.optimizer, profiled)
        (self._run,) = load([kernel])
        if self._run.resident_blocks < self.plan.blocks:
            raise DeviceError(
                f"{self.plan.blocks} blocks wait for each other, but the card holds {self._run.resident_blocks}; "
                "plan for the card in use"
            )

    def _place(self):
        """Buffers that do not depend on the number of steps."""
        plan = self.plan
        self._buffers = {
            "parameters": device.empty(plan.parameter_cells),
            "slots": device.empty(len(self.optimizer.slots) * plan.parameter_cells),
            "partials": device.empty(max(plan.image_blocks * plan.exchange, 1)),
            "factors": device.to_device(blank_factors(plan)),
            "scale": device.empty(2 * self.network.input_shape[-1]),
            "cycles": device.empty(plan.blocks * MOST_PHASES, np.int32),
        }
        device.fill(self._buffers["partials"], 0xFF)  # NaN until written
        self._steps, self._bound = 0, None

    def _reserve(self, steps):
        """Room for `steps` steps: samples and their losses; and one block that steers and reports."""
        if steps <= self._steps:
            return
        self._steps, self._bound, batch, position = steps, None, self.batch_size, 0
        for name, dtype in (("order", np.int32), ("sample_losses", np.float32), ("sample_hits", np.int32)):
            self._buffers[name] = device.empty(steps * batch, dtype)
        sizes = {
            "state": STATE_WORDS,
            "counter": counters(self.plan),
            "losses": steps,
            "hits": steps,
            "rates": 2 * steps,
        }
        self._control = device.empty(sum(sizes.values()), np.int32)
        for name, size in sizes.items():
            dtype = np.float32 if name in ("losses", "rates") else np.int32
            self._buffers[name] = device.view(self._control, 4 * position, size, dtype)
            position += size

    def initial_state(self):
        state = super().initial_state()
        slots = {name: np.zeros_like(state["parameters"]) for name in self.optimizer.slots}
        return {"parameters": state["parameters"], **slots, "epoch": state["epoch"]}

    def restart(self, seed, optimizer):
        """Begin anew with another seed and another schedule: both are data of a launch, nothing is compiled.

        Parameters
        ----------
        seed : int
        optimizer : Optimizer
            The engine's own but for its learning rate.

        Raises
        ------
        ValueError
            For an optimizer whose rule differs: that is part of the kernel.
        """
        if replace(optimizer, learning_rate=1.0) != replace(self.optimizer, learning_rate=1.0):
            raise ValueError(f"the kernel was made for {self.optimizer}; only its learning rate may change, not so for "
                             f"{optimizer}")  # fmt: skip
        self.seed, self.optimizer = int(seed), optimizer
        self._load_state(self.initial_state())

    def _load(self, dataset):
        images, labels = dataset.split("train")
        self._buffers["images"], self._buffers["labels"] = (
            device.to_device(np.ascontiguousarray(a, np.uint8).reshape(-1)) for a in (images, labels)
        )
        self._bound = None
        device.write(self._buffers["scale"], dataset.scale)
        if self._evaluator:
            self._evaluator.load(dataset)

    def train(self, first_epoch, epochs=1, steps=None):
        """All of `epochs` epochs in one launch; see `Engine.train`."""
        if steps not in (None, self.steps_per_epoch):  # epochs that end early are launches of their own
            return super().train(first_epoch, epochs, steps)
        steps = self.steps_per_epoch
        most = max(1, (TROUBLE - 1) // (2 * self.plan.blocks * steps))  # epochs of a launch: two meetings a step
        last = first_epoch + epochs
        parts = [self._train(e, min(most, last - e), steps) for e in range(first_epoch, last, most)]
        return np.concatenate(parts).reshape(epochs, steps)

    def _train_epoch(self, epoch, steps):
        return self._train(epoch, 1, steps)

    def _train(self, first, epochs, steps):
        """Losses of `epochs` * `steps` steps, flat."""
        self._steer(first, epochs, steps)
        self._launch(epochs * steps)
        report = device.to_host(self._control)
        words, start = report[:STATE_WORDS], STATE_WORDS + counters(self.plan)
        if words[LATE]:
            raise DeviceError(
                f"at meeting {words[LATE] - 1} of the blocks one did not come in time; other programs may use the card"
            )
        if words[STATUS]:
            epoch, step = divmod(int(words[STATUS]) - 1, steps)
            raise FloatingPointError(
                f"the loss is not finite at step {step} of epoch {first + epoch}; lower the learning rate or check "
                "the data"
            )
        self.epoch = first + epochs
        return report[start : start + epochs * steps].view(np.float32).astype(np.float64)

    def _steer(self, first, epochs, steps):
        """Write state, counter and the optimizer's factors: the one copy to the card before a launch."""
        self._reserve(epochs * steps)
        control = np.full(self._control.size, -1, np.int32)  # losses: NaN, read as float32
        control[: STATE_WORDS + counters(self.plan)] = 0
        where = [EPOCH, SEED, SAMPLES, STEPS, PER_EPOCH, PATIENCE]
        control[where] = first, self.seed, len(self.dataset.train_labels), epochs * steps, steps, self._patience
        factors = [self.optimizer.step_factors(e, self.steps_per_epoch)[:steps] for e in range(first, first + epochs)]
        rates = np.concatenate(factors).astype(np.float32).reshape(-1)
        begin = self._control.size - 2 * self._steps
        control[begin : begin + len(rates)] = rates.view(np.int32)
        device.write(self._control, control, wait=False)  # a launch without a stream comes behind it

    def _launch(self, steps):
        if not SIMULATOR:
            if self._bound is None:  # a new data set or more steps: other buffers
                self._bound = self._run.bind(*(self._buffers[name] for name, _ in self._run.kernel.arguments))
            self._bound()
            return
        arguments, state = [self._buffers[name] for name, _ in self._update.kernel.arguments], self._buffers["state"]
        for step in range(steps):
            for turn in range(self.plan.rounds):
                state[[STEP, TURN]] = step, turn
                for images in self._images:
                    images(*arguments)
            if state[STATUS]:
                return
            self._update(*arguments)
        self._report(*arguments)

    def cycles(self):
        """Cycles of each phase of a profiled kernel's last launch, int64, shape (blocks, phases)."""
        counted = device.to_host(self._buffers["cycles"]).reshape(self.plan.blocks, MOST_PHASES)
        return counted[:, : len(self.phases)].astype(np.int64)

    def _others(self):
        """An engine that evaluates with this one's parameters: `layerwise`, or `vectorized` what that refuses."""
        if self._evaluator is None:
            from helpers.engines import make_engine

            settings = self.network, SGD(), self.batch_size, self.precision, self.seed
            try:
                self._evaluator = make_engine("layerwise", *settings)
            except ValueError:
                self._evaluator = make_engine("vectorized", *settings)
            self._evaluator.load(self._loaded())
        state = self._evaluator.initial_state()
        self._evaluator.load_state({**state, "parameters": self.state()["parameters"]})
        return self._evaluator

    def evaluate(self, split="test"):
        return self._others().evaluate(split)

    def _predict(self, images):
        return self._others().predict(images)

    def state(self):
        read = {name: device.to_host(self._buffers[name]) for name in ("parameters", "slots")}
        slots = read["slots"].reshape(len(self.optimizer.slots), -1)
        named = {name: unpack(self.plan, slot) for name, slot in zip(self.optimizer.slots, slots)}
        return {"parameters": unpack(self.plan, read["parameters"]), **named, "epoch": np.array(self.epoch)}

    def _load_state(self, state):
        device.write(self._buffers["parameters"], pack(self.plan, state["parameters"]))
        device.write(self._buffers["slots"], np.concatenate([pack(self.plan, state[n]) for n in self.optimizer.slots]))
        self.epoch = int(state["epoch"])

    @property
    def memory(self):
        purposes = {"parameters": "parameters", "slots": "optimizer", "images": "data set", "labels": "data set"}
        sizes = {"parameters": 0, "optimizer": 0, "exchange": 0, "data set": 0}
        for name, buffer in self._buffers.items():
            if name not in ("state", "counter", "losses", "hits", "rates"):
                sizes[purposes.get(name, "exchange")] += buffer.nbytes
        return sizes
