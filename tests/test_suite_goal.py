"""The trainings to a goal: the choice sees the validation split only, and the test set is read once a seed."""

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.device import SIMULATOR
from helpers.suites import goal
from helpers.suites.goal import GRID, Candidate, Course, choose

SLOW, FAST, ROUGH = Candidate(128, 8, 0.1, 0.5), Candidate(128, 4, 0.1, 0.5), Candidate(128, 4, 9.0, 0.5)
ACCURACIES = {SLOW: 0.992, FAST: 0.99, ROUGH: 0.5}


class StandIn:
    """Trains nothing; an epoch of 60 samples takes 7 ms."""

    made = []

    def __init__(self, workload):
        samples = 60 - (10 if workload.get("validation") else 0)
        labels = np.zeros(samples)
        self.work = SimpleNamespace(
            network=SimpleNamespace(name="lenet5"), label="mnist", dataset=SimpleNamespace(train_labels=labels)
        )
        self.asked, self.samples = [], samples
        self.made.append(self)

    def train(self, candidate, seed, split):
        self.asked.append((candidate, seed, split))
        return ACCURACIES[candidate] + 0.0001 * (seed % 2), 7.0 * candidate.epochs * self.samples / 60


def run(**settings):
    StandIn.made = []
    records = goal.goal((ROUGH, FAST, SLOW), (100, 101), range(4), make=StandIn, **settings)
    return records, {
        name: [r for r in records if r["experiment"] == f"goal_{name}"] for name in ("choice", "seed", "summary")
    }


def test_each_budget_has_its_choice_and_every_seed_reads_the_test_set_once():
    _, found = run(budgets=(30.0, 60.0))
    assert [r["peak"] for r in found["choice"]] == [9.0, 0.1, 0.1] and len(found["seed"]) == 8
    assert [(r["budget"], r["epochs"], r["peak"]) for r in found["summary"]] == [(30.0, 4, 0.1), (60.0, 8, 0.1)]
    assert found["summary"][1]["median"] == 56 and found["summary"][1]["runs"] == 4
    assert found["summary"][1]["mean_accuracy"] == pytest.approx(0.99205)
    assert found["summary"][1]["least_accuracy"] == 0.992 and found["summary"][1]["accuracy_deviation"] > 0
    whole, part = StandIn.made
    assert {split for _, _, split in part.asked} == {"validation"} and len(part.asked) == 6
    assert whole.asked == [(c, seed, "test") for c in (FAST, SLOW) for seed in range(4)]


def test_a_training_counts_with_all_images():
    """What 50 of 60 samples took is scaled: 4 epochs are 28 ms and not 23."""
    _, found = run(budgets=(27.0,))
    assert found["summary"] == [] and found["seed"] == [] and found["choice"][1]["median"] == pytest.approx(28)


def test_no_candidate_is_begun_when_the_time_is_up(monkeypatch):
    monkeypatch.setattr(goal, "SECONDS", -1.0)
    _, found = run(budgets=(60.0,))
    assert len(found["choice"]) == 1 and found["choice"][0]["offered"] == 3


def test_the_choice_is_the_most_accurate_within_the_budget():
    tried = [(FAST, [0.98, 0.99], [20, 20]), (SLOW, [0.99, 0.99], [40, 40]), (ROUGH, [1.0, 1.0], [90, 90])]
    assert choose(tried, 30) is FAST and choose(tried, 60) is SLOW and choose(tried, 10) is None


def test_the_grid_is_of_different_candidates_that_end_at_no_rate():
    assert len({*GRID}) == len(GRID)
    for candidate in GRID:
        rates = [candidate.optimizer.learning_rate(epoch) for epoch in (0, candidate.warmup, candidate.epochs)]
        assert rates[1] == pytest.approx(candidate.peak) and rates[0] < 0.01 * candidate.peak and rates[2] == 0
        assert candidate.optimizer.weight_decay == candidate.weight_decay and candidate.optimizer.nesterov


@pytest.mark.skipif(not SIMULATOR, reason="NumPy trains; the card has the suite itself")
def test_a_course_trains_each_seed_from_its_own_start():
    """By NumPy's engine for every optimizer, which begins anew the same way."""

    class ByNumPy(Course):
        def _engine(self, candidate):
            from helpers.engines import make_engine

            made = make_engine("vectorized_optimizers", self.work.network, candidate.optimizer, 32)
            made.load(self.work.dataset)

            def restart(seed, optimizer):
                made.seed, made.optimizer = seed, optimizer
                made.load_state(made.initial_state())

            made.restart = restart
            return made

    course = ByNumPy({"network": "lenet5", "dataset": "mnist", "train": 320, "test": 100}, engine="vectorized")
    candidate = Candidate(32, 2, 0.02, 0.5, 0.001)
    one, again, other = (course.train(candidate, seed, "test") for seed in (1, 1, 2))
    assert one[0] == again[0] and 0 <= other[0] <= 1 and min(one[1], other[1]) > 0
