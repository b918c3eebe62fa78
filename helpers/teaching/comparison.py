"""Systems on the same work, live in a notebook: each in a process of its own, proven, then timed in turns.

Knows the suites' rivals; must not learn how an engine computes or what a chart looks like.
"""

from contextlib import ExitStack

import pandas as pd

from helpers.benchmark import interleave, summarise
from helpers.device import gpu_available
from helpers.drawing.system_lines import system_name
from helpers.report import say
from helpers.startup import card_name
from helpers.suites.epoch import PROOF_RATES, TINY
from helpers.suites.frameworks import EXPERIMENT, ORDINARY_AND_BEST, OURS
from helpers.suites.rivals import Absent, Rival, oracle
from helpers.suites.workloads import make_workload
from helpers.workers import Worker

PROVEN = "{name}: the first {steps} losses stay within the bound; they use at most {percent:.0f} % of it."
ABSENT = "{name} is absent: {reason}."
LENET5 = {"network": "lenet5", "dataset": "mnist", "rate": PROOF_RATES["lenet5"]}


class Comparison:
    """Ours and the frameworks' ordinary and best forms on one workload; lenet5 on a card, a tiny network elsewhere.

    Parameters
    ----------
    batch_size, steps, runs : int
        `steps`: losses to prove; `runs`: turns of each system.
    systems : sequence of System, optional

    Attributes
    ----------
    losses : dict of (system, form) to ndarray
        First losses of each system that is here.
    reference, bound : ndarray
        Their float64 values, and how far rounding may take them away.
    absent : list of dict
        A record for each system that is not here, with its reason.
    """

    def __init__(self, batch_size=128, steps=100, runs=7, systems=OURS + ORDINARY_AND_BEST):
        self.workload = LENET5 if gpu_available() else TINY
        work = make_workload(**self.workload)
        self.batch_size, self.runs, self._systems = batch_size, runs, systems
        self.steps = min(steps, len(work.dataset.train_labels) // batch_size)
        self._base = {
            "network": work.network.name,
            "dataset": work.label,
            "batch_size": batch_size,
            "precision": "fp32",
        }
        self.reference, self.bound = oracle(work, batch_size, self.steps, "fp32")
        self._processes, self._rivals = ExitStack(), {}
        self.losses, self.absent = {}, []

    def prove(self):
        """Start a process for each system and hold its first losses against float64; a sentence for each.

        Raises
        ------
        AssertionError
            If a loss leaves the bound.
        """
        for system in self._systems:
            key = system.engine, system.form
            if system.gpu and not gpu_available():
                self._say_absent(system, "it needs a GPU")
                continue
            worker = self._processes.enter_context(Worker(environment=system.environment))
            try:
                rival = Rival(worker, system, self.workload, self.batch_size, self.steps).settle()
            except Absent as reason:
                self._say_absent(system, str(reason))
                continue
            rival.prove(self.reference, self.bound)
            self._rivals[key], self.losses[key] = rival, rival.losses
            say(PROVEN, name=", ".join(key), steps=rival.proof_steps, percent=100 * rival.share)

    def _say_absent(self, system, reason):
        self.absent.append({**self._base, "system": system.engine, "form": system.form, "reason": reason})
        say(ABSENT, name=f"{system.engine}, {system.form}", reason=reason)

    def race(self):
        """Let all systems take turns at an epoch, prove them again and end their processes.

        Returns
        -------
        list of dict
            Records like those of the suite "frameworks".
        """
        with self._processes:
            for rival in self._rivals.values():
                rival.turn()
            turns = {key: rival.runs(self.runs) for key, rival in self._rivals.items()}
            seconds = interleave({key: rival.turn for key, rival in self._rivals.items()}, turns)
            for rival in self._rivals.values():
                rival.prove(self.reference, self.bound)
            epoch = next(iter(self._rivals.values())).steps_per_epoch * self.batch_size
            return [self._record(key, seconds[key], epoch) for key in self._rivals]

    def _record(self, key, seconds, epoch_images):
        rival = self._rivals[key]
        named = {"experiment": EXPERIMENT, "system": key[0], "form": key[1], "gpu": card_name(), **self._base}
        scaled = rival.images != epoch_images
        return {**named, **summarise(seconds).record("ms", epoch_images / rival.images), "scaled": scaled}


FRAMEWORKS = ("pytorch", "jax", "keras", "tensorflow")
# experiment of a record: its column in the table of costs, with the unit
COSTS = {
    "cold_start": "cold start to the first epoch, s",
    "compile_time": "compiling, s",
    "time_to_accuracy": "to 99 %, s",
    "peak_memory": "memory, MB",
}


def fastest_framework(records):
    """The record of the fastest framework's form among compared_epoch_time records, or None without one."""
    return min((r for r in records if r["system"] in FRAMEWORKS), key=lambda record: record["median"], default=None)


def costs_table(records):
    """What a system asks for beside an epoch's time: a row for each system and form, a column for each of `COSTS`.

    Parameters
    ----------
    records : list of dict
        Of the suite "costs", for one network, data set and batch.

    Returns
    -------
    pandas.DataFrame or None
        None, with a sentence, where nothing was measured.
    """
    rows = {}
    for record in records:
        if record["experiment"] in COSTS and record.get("reached", True):
            rows.setdefault(system_name(record), {})[COSTS[record["experiment"]]] = record["median"]
    if not rows:
        print("No table: costs have not been measured on any card yet.")
        return None
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(COSTS.values())).rename_axis("system, form")
