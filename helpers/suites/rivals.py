"""Rivals: systems that train the same workload in processes of their own, prove their losses and take turns.

Each system's losses are held against the float64 oracle before and after the timing; the largest share of the
allowed gap stands in its record. Must not learn how an engine works.
"""

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from helpers.agreement import agreement_bound, check_agreement
from helpers.benchmark import interleave, summarise
from helpers.device import gpu_available
from helpers.suites.workloads import make_workload
from helpers.workers import Worker, WorkerError

WHOLE_SECONDS = 1.0  # a longer epoch is timed on a slice that fits into this
SLICES = (1, 2, 5, 10, 20, 50, 100, 200)  # steps
PROOF_STEPS, PROOF_SECONDS = 20, 5.0
RUNS = 9
FEWER_RUNS = {2.0: 3, 10.0: 1}  # a turn longer than so many seconds is taken so often


@dataclass(frozen=True)
class System:
    """One way to train: engine, the form it is run in, its options.

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
        made = worker.call("make", engine=system.engine, workload=workload, **settings)
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
    print(f"  {system.engine} ({system.form}) is absent: {reason}", flush=True)
    named = {"experiment": "absent", "system": system.engine, "form": system.form, "unit": ""}
    return {**base, **named, "reason": reason}


class Rival:
    """A system at work on one workload: a worker process, its slice of an epoch, and its proof of agreement."""

    def __init__(self, worker, system, workload, batch_size, proof_steps=PROOF_STEPS, precision="fp32"):
        self.system, self.batch_size, self._worker, self._most_steps = system, batch_size, worker, proof_steps
        self.slice_batch = system.slice_batch.get(str(workload["network"]), batch_size)
        self.steps_per_epoch = enter(worker, system, workload, self.slice_batch, precision)["steps_per_epoch"]
        worker.call("train", steps=1)  # most of its time may be compiling
        self.share, self.losses = 0.0, None

    def settle(self):
        """Choose the slice of an epoch that a turn takes, by the time of a step; returns this rival.

        To be called when no other rival works: several may be made at once.
        """
        step = self._step_seconds()
        whole = step * self.steps_per_epoch <= WHOLE_SECONDS and self.slice_batch == self.batch_size
        fitting = [s for s in SLICES if s * step <= WHOLE_SECONDS and s <= self.steps_per_epoch]
        self.slice_steps = None if whole else max(fitting, default=1)
        self.proof_steps = max(1, min(self._most_steps, self.steps_per_epoch, int(PROOF_SECONDS / step)))
        self.turn_seconds = step * (self.slice_steps or self.steps_per_epoch)
        return self

    def _step_seconds(self):
        """Seconds of a step; the one that compiles is over."""
        step = self._worker.call("train", steps=1)["seconds"]
        several = min(PROOF_STEPS, self.steps_per_epoch)
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
        share = check_agreement(losses, reference, bound, f"{self.system.engine} ({self.system.form})")
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


def measure(
    workload, systems, batch_size=128, runs=RUNS, proof_steps=PROOF_STEPS, precision="fp32", experiment="epoch_time"
):
    """Records of an epoch's time of all systems that this machine can run, and "absent" ones of missing frameworks.

    Parameters
    ----------
    workload : dict
        Arguments of `make_workload`.
    systems : sequence of System
    batch_size, runs : int
    proof_steps : int
        Steps whose losses are held against float64, at most.
    precision, experiment : str

    Returns
    -------
    list of dict
    """
    work = make_workload(**workload)
    steps = len(work.dataset.train_labels) // batch_size
    base = {"network": work.network.name, "dataset": work.label, "batch_size": batch_size, "precision": precision}
    with ExitStack() as stack:
        rivals, absent = {}, []
        for system, made in _made_at_once(systems, workload, batch_size, proof_steps, precision, stack):
            try:
                rivals[f"{system.engine} ({system.form})"] = made.result()
            except Absent as reason:
                absent.append(absence(base, system, str(reason)))
        for rival in rivals.values():
            rival.settle()
        _prove(rivals, work, precision)
        for rival in rivals.values():
            if rival.turn_seconds < min(FEWER_RUNS):
                rival.turn()  # an epoch's graph is captured at its first launch
        turns = {name: rival.runs(runs) for name, rival in rivals.items()}
        seconds = interleave({name: rival.turn for name, rival in rivals.items()}, turns)
        again = {name: rival for name, rival in rivals.items() if rival.turn_seconds < max(FEWER_RUNS)}
        _prove(again, work, precision)
    base = {"experiment": experiment, **base}
    return [*(_record(base, rivals[name], seconds[name], steps * batch_size) for name in rivals), *absent]


def _made_at_once(systems, workload, batch_size, proof_steps, precision, stack):
    """(system, future of its Rival) of all that this machine may run; starts and compilers take most of the time."""
    pool, made = stack.enter_context(ThreadPoolExecutor()), []
    for system in systems:
        if workload["network"] in system.skips:
            continue
        if system.gpu and not gpu_available():
            print(f"  no GPU: {system.engine} ({system.form}) is left out", flush=True)
            continue
        worker = stack.enter_context(Worker(environment=system.environment))
        made.append((system, pool.submit(Rival, worker, system, workload, batch_size, proof_steps, precision)))
    wait([future for _, future in made])
    return made


def _prove(rivals, work, precision):
    """Hold every rival's first losses against float64, at its own batch size."""
    for batch in {rival.slice_batch for rival in rivals.values()}:
        alike = [rival for rival in rivals.values() if rival.slice_batch == batch]
        steps = max(rival.proof_steps for rival in alike)
        reference, bound = oracle(work, batch, steps, precision)
        for rival in alike:
            rival.prove(reference, bound)


_bounds = {}


def oracle(work, batch, steps, precision):
    """`agreement_bound` of a workload: float64 losses and the bound; computed once."""
    key = (work.network, work.label, batch, steps, precision)
    if key not in _bounds:
        _bounds[key] = agreement_bound(work.network, work.optimizer, work.dataset, batch, 0, steps, precision)
    return _bounds[key]


def _record(base, rival, seconds, epoch_images):
    timing, scaled = summarise(seconds), rival.images != epoch_images
    record = {
        **{**base, "system": rival.system.engine, "form": rival.system.form, "data": rival.system.data},
        **timing.record("ms", epoch_images / rival.images),
        **{"scaled": scaled, "agreement": rival.share, "agreement_steps": rival.proof_steps},
    }
    if scaled:
        record |= {"slice_batch": rival.slice_batch, "slice_steps": rival.images // rival.slice_batch}
    print(f"  {record['system']} ({record['form']}): {record['median']:.1f} ms", flush=True)
    return record
