"""Systems on the same work, live in a notebook: each in a process of its own, proven, then timed in turns.

Knows the suites' rivals; must not learn how an engine computes or what a chart looks like.
"""

from dataclasses import replace

import numpy as np

from helpers.device import gpu_available
from helpers.engines import make_engine
from helpers.report import say
from helpers.startup import card_name
from helpers.suites.epoch import PROOF_RATES, TINY
from helpers.suites.frameworks import EXPERIMENT, ORDINARY_AND_BEST, OURS
from helpers.suites.race import Race

PROVEN = "{name}: the first {steps} losses stay within the bound; they use at most {percent:.1f} % of it."
MISTAKE = (
    "A learning rate that is {percent:.0f} % off, with all else equal, leaves the bound at step {step}: its loss is "
    "{times:,.1f} times as far away as rounding allows."
)
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
        self.workload, self.batch_size, self.runs = LENET5 if gpu_available() else TINY, batch_size, runs
        self._race = Race(self.workload, systems, batch_size, steps)
        self.reference, self.bound = self._race.references[batch_size]
        self.steps, self.losses, self.absent = len(self.reference), {}, []
        for system, reason in self._race.absent.items():
            self.absent.append({**self._race.named, **system.named, "reason": reason})

    def prove(self):
        """Hold the first losses of each system against float64; a sentence for each.

        Raises
        ------
        AssertionError
            If a loss leaves the bound.
        """
        self._race.prove()
        for system, rival in self._race.rivals.items():
            key = system.engine, system.form
            self.losses[key] = rival.losses
            say(PROVEN, name=", ".join(key), steps=rival.proof_steps, percent=100 * rival.share)

    def say_mistake(self, factor=1.01):
        """Say how soon NumPy leaves the bound when its learning rate is off by `factor`.

        Raises
        ------
        AssertionError
            If it does not: then the bound would prove nothing.
        """
        work = self._race.work
        wrong = replace(work.optimizer, learning_rate=factor * work.optimizer.learning_rate)
        engine = make_engine("vectorized", work.network, wrong, self.batch_size, processes=1)
        engine.load(work.dataset)
        shares = np.abs(engine.train(0, 1, self.steps)[0] - self.reference) / self.bound
        outside = np.flatnonzero(shares > 1)
        if not len(outside):
            raise AssertionError(
                f"a learning rate off by the factor {factor} stays within the bound: it proves nothing"
            )
        say(MISTAKE, percent=100 * abs(factor - 1), step=outside[0] + 1, times=shares[outside[0]])

    def race(self):
        """Let all systems take turns at an epoch, prove them again and end their processes.

        Returns
        -------
        list of dict
            Records like those of the suite "frameworks".
        """
        with self._race as race:
            seconds = race.run(self.runs)
            race.prove()
        say("After the last turn the losses of all {count} were proven again.", count=len(race.rivals))
        return [{**record, "gpu": card_name()} for record in race.records(seconds, EXPERIMENT)]


FRAMEWORKS = {"pytorch": "PyTorch", "jax": "JAX", "keras": "Keras", "tensorflow": "TensorFlow"}


def framework_forms(records):
    """How many forms of which frameworks records of one cell hold, in words: "9 forms of PyTorch, JAX and Keras"."""
    forms = {(record["system"], record["form"]) for record in records if record["system"] in FRAMEWORKS}
    here = {system for system, _ in forms}
    *others, last = (name for system, name in FRAMEWORKS.items() if system in here)
    names = f"{', '.join(others)} and {last}" if others else last
    return f"{len(forms)} form{'s' * (len(forms) > 1)} of {names}"


def fastest_framework(records):
    """The record of the fastest framework's form among compared_epoch_time records, or None without one."""
    return min((r for r in records if r["system"] in FRAMEWORKS), key=lambda record: record["median"], default=None)
