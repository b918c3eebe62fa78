"""Suite "costs": starts, learning over time, memory of a process; a missing framework leaves its reason."""

import time
from contextlib import nullcontext

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
    (cold, compiling, *_), taken = costs.learning(VECTORIZED, TINY, epochs=2)
    assert (cold["experiment"], compiling["experiment"]) == ("cold_start", "compile_time") and taken is None
    assert 0 <= compiling["median"] < cold["median"] and cold["unit"] == "s" and cold["network"] == "tiny"


def test_what_sampling_costs_is_measured_in_turns(monkeypatch):
    sampled = []
    monkeypatch.setattr(costs, "_high_water", lambda: nullcontext(sampled.append(True)))
    alone, other = costs.disturbance(VECTORIZED, TINY, runs=2)
    assert (alone["experiment"], other["experiment"]) == ("cold_start_alone", "cold_start_sampled")
    assert len(sampled) == alone["runs"] == other["runs"] == 2
    assert 0 < alone["min"] <= alone["median"] <= alone["max"] and alone["unit"] == "s"
    assert costs.disturbance(MISSING, TINY, runs=2) == []


def test_accuracy_is_told_over_the_seconds_of_training():
    (*_, reached, last), _ = costs.learning(VECTORIZED, TINY, epochs=3)
    assert len(reached["seconds"]) == len(reached["curve"]) == 3
    assert reached["seconds"] == sorted(reached["seconds"]) and last["median"] == reached["curve"][-1]
    assert not reached["reached"] and reached["median"] == reached["seconds"][-1] and last["epochs"] == 3


def test_the_goal_ends_the_time(monkeypatch):
    monkeypatch.setattr(costs, "GOAL", 0.0)
    (*_, reached, _), _ = costs.learning(VECTORIZED, TINY, epochs=2)
    assert reached["reached"] and reached["median"] == reached["seconds"][0]


def test_a_missing_framework_leaves_its_reason_for_both_networks():
    held = {"network": "lenet5", "dataset": "mnist"}
    records = costs.costs(MISSING, TINY, held, epochs=1)
    assert [record["network"] for record in records] == ["tiny", "lenet5"]
    assert all(record["experiment"] == "absent" for record in records)
    assert all(record["reason"].startswith("backend is 'theano'") for record in records)


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
        assert water.close() == 700


def test_a_process_that_takes_nothing_shows_a_broken_sampling(monkeypatch):
    _card_with(monkeypatch, lambda times: 0)
    with costs.HighWater() as water, pytest.raises(MeasurementError, match="the sampling is broken"):
        water.close()


def test_a_driver_that_does_not_answer_is_no_small_number(monkeypatch):
    def taken(times):
        if times > 3:
            raise device.DeviceError("the driver is gone")
        return 100 * times

    _card_with(monkeypatch, taken)
    with costs.HighWater() as water, pytest.raises(device.DeviceError, match="the driver is gone"):
        time.sleep(0.05)
        water.close()


def test_memory_that_others_give_back_meanwhile_spoils_the_measurement(monkeypatch):
    _card_with(monkeypatch, lambda times: -20_000_000 if times == 2 else 5_000_000 * (times > 2))
    with costs.HighWater() as water, pytest.raises(MeasurementError, match="20 MB of the card were given back"):
        time.sleep(0.05)
        water.close()


def test_memory_is_told_whole_with_what_is_bound_to_be_in_it():
    work = {"network": "vgg_small", "dataset": "CIFAR-10 shapes"}
    record = costs._peak(VECTORIZED, work, 900_000_000, 300_000_000)
    assert record["median"] == 900 and record["tiny_network"] == 300 and record["unit"] == "MB"
    assert record["data_set"] == pytest.approx(153.6)
    fed = costs._peak(System("keras", "fit", data="host-fed"), work, 900_000_000, 300_000_000)
    assert fed["median"] == 900 and fed["data_set"] == 0


def test_a_card_adds_the_memory_of_both_networks(monkeypatch):
    held, takes = {**TINY, "train": 32}, {"tiny": 2_000_000, "held": 7_000_000}
    _card_with(monkeypatch, lambda times: 5_000_000 * (times > 1))
    monkeypatch.setattr(costs, "gpu_available", lambda: True)
    monkeypatch.setattr(costs, "_taken", lambda system, work: takes["held" if work is held else "tiny"])
    *learnt, own, other = costs.costs(VECTORIZED, TINY, held, epochs=1)
    assert len(learnt) == 4 and own["experiment"] == other["experiment"] == "peak_memory"
    assert (own["median"], other["median"]) == (5, 7) and own["tiny_network"] == other["tiny_network"] == 2
    assert (own["data_set"], other["data_set"]) == (64 * 180 / 1e6, 32 * 180 / 1e6)


def test_every_system_has_its_cell(monkeypatch):
    monkeypatch.setattr(costs, "costs", lambda system, *_: system)
    monkeypatch.setattr(costs, "disturbance", lambda system, *_: f"sampled: {system.name}")
    cells = costs.cells(quick=False)
    assert [cell([]) for cell in cells.values()] == [*costs.SYSTEMS, "sampled: jax (scan)"]
    assert {"layerwise-epoch-graph", "keras-fit-best-settings-backend-jax"} <= set(cells)
    assert list(costs.cells(quick=True)) == ["vectorized-blas-all-cores"]
