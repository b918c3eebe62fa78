"""How many of MNIST's test images lenet5 gets right after a few milliseconds of training, all epochs in one kernel.

For each budget of time, epochs and schedule are chosen on a validation split by a rule that stands here; the test set
is read once by each seed of the choice. Must not learn how an engine works.
"""

import time
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np

from helpers.engines import make_engine
from helpers.optimizers import SGD, linear
from helpers.suites.workloads import make_workload

GOAL = 0.99
VALIDATION, CHOICE_SEEDS, TEST_SEEDS = 5_000, tuple(range(100, 108)), tuple(range(20))
BUDGETS = (30.0, 60.0)  # milliseconds of training
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


GRID = tuple(Candidate(128, *settings) for settings in product((4, 8), (0.06, 0.1, 0.15), (0.5, 1.5), (0.0005, 0.001)))


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


def goal(grid=GRID, choice_seeds=CHOICE_SEEDS, test_seeds=TEST_SEEDS, budgets=BUDGETS, make=Course, **sizes):
    """Records: goal_choice of each candidate tried; goal_seed of each seed and goal_summary of each budget's choice.

    Parameters
    ----------
    grid : sequence of Candidate
    choice_seeds, test_seeds : sequence of int
    budgets : sequence of float
        Milliseconds.
    make : callable
        (workload) -> Course.
    **sizes
        Of the data set, for trials (`make_workload`).

    Returns
    -------
    list of dict
    """
    workload = {"network": "lenet5", "dataset": "mnist", **sizes}
    whole, part = make(workload), make({**workload, "validation": sizes.get("validation", VALIDATION)})
    tried = _try_all(grid, part, choice_seeds, len(whole.work.dataset.train_labels))
    base = {"system": "fused", "form": "one kernel for all epochs", "network": whole.work.network.name}
    base |= {"dataset": whole.work.label, "precision": "fp32", "goal": GOAL, "momentum": MOMENTUM, "nesterov": True}
    records = [_record("goal_choice", base, *one) | {"offered": len(grid)} for one in tried]
    for budget in budgets:
        candidate = choose(tried, budget)
        if candidate is None:
            print(f"  no training takes {budget} ms or less", flush=True)
            continue
        runs = [whole.train(candidate, seed, "test") for seed in test_seeds]
        for seed, (accuracy, spent) in zip(test_seeds, runs):
            record = _record("goal_seed", base, candidate, [accuracy], [spent])
            records.append(record | {"budget": budget, "seed": seed})
        records.append(_record("goal_summary", base, candidate, *zip(*runs)) | {"budget": budget})
        _say(f"{budget} ms", records[-1])
    return records


def _try_all(grid, course, seeds, samples):
    """(Candidate, accuracies on the validation split, milliseconds that `samples` would take) until the time is up."""
    tried, started, share = [], time.monotonic(), samples / len(course.work.dataset.train_labels)
    for candidate in grid:
        if tried and time.monotonic() - started > SECONDS:
            print(f"  {len(grid) - len(tried)} candidates are left out, the time is up", flush=True)
            break
        accuracies, spent = zip(*(course.train(candidate, seed, "validation") for seed in seeds))
        tried.append((candidate, accuracies, [share * milliseconds for milliseconds in spent]))
        _say(candidate, _record("", {}, *tried[-1]))
    return tried


def _say(name, record):
    print(f"  {name}: {record['mean_accuracy']:.4f} right, {record['median']:.1f} ms", flush=True)


def choose(tried, budget):
    """The most accurate candidate on the validation split whose training takes at most `budget` milliseconds.

    Parameters
    ----------
    tried : list of (Candidate, accuracies, milliseconds)
        By seed; milliseconds of a training on the whole training set.
    budget : float

    Returns
    -------
    Candidate or None
        None where all of them take longer.
    """
    within = [one for one in tried if np.median(one[2]) <= budget]
    return max(within, key=lambda one: np.mean(one[1]))[0] if within else None


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
