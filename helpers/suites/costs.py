"""Suite "costs": what a system asks for beside an epoch's time: a start, a compiler, memory; and how fast it learns.

One process at a time, so that the card's memory is its own. Must not learn how an engine works.
"""

import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import NamedTuple

from helpers import device
from helpers.benchmark import MeasurementError, interleave, summarise
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
GIVEN_BACK = 16 * MEGABYTE  # more is no fluctuation: somebody else held it
# folders of compiled code: an empty one for each process, so that its start is a cold one
CACHES = ("CNN_CACHE", "CUDA_CACHE_PATH", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
SYSTEMS = tuple(system for system in OURS if system.gpu) + ORDINARY_AND_BEST
STARTED, RUNS = next(system for system in SYSTEMS if system.name == "jax (scan)"), 7  # one of the fastest to start


def cells(quick):
    """For each system, by the name of its file: memory on both networks, start and learning on lenet5 and MNIST.

    And what the sampling of memory costs a start.
    """
    small = {"train": 512, "test": 256} if quick else {}
    epochs = 2 if quick else EPOCHS
    systems = (System("vectorized", "BLAS, all cores"),) if quick else SYSTEMS
    learnt = {"network": "lenet5", "dataset": "mnist", **small}
    held = {"network": "vgg_small", "dataset": CIFAR_SHAPES}
    by_system = {_file_name(system): lambda _, system=system: costs(system, learnt, held, epochs) for system in systems}
    return by_system if quick else {**by_system, "sampling": lambda _: disturbance(STARTED, learnt, RUNS)}


def _file_name(system):
    return re.sub("[^a-z0-9]+", "-", system.name.lower()).strip("-")


def costs(system, learnt, held, epochs):
    """Records of one system: those of `learning` on the workload `learnt`, and peak_memory on it and on `held`."""
    try:
        least = _taken(system, TINY) if gpu_available() else None
        records, taken = learning(system, learnt, epochs)
        if least is None:
            return records
        return [*records, _peak(system, learnt, taken, least), _peak(system, held, _taken(system, held), least)]
    except Absent as reason:
        return [absence(base_of(system, workload), system, str(reason)) for workload in (learnt, held)]


def base_of(system, workload):
    """What every record of a system on a workload (arguments of `make_workload`) says of both; batch BATCH, fp32."""
    work = make_workload(**workload)
    named = {**system.named, "data": system.data, "network": work.network.name}
    return {**named, "dataset": work.label, "batch_size": BATCH, "precision": "fp32"}


def _one(value, unit):
    return {"unit": unit, "median": value, "min": value, "max": value, "runs": 1}


def learning(system, workload, epochs):
    """One process, from its cold start to the accuracy after its last epoch.

    Returns
    -------
    records : list of dict
        cold_start: from no process, but libraries that another one read before, to the end of its first epoch;
        compile_time: what the engine says it compiled, and
        the first epoch less a later one; time_to_accuracy: the test accuracy after each epoch over the seconds of
        training, compiled and in order before: `median` is the time to the goal, or where it was not reached that of
        all epochs, which `reached` says; test_accuracy_compared: the last accuracy.
    taken : int or None
        Bytes of the card that it took at most until the end of its first epoch; None without a card.

    Raises
    ------
    Absent
    """
    settings = chosen(find_records(experiment="validation_accuracy", network="lenet5", dataset="mnist"))
    workload = {**workload, **settings, "epochs": epochs}
    base, seconds, accuracies = base_of(system, workload), [], []
    with _high_water() as water, started(system, workload) as start:
        worker, taken = start.worker, water and water.close()
        worker.call("evaluate")
        worker.call("restart")
        for epoch in range(epochs):
            worker.call("prepare", epoch=epoch)
            seconds.append(worker.call("train", epoch=epoch)["seconds"])
            accuracies.append(worker.call("evaluate")["accuracy"])
    cold, compiling = start.seconds, start.compile_seconds + max(start.first_epoch - median(seconds), 0.0)
    print(f"  {cold:.1f} s to the end of the first epoch, {compiling:.1f} s of it compiling", flush=True)
    return [
        {"experiment": "cold_start", **base, **_one(cold, "s")},
        {"experiment": "compile_time", **base, **_one(compiling, "s")},
        *_over_time(base, seconds, accuracies),
    ], taken


class Start(NamedTuple):
    """A process that has trained its first epoch, and the seconds of its start, its compiler and that epoch."""

    worker: Worker
    seconds: float
    compile_seconds: float
    first_epoch: float


@contextmanager
def started(system, workload, folder=None):
    """A process that lives as long as the context.

    Parameters
    ----------
    system : System
    workload : dict
        Arguments of `make_workload`.
    folder : path, optional
        Of compiled code, which the process reads and fills; by default an empty one that goes with it.

    Yields
    ------
    Start

    Raises
    ------
    Absent
    """
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as kept:
        begun = time.perf_counter()
        with Worker(environment={**system.environment, **dict.fromkeys(CACHES, str(kept))}) as worker:
            made = enter(worker, system, workload, BATCH)
            first = worker.call("train", epoch=0)["seconds"]
            yield Start(worker, time.perf_counter() - begun, made["compile_seconds"], first)


def disturbance(system, workload, runs):
    """cold_start_alone and cold_start_sampled, in turns: how far the sampling of memory lengthens a start.

    No records where the system is absent; its own cell has the reason.
    """

    def timed(water):
        with water(), started(system, workload) as start:
            return start.seconds

    waters = {"cold_start_alone": nullcontext, "cold_start_sampled": _high_water}
    try:
        timed(nullcontext)  # so that the files of the libraries have been read before
    except Absent:
        return []
    seconds = interleave({name: lambda water=water: timed(water) for name, water in waters.items()}, runs)
    base = base_of(system, workload)
    return [{"experiment": name, **base, **summarise(seconds[name]).record("s")} for name in waters]


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
    """Most bytes of the card that others take from now on: driver's free memory, sampled; to be closed.

    Memory that is taken for less than SAMPLING_SECONDS may be missed.
    """

    def __init__(self):
        device.synchronize()  # this process's own context is there before the first sample
        self._before, self._open = device.memory_info()[0], True
        self._most, self._given_back = 0, 0
        self._pool = ThreadPoolExecutor(1)
        self._sampling = self._pool.submit(self._sample)

    def _sample(self):
        while self._open:
            taken = self._before - device.memory_info()[0]
            self._most, self._given_back = max(self._most, taken), max(self._given_back, -taken)
            time.sleep(SAMPLING_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._open = False
        self._pool.shutdown()

    def close(self):
        """End the sampling.

        Returns
        -------
        int

        Raises
        ------
        MeasurementError
            If nothing was taken, though a process that trains takes something; or if more was free than before: then
            another process held memory at first, and what this one took of it was not counted.
        DeviceError
            If the driver did not answer.
        """
        self.__exit__()
        self._sampling.result()  # raises what ended it early
        if self._given_back > GIVEN_BACK:
            given = self._given_back / MEGABYTE
            raise MeasurementError(
                f"{given:.0f} MB of the card were given back while memory was measured; measure again"
            )
        if self._most <= 0:
            raise MeasurementError(f"a process took {self._most} bytes of the card; the sampling is broken")
        return self._most


def _high_water():
    """A HighWater where there is a card, else a context of None."""
    return HighWater() if gpu_available() else nullcontext()


def _taken(system, workload):
    """Bytes of the card that a process takes until the end of its first epoch: a graph of all its steps counts."""
    with HighWater() as water, Worker(environment=system.environment) as worker:
        enter(worker, system, workload, min(BATCH, 8) if workload is TINY else BATCH)
        worker.call("train")
        return water.close()


def _peak(system, workload, taken, least):
    """peak_memory: all that a process took of the card; `data_set` and `tiny_network` say what is bound to be in it.

    A tiny network takes `least`: context, libraries, the allocator's first blocks and what a library tries its
    algorithms with. It is not taken off: a library that gives this room back uses it again for the next purpose.
    """
    base = base_of(system, workload)
    data = 0 if system.data == "host-fed" else make_workload(**workload).dataset.train_images.nbytes
    parts = {"data_set": data / MEGABYTE, "tiny_network": least / MEGABYTE}
    print(f"  {base['network']}: {taken / MEGABYTE:.0f} MB of the card", flush=True)
    return {"experiment": "peak_memory", **base, **_one(taken / MEGABYTE, "MB"), **parts}
