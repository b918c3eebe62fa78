"""Systems on the same work, live in a notebook: each in a process of its own, proven, then timed in turns.

Knows the suites' rivals; must not learn how an engine computes or what a chart looks like.
"""

from contextlib import ExitStack

from helpers.benchmark import interleave, summarise
from helpers.device import gpu_available
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
                rival = Rival(worker, system, self.workload, self.batch_size, self.steps)
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
