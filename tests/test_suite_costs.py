"""Suite "costs": starts, learning over time, memory of a process; a missing framework leaves its reason."""

import time

import pytest

from helpers import device
from helpers.benchmark import MeasurementError
from helpers.suites import costs
from helpers.suites.epoch import TINY
from helpers.suites.rivals import System

VECTORIZED = System("vectorized", "BLAS, all cores")
MISSING = System("keras", "fit", {"backend": "theano"}, framework=True)


@pytest.fixture(autouse=True)
def small_batch(monkeypatch):
    monkeypatch.setattr(costs, "BATCH", 8)


def test_a_start_holds_its_compilation():
    cold, compiling, *_ = costs.learning(VECTORIZED, TINY, epochs=2)
    assert (cold["experiment"], compiling["experiment"]) == ("cold_start", "compile_time")
    assert 0 <= compiling["median"] < cold["median"] and cold["unit"] == "s" and cold["network"] == "tiny"


def test_accuracy_is_told_over_the_seconds_of_training():
    *_, reached, last = costs.learning(VECTORIZED, TINY, epochs=3)
    assert len(reached["seconds"]) == len(reached["curve"]) == 3
    assert reached["seconds"] == sorted(reached["seconds"]) and last["median"] == reached["curve"][-1]
    assert not reached["reached"] and reached["median"] == reached["seconds"][-1] and last["epochs"] == 3


def test_the_goal_ends_the_time(monkeypatch):
    monkeypatch.setattr(costs, "GOAL", 0.0)
    *_, reached, _ = costs.learning(VECTORIZED, TINY, epochs=2)
    assert reached["reached"] and reached["median"] == reached["seconds"][0]


def test_a_missing_framework_leaves_its_reason_everywhere(monkeypatch):
    _card_with(monkeypatch, lambda times: 0)
    for records in (costs.learning(MISSING, TINY, epochs=1), costs.memory(MISSING, [TINY])):
        (record,) = records
        assert record["experiment"] == "absent" and record["reason"].startswith("backend is 'theano'")


def _card_with(monkeypatch, taken):
    """A card whose free memory, asked n times, is less by taken(n) bytes."""
    asked = []

    def memory_info():
        asked.append(None)
        return 10_000 - taken(len(asked)), 10_000

    monkeypatch.setattr(device, "memory_info", memory_info)
    monkeypatch.setattr(device, "synchronize", lambda: None)


def test_the_high_water_is_the_most_that_was_taken(monkeypatch):
    _card_with(monkeypatch, lambda times: 700 if times == 3 else 100 if times > 1 else 0)
    with costs.HighWater() as water:
        time.sleep(0.05)
    assert water.bytes == 700


def test_memory_is_less_the_data_set_and_the_context(monkeypatch):
    takes = {"vgg_small": 900_000_000, "tiny": 300_000_000}
    monkeypatch.setattr(costs, "_high_water", lambda system, work: takes[work["network"]])
    work = {"network": "vgg_small", "dataset": "CIFAR-10 shapes"}
    (record,) = costs.memory(VECTORIZED, [work])
    assert record["median"] == pytest.approx(900 - 300 - 153.6) and record["context"] == 300 and record["unit"] == "MB"
    (fed,) = costs.memory(System("keras", "fit", data="host-fed"), [work])
    assert fed["median"] == pytest.approx(600)
    takes["tiny"] = 0
    with pytest.raises(MeasurementError, match="the sampling is broken"):
        costs.memory(VECTORIZED, [work])


def test_every_system_has_its_cells():
    names = list(costs.cells(quick=False))
    assert "start and learning of layerwise (epoch graph)" in names
    assert all("vectorized" in name for name in costs.cells(quick=True))
