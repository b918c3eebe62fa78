"""The comparison of a notebook: whoever is here proves its losses and races; whoever is missing says why."""

import numpy as np
import pytest

from helpers.suites.rivals import System
from helpers.teaching.comparison import Comparison, fastest_framework

SYSTEMS = (
    System("vectorized", "BLAS, all cores"),
    System("keras", "fit", {"backend": "theano"}, framework=True),
    System("layerwise", "epoch graph", {"mode": "graph"}, gpu=True),
)


@pytest.fixture
def no_card(monkeypatch):
    monkeypatch.setattr("helpers.teaching.comparison.gpu_available", lambda: False)
    monkeypatch.setattr("helpers.suites.race.gpu_available", lambda: False)


def test_those_who_are_here_prove_and_race(capsys, no_card):
    comparison = Comparison(8, steps=100, runs=2, systems=SYSTEMS)
    assert comparison.steps == 8, "an epoch of the tiny network has no more"
    comparison.prove()
    said = capsys.readouterr().out.replace("\n", " ")
    assert "vectorized, BLAS, all cores: the first 8 losses stay within the bound" in said
    reasons = {record["system"]: record["reason"] for record in comparison.absent}
    assert reasons["keras"].startswith("backend is 'theano'") and reasons["layerwise"] == "it needs a GPU"
    losses = comparison.losses["vectorized", "BLAS, all cores"]
    assert np.all(np.abs(losses - comparison.reference) <= comparison.bound)
    (record,) = comparison.race()
    assert record["median"] > 0 and record["unit"] == "ms" and not record["scaled"] and record["network"] == "tiny"


def test_a_small_mistake_leaves_the_bound(capsys, no_card):
    comparison = Comparison(8, steps=8, runs=2, systems=SYSTEMS[:1])
    comparison.say_mistake()
    assert "A learning rate that is 1 % off, with all else equal, leaves the bound at step" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="by the factor 1.0 stays within the bound"):
        comparison.say_mistake(1.0)


def test_a_wrong_loss_stops_the_comparison(no_card, monkeypatch):
    reference = np.arange(8.0)
    monkeypatch.setattr("helpers.suites.race.oracle", lambda *_: (reference, np.full(8, 1e-3)))
    comparison = Comparison(8, steps=8, runs=2, systems=SYSTEMS[:1])
    with pytest.raises(AssertionError, match="vectorized .* disagrees at step 0"):
        comparison.prove()


def test_the_fastest_framework_is_none_of_ours():
    times = [("layerwise", 1.0), ("jax", 3.0), ("pytorch", 2.0), ("vectorized", 0.5)]
    found = fastest_framework([{"system": system, "median": median} for system, median in times])
    assert found["system"] == "pytorch" and fastest_framework([]) is None
