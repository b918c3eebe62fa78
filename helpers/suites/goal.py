"""How soon lenet5 gets 99 % of MNIST's test images right with all epochs in one kernel.

Batch, epochs and schedule are chosen on a validation split by a rule that stands here; the test set is read once by
each seed of the choice. Must not learn how an engine works.
"""

import time
from dataclasses import asdict, dataclass
from itertools import product
from math import sqrt

import numpy as np

from helpers.engines import make_engine
from helpers.optimizers import SGD, linear
from helpers.suites.workloads import make_workload

GOAL = 0.99
VALIDATION, CHOICE_SEEDS, TEST_SEEDS = 5_000, tuple(range(100, 108)), tuple(range(20))
MARGIN = 2.0  # standard errors of the mean by which a candidate must be above the goal
SECONDS = 60.0  # no candidate is begun later
MOMENTUM = 0.9


@dataclass(frozen=True)
class Candidate:
    """SGD with Nesterov's momentum; the rate rises for `warmup` epochs to `peak` and falls to 0 in a straight line."""

    batch_size: int
    epochs: int
    peak: float
    warmup: float
    weight_decay: float = 0.0

    @property
    def optimizer(self):
        schedule = linear(self.peak, self.epochs, self.warmup)
        return SGD(schedule, MOMENTUM, nesterov=True, weight_decay=self.weight_decay)


# short trainings first: what is tried before the time is up decides
GRID = tuple(
    Candidate(batch, epochs, peak, warmup)
    for epochs, peak, warmup, batch in product((5, 6, 7, 8), (0.05, 0.1, 0.15), (0.5, 1.0), (128,))
)


class Course:
    """Trains candidates on one data set; a kernel is compiled for each batch and rule, and serves all schedules.

    Parameters
    ----------
    workload : dict
        Arguments of `make_workload`.
    engine : str
        "fused"; another one where there is no card.
    """

    def __init__(self, workload, engine="fused"):
        self.work, self._name, self._engines = make_workload(**workload), engine, {}
        self._judge = make_engine("layerwise" if engine == "fused" else engine, self.work.network, SGD(), 128)
        self._judge.load(self.work.dataset)

    def train(self, candidate, seed, split):
        """(accuracy on `split`, milliseconds of the call that trains all epochs) of one training."""
        engine = self._engine(candidate)
        engine.restart(seed, candidate.optimizer)
        started = time.perf_counter()
        losses = engine.train(0, candidate.epochs)
        seconds = time.perf_counter() - started
        if not np.isfinite(losses).all():
            raise AssertionError(f"a loss of {candidate} is not finite")
        state = self._judge.initial_state()
        self._judge.load_state({**state, "parameters": engine.state()["parameters"]})
        return self._judge.evaluate(split)["accuracy"], 1e3 * seconds

    def _engine(self, candidate):
        key = candidate.batch_size, candidate.weight_decay
        if key not in self._engines:
            made = make_engine(self._name, self.work.network, candidate.optimizer, candidate.batch_size)
            made.load(self.work.dataset)
            made.train(0)  # the first launch is slower
            self._engines[key] = made
        return self._engines[key]


def goal(grid=GRID, choice_seeds=CHOICE_SEEDS, test_seeds=TEST_SEEDS, seconds=SECONDS, make=Course, **sizes):
    """Records: goal_choice of each candidate tried, goal_seed of each seed of the choice, and goal_summary.

    Parameters
    ----------
    grid : sequence of Candidate
    choice_seeds, test_seeds : sequence of int
    seconds : float
        No candidate is begun later than this after the first.
    make : callable
        (workload) -> Course.
    **sizes
        Of the data set, for trials (`make_workload`).

    Returns
    -------
    list of dict
    """
    workload = {"network": "lenet5", "dataset": "mnist", **sizes}
    course, tried, started = make({**workload, "validation": sizes.get("validation", VALIDATION)}), [], None
    for candidate in grid:
        if started is not None and time.monotonic() - started > seconds:
            print(f"  {len(grid) - len(tried)} candidates are left out, the time is up", flush=True)
            break
        accuracies, spent = zip(*(course.train(candidate, seed, "validation") for seed in choice_seeds))
        started = started or time.monotonic()
        tried.append((candidate, accuracies, spent))
        print(
            f"  {candidate}: {np.mean(accuracies):.4f} on the validation split, {np.median(spent):.1f} ms", flush=True
        )
    base = {"system": "fused", "form": "one kernel for all epochs", "network": course.work.network.name}
    base |= {"dataset": course.work.label, "precision": "fp32", "goal": GOAL, "momentum": MOMENTUM, "nesterov": True}
    candidate = choose(tried)
    print(f"  chosen: {candidate}", flush=True)
    course = make(workload)
    runs = [course.train(candidate, seed, "test") for seed in test_seeds]
    return [
        *(_record("goal_choice", base, *one) | {"tried": len(tried), "offered": len(grid)} for one in tried),
        *(_record("goal_seed", base, candidate, run[:1], run[1:]) | {"seed": s} for s, run in zip(test_seeds, runs)),
        _record("goal_summary", base, candidate, *zip(*runs)),
    ]


def choose(tried):
    """The candidate with the shortest training whose mean accuracy is surely at the goal; else the most accurate one.

    Parameters
    ----------
    tried : list of (Candidate, accuracies, milliseconds)
        By seed. Surely: the mean is `MARGIN` standard errors above the goal.

    Returns
    -------
    Candidate
    """
    if not tried:
        raise ValueError("no candidate was tried; expected at least one")
    sure = [one for one in tried if _lower_end(one[1]) >= GOAL]
    if sure:
        return min(sure, key=lambda one: np.median(one[2]))[0]
    return max(tried, key=lambda one: np.mean(one[1]))[0]


def _lower_end(accuracies):
    error = np.std(accuracies, ddof=1) / sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
    return np.mean(accuracies) - MARGIN * error


def _record(experiment, base, candidate, accuracies, milliseconds):
    """Times of trainings, and their accuracies beside them."""
    times = {"median": np.median(milliseconds), "min": min(milliseconds), "max": max(milliseconds)}
    shares = {"mean_accuracy": np.mean(accuracies), "least_accuracy": min(accuracies), "most_accuracy": max(accuracies)}
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return {
        **{"experiment": experiment, **base, **asdict(candidate), "unit": "ms", "runs": len(accuracies)},
        **{key: float(value) for key, value in (times | shares).items()},
        "accuracy_deviation": deviation,
    }
