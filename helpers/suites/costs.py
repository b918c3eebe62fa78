"""Suite "costs": what a system asks for beside an epoch's time: a start, a compiler, memory; and how fast it learns.

One process at a time, so that the card's memory is its own. Must not learn how an engine works.
"""

import tempfile
import threading
import time
from statistics import median

from helpers import device
from helpers.benchmark import MeasurementError
from helpers.device import gpu_available
from helpers.results import find_records
from helpers.suites.accuracy import GOAL, chosen
from helpers.suites.epoch import TINY
from helpers.suites.frameworks import ORDINARY_AND_BEST, OURS
from helpers.suites.rivals import Absent, System, absence, enter
from helpers.suites.workloads import CIFAR_SHAPES, make_workload
from helpers.workers import Worker

BATCH, EPOCHS = 128, 10
SAMPLING_SECONDS, MEGABYTE = 0.002, 1e6
# folders of compiled code: an empty one for each process, so that its start is a cold one
CACHES = ("CNN_CACHE", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
SYSTEMS = tuple(system for system in OURS if system.gpu) + ORDINARY_AND_BEST


def cells(quick):
    """For each system its start and its learning on lenet5 and MNIST, and its memory on both networks."""
    small = {"train": 512, "test": 256} if quick else {}
    epochs = 2 if quick else EPOCHS
    systems = (System("vectorized", "BLAS, all cores"),) if quick else SYSTEMS
    lenet5 = {"network": "lenet5", "dataset": "mnist", **small}
    works = (lenet5, {"network": "vgg_small", "dataset": CIFAR_SHAPES})
    found = {}
    for system in systems:
        found[f"start and learning of {system.name}"] = lambda _, system=system: learning(system, lenet5, epochs)
        if gpu_available():
            found[f"memory of {system.name}"] = lambda _, system=system: memory(system, works)
    return found


def _base(system, workload):
    work = make_workload(**workload)
    named = {"system": system.engine, "form": system.form, "data": system.data, "network": work.network.name}
    return {**named, "dataset": work.label, "batch_size": BATCH, "precision": "fp32"}


def _one(value, unit):
    return {"unit": unit, "median": value, "min": value, "max": value, "runs": 1}


def learning(system, workload, epochs):
    """Records of one process, from its cold start to the accuracy after its last epoch.

    Returns
    -------
    list of dict
        cold_start: from no process to the end of its first epoch; compile_time: what the engine says it compiled, and
        the first epoch less a later one; time_to_accuracy: the test accuracy after each epoch over the seconds of
        training, compiled before: `median` is the time to the goal, or where it was not reached that of all epochs,
        which `reached` says; test_accuracy_compared: the last accuracy.
    """
    settings = chosen(find_records(experiment="validation_accuracy", network="lenet5", dataset="mnist"))
    workload = {**workload, **settings, "epochs": epochs}
    base, seconds, accuracies = _base(system, workload), [], []
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with Worker(environment={**system.environment, **dict.fromkeys(CACHES, folder)}) as worker:
            try:
                made = enter(worker, system, workload, BATCH)
            except Absent as reason:
                return [absence(base, system, str(reason))]
            first = worker.call("train", epoch=0)["seconds"]
            cold = time.perf_counter() - started
            worker.call("evaluate")
            worker.call("restart")
            for epoch in range(epochs):
                seconds.append(worker.call("train", epoch=epoch)["seconds"])
                accuracies.append(worker.call("evaluate")["accuracy"])
    compiling = made["compile_seconds"] + max(first - median(seconds), 0.0)
    print(f"  {cold:.1f} s to the end of the first epoch, {compiling:.1f} s of it compiling", flush=True)
    return [
        {"experiment": "cold_start", **base, **_one(cold, "s")},
        {"experiment": "compile_time", **base, **_one(compiling, "s")},
        *_over_time(base, seconds, accuracies),
    ]


def _over_time(base, seconds, accuracies):
    """time_to_accuracy and test_accuracy_compared of epochs that took `seconds` each."""
    spent = [sum(seconds[: epoch + 1]) for epoch in range(len(seconds))]
    reached = [accuracy >= GOAL for accuracy in accuracies]
    to_goal = spent[reached.index(True)] if any(reached) else spent[-1]
    print(f"  {accuracies[-1]:.2%} of the test images are right after {spent[-1]:.2f} s", flush=True)
    curve = {"seconds": spent, "curve": accuracies, "goal": GOAL, "reached": any(reached)}
    last = {**base, **_one(accuracies[-1], "share"), "epochs": len(seconds)}
    return [
        {"experiment": "time_to_accuracy", **base, **_one(to_goal, "s"), **curve},
        {"experiment": "test_accuracy_compared", **last},
    ]


class HighWater:
    """Most bytes of the card that others took while this was open: driver's free memory, sampled.

    Attributes
    ----------
    bytes : int
        Since the beginning; memory that was taken for less than SAMPLING_SECONDS may be missed.
    """

    def __enter__(self):
        device.synchronize()  # this process's own context is there before the first sample
        self._before, self.bytes, self._open = device.memory_info()[0], 0, True
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self):
        while self._open:
            self.bytes = max(self.bytes, self._before - device.memory_info()[0])
            time.sleep(SAMPLING_SECONDS)

    def __exit__(self, *_):
        self._open = False
        self._thread.join()


def memory(system, workloads):
    """peak_memory: what a process takes of the card, less its data set and what it takes for a tiny network.

    The tiny network's share is context, libraries and the allocator's first blocks: `context`, in MB beside it.
    """
    try:
        context = _taken(system, TINY)
        return [_peak(system, workload, context) for workload in workloads]
    except Absent as reason:
        return [absence(_base(system, workload), system, str(reason)) for workload in workloads]


def _peak(system, workload, context):
    base = _base(system, workload)
    data = 0 if system.data == "host-fed" else make_workload(**workload).dataset.train_images.nbytes
    own = (_taken(system, workload) - context - data) / MEGABYTE
    print(f"  {base['network']}: {own:.0f} MB beside data set and context", flush=True)
    return {"experiment": "peak_memory", **base, **_one(own, "MB"), "context": context / MEGABYTE}


def _taken(system, workload):
    """`_high_water` of a process, which must be more than nothing."""
    taken = _high_water(system, workload)
    if taken <= 0:
        raise MeasurementError(f"{system.engine} took {taken} bytes of the card; the sampling is broken")
    return taken


def _high_water(system, workload, steps=4):
    with HighWater() as water, Worker(environment=system.environment) as worker:
        made = enter(worker, system, workload, min(BATCH, 8) if workload is TINY else BATCH)
        for _ in range(2):
            worker.call("train", steps=min(steps, made["steps_per_epoch"]))
    return water.bytes
