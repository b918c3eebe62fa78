"""What one kernel asks for beside its time: starts with and without compiled code, copies, plans for the sanitizer."""

from pathlib import Path

import pytest

from helpers.device import SIMULATOR
from helpers.kernels.fused.places import Card
from helpers.layers import ACTIVATIONS
from helpers.suites import costs, fused_sanitizer, fused_start, transfers
from helpers.suites.epoch import TINY
from helpers.suites.fused_start import CACHED, FIRST
from helpers.suites.rivals import System

VECTORIZED = System("vectorized", "BLAS, all cores")


def test_a_cached_start_finds_what_another_process_compiled(monkeypatch):
    """Each process leaves a file in its cache folder; first starts see none, cached ones those of all before."""
    seen = []

    class Worker(costs.Worker):
        def __init__(self, environment):
            (folder,) = {environment[name] for name in costs.CACHES}
            seen.append(len(list(Path(folder).iterdir())))
            (Path(folder) / f"kernel {len(seen)}").touch()
            super().__init__(environment=environment)

    monkeypatch.setattr(costs, "BATCH", 8)
    monkeypatch.setattr(costs, "Worker", Worker)
    first, cached = fused_start.starts(VECTORIZED, TINY, {FIRST: 1, CACHED: 2})
    assert seen == [0, 0, 1, 2], "nothing; nothing again; what the untimed process left; and the next one"
    assert (first["experiment"], first["runs"], cached["experiment"], cached["runs"]) == (FIRST, 1, CACHED, 2)
    assert 0 <= first["compile_seconds"] < first["median"] and first["unit"] == cached["unit"] == "s"
    assert (first["system"], first["network"], first["batch_size"]) == ("vectorized", "tiny", 8)


def test_copies_of_any_system_are_counted_under_a_name_of_their_own(monkeypatch):
    kernel = {"cat": "kernel", "name": "epoch", "ts": 10.0, "dur": 5.0}
    copies = [("HtoD", 1.0, 64), ("DtoH", 16.0, 32)]
    events = [{"cat": "gpu_memcpy", "name": f"Memcpy {way}", "ts": ts, "args": {"bytes": size}}
              for way, ts, size in copies]  # fmt: skip
    trained = []

    def activity(run):
        trained.append(run())
        return [kernel, *events]

    monkeypatch.setattr(transfers, "activity", activity)
    records = transfers.measure(VECTORIZED, TINY, 8, "small_transfers")
    assert len(trained) == 2 and {record["experiment"] for record in records} == {"small_transfers"}
    found = {(r["when"], r["direction"]): (r["median"], r["bytes"]) for r in records if r["median"]}
    assert found == {("before", "HtoD"): (1, 64), ("after", "DtoH"): (1, 32)}
    assert {(r["system"], r["form"], r["kernels"]) for r in records} == {("vectorized", "BLAS, all cores", 1)}


@pytest.mark.parametrize("card", [Card(132, 232_448, (9, 0)), Card(46, 101_376, (8, 6)), Card(40, 65_536, (7, 5))])
def test_the_sanitizer_sees_every_way_to_keep_and_to_copy_weights(card):
    found = fused_sanitizer.plans(card)
    own = card.copies
    assert all(layer.resident for layer in found["resident weights", own].dense)
    assert any(layer.streams for layer in found["streamed weights", own].dense)
    shared = found["shared weights", own]
    assert shared.shards and shared.image_blocks > shared.members > 1, "several groups"
    assert {*ACTIVATIONS} <= {type(stage.activation) for stage in found["every activation", own].stages}
    assert all(plan.rounds == 2 and plan.shared_bytes <= card.shared_bytes for plan in found.values())
    assert {copies for _, copies in found} == {"bulk", "asynchronous", "plain"} - (
        {"bulk"} if own == "asynchronous" else {"bulk", "asynchronous"} if own == "plain" else set()
    )


@pytest.mark.skipif(not SIMULATOR, reason="the card has the suite itself")
def test_the_sanitizers_exercise_holds_losses_against_the_oracle(capsys):
    assert fused_sanitizer.exercise(quick=True) == 1
    assert "resident weights, plain copies: right" in capsys.readouterr().out
