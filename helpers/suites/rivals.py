"""Rivals: systems that train the same workload, each in a process of its own, and prove their losses.

Knows a worker's requests and the float64 oracle; must not learn how an engine works or who else takes part (race.py).
"""

import re
import time
from dataclasses import dataclass, field

import numpy as np

from helpers.agreement import agreement_bound, check_agreement
from helpers.benchmark import summarise
from helpers.device import gpu_available
from helpers.workers import WorkerError

WHOLE_SECONDS = 1.0  # a longer epoch is timed on a slice that fits into this
SLICES = (1, 2, 5, 10, 20, 50, 100, 200)  # steps
PROOF_STEPS, PROOF_SECONDS = 20, 20.0
OUT_OF_MEMORY = re.compile("out of memory|RESOURCE_EXHAUSTED", re.IGNORECASE)
LITTLE_MEMORY = "what the others leave of the card's memory does not hold its step of {} images"
FEWER_RUNS = {2.0: 3, 10.0: 1}  # a turn longer than so many seconds is taken so often


@dataclass(frozen=True, eq=False)
class System:
    """One way to train: engine, the form it is run in, its options.

    `made_by` is the engine that makes the form where that is not the system's own; its record names it then.
    `slice_batch` replaces the batch where one batch would take minutes; a network in `skips` is not tried. A
    `framework` may be absent, which its record then says. `environment` are variables of its process.
    """

    engine: str
    form: str
    options: dict = field(default_factory=dict)
    gpu: bool = False
    slice_batch: dict = field(default_factory=dict)
    skips: tuple[str, ...] = ()
    framework: bool = False
    environment: dict = field(default_factory=dict)
    data: str = "resident"  # where training images lie when an epoch begins: or "host-fed"
    made_by: str = ""

    @property
    def name(self):
        """Engine and form, as in messages."""
        return f"{self.engine} ({self.form})"

    @property
    def named(self):
        """What its records say of it."""
        made_by = {"made_by": self.made_by} if self.made_by else {}
        return {"system": self.engine, "form": self.form, **made_by}

    @property
    def on_host(self):
        """Whether it leaves the card alone."""
        return not (self.gpu or self.framework)

    def batch_for(self, workload, batch_size):
        """Images of a step: `batch_size`, or fewer where that many would take minutes."""
        return self.slice_batch.get(str(workload["network"]), batch_size)


class Absent(Exception):
    """A framework's form cannot run here; the message is the reason, one sentence."""


def enter(worker, system, workload, batch_size, precision="fp32"):
    """Let a worker make a system's engine; its answer to "make".

    Raises
    ------
    Absent
        Where a framework is missing, refuses the workload, or misses the card that is there.
    """
    settings = {"batch_size": batch_size, "precision": precision, "seed": 0, "options": system.options}
    try:
        made = worker.call("make", engine=system.made_by or system.engine, workload=workload, **settings)
    except WorkerError as error:
        kind, _, reason = str(error).partition(": ")
        if system.framework and kind in ("ImportError", "ValueError"):
            raise Absent(reason) from None
        raise
    if system.framework and gpu_available() and not made["on_gpu"]:
        raise Absent(f"{system.engine} finds no GPU on this machine")
    return made


def absence(base, system, reason):
    """The record of a framework's form that cannot run here; `base` names the workload."""
    print(f"  {system.name} is absent: {reason}", flush=True)
    return {**base, "experiment": "absent", **system.named, "unit": "", "reason": reason}


class Rival:
    """A system at work on one workload: a worker process, its slice of an epoch, and its proof of agreement."""

    def __init__(self, worker, system, workload, batch_size, proof_steps=PROOF_STEPS, precision="fp32"):
        self.system, self.batch_size, self._worker, self._most_steps = system, batch_size, worker, proof_steps
        self.slice_batch, started = system.batch_for(workload, batch_size), time.perf_counter()
        self.steps_per_epoch = enter(worker, system, workload, self.slice_batch, precision)["steps_per_epoch"]
        self.start_seconds = time.perf_counter() - started
        self.share, self.losses = 0.0, None

    def settle(self):
        """Compile, and choose the slice of an epoch that a turn takes; returns this rival.

        To be called when no other rival works, though several may be made at once: libraries choose their algorithms by
        timing them, and on a busy card XLA was seen to choose less accurate ones.

        Raises
        ------
        Absent
            Where the card's memory does not hold a framework's step.
        """
        try:
            return self._settle()
        except WorkerError as error:
            if self.system.framework and OUT_OF_MEMORY.search(str(error)):
                raise Absent(LITTLE_MEMORY.format(self.slice_batch)) from None
            raise

    def _settle(self):
        started = time.perf_counter()
        step = self._step_seconds()
        whole = step * self.steps_per_epoch <= WHOLE_SECONDS and self.slice_batch == self.batch_size
        fitting = [s for s in SLICES if s * step <= WHOLE_SECONDS and s <= self.steps_per_epoch]
        self.slice_steps = None if whole else max(fitting, default=1)
        self.proof_steps = max(1, min(self._most_steps, self.steps_per_epoch, int(PROOF_SECONDS / step)))
        self.turn_seconds = step * (self.slice_steps or self.steps_per_epoch)
        if self.turn_seconds < min(FEWER_RUNS):
            self.turn()  # an epoch's graph is captured at its first launch
        self._worker.call("trim")  # who settles next finds room, and what it tried to choose its kernels is not needed
        self.settle_seconds = time.perf_counter() - started
        return self

    def _step_seconds(self):
        """Seconds of a step behind the one that compiles; of as many as are proven, for which some forms compile."""
        several = min(self._most_steps, self.steps_per_epoch)
        if not self.system.framework:
            self._worker.call("train", steps=1)
            step = self._worker.call("train", steps=1)["seconds"]
            if step * several > WHOLE_SECONDS:
                return step
        self._worker.call("train", steps=several)
        return self._worker.call("train", steps=several)["seconds"] / several

    def prove(self, reference, bound):
        """Train the first steps from the initial state, keep their `losses`; raises where one leaves the bound."""
        self._worker.call("restart")
        losses = np.array(self._worker.call("train", steps=self.proof_steps)["losses"])
        reference, bound = reference[: self.proof_steps], bound[: self.proof_steps]
        self.losses = losses
        share = check_agreement(losses, reference, bound, self.system.name)
        self.share = max(self.share, share)

    def runs(self, wanted):
        """Turns to take, where `wanted` would do for a fast one."""
        return min([wanted, *(runs for limit, runs in FEWER_RUNS.items() if self.turn_seconds > limit)])

    def turn(self):
        """One timed turn; seconds."""
        return self._worker.call("train", epoch=1, steps=self.slice_steps)["seconds"]

    @property
    def images(self):
        """Images of one turn."""
        return (self.slice_steps or self.steps_per_epoch) * self.slice_batch

    def record(self, base, seconds, epoch_images):
        """Measurement record of an epoch of `epoch_images`, by the `seconds` of turns; `base` names the workload."""
        timing, scaled = summarise(seconds), self.images != epoch_images
        record = {
            **{**base, **self.system.named, "data": self.system.data},
            **timing.record("ms", epoch_images / self.images),
            **{"scaled": scaled, "agreement": self.share, "agreement_steps": self.proof_steps},
        }
        if scaled:
            record |= {"slice_batch": self.slice_batch, "slice_steps": self.images // self.slice_batch}
        return record


_bounds = {}


def oracle(work, batch, steps, precision):
    """`agreement_bound` of a workload, for libraries that choose among algorithms: float64 losses and the bound."""
    samples = work.dataset.fingerprint, len(work.dataset.train_labels)  # the first does not tell how data are split
    key = (work.network, work.optimizer, *samples, batch, steps, precision)
    if key not in _bounds:
        _bounds[key] = agreement_bound(work.network, work.optimizer, work.dataset, batch, 0, steps, precision, True)
    return _bounds[key]
