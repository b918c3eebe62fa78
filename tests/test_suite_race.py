"""A race of systems: slices of an epoch, proof of agreement, shared processes, frameworks that are absent."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from helpers.results import ROOT, write_results
from helpers.suites import epoch, race, rivals
from helpers.suites.rivals import System
from helpers.workers import WorkerError, Workers


class FakeWorker:
    """Answers like a worker whose step takes `step` seconds, compilation apart."""

    def __init__(self, step, steps_per_epoch=100, compilation=0.5, loss=1.0):
        self.step, self.steps_per_epoch, self.compilation, self.loss = step, steps_per_epoch, compilation, loss

    def call(self, request, steps=None, **_):
        if request == "make":
            return {"steps_per_epoch": self.steps_per_epoch, "compile_seconds": 0.0, "on_gpu": False}
        steps = steps or self.steps_per_epoch
        seconds, self.compilation = steps * self.step + self.compilation, 0.0
        return {"seconds": seconds, "losses": [self.loss] * steps}


def _rival(system=epoch.SYSTEMS[1], **worker):
    return rivals.Rival(FakeWorker(**worker), system, {"network": "lenet5"}, 128).settle()


def test_an_epoch_over_a_second_is_timed_on_a_slice():
    fast, slow, slowest = _rival(step=0.001), _rival(step=0.03), _rival(step=3.0)
    assert (fast.slice_steps, slow.slice_steps, slowest.slice_steps) == (None, 20, 1)
    assert fast.turn() == pytest.approx(0.1) and slow.turn() == pytest.approx(0.6)
    assert fast.images == 100 * 128 and slow.images == 20 * 128
    assert (fast.runs(9), slowest.runs(9), _rival(step=30.0).runs(9)) == (9, 3, 1)
    assert (fast.proof_steps, slowest.proof_steps) == (20, int(rivals.PROOF_SECONDS / 3.0))


def test_a_scaled_record_says_so():
    plain = _rival(system=epoch.SYSTEMS[0], step=0.5)
    base = {"experiment": "epoch_time", "network": "lenet5", "batch_size": 128}
    record = plain.record(base, [0.5, 0.5], epoch_images=100 * 128)
    assert record["scaled"] and record["slice_batch"] == 8 and record["slice_steps"] == 2
    assert record["median"] == pytest.approx(1e3 * 0.5 * 100 * 128 / 16)
    whole = _rival(step=0.001)
    assert not whole.record(base, [0.1], epoch_images=100 * 128)["scaled"]


def test_the_order_of_an_epoch_is_made_before_the_first_turn_that_counts():
    system = System("jax", "scan", framework=True)
    rival = _rival(system=system, step=0.001)
    rival._worker.compilation = 0.5  # as long as it takes to put images in order
    raced = object.__new__(race.Race)
    raced.rivals, raced._since, raced._log = {system: rival}, 0.0, lambda text: None
    assert raced.run(3)[system] == pytest.approx([0.1] * 3)


def test_losses_outside_the_bound_stop_the_suite():
    rival = _rival(step=0.001, loss=1.0)
    rival.prove(np.full(20, 1.0 + 1e-6), np.full(20, 2e-6))
    assert rival.share == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(AssertionError, match="disagrees at step 0"):
        rival.prove(np.full(20, 1.1), np.full(20, 2e-6))


def test_the_epoch_suite_runs_engines_in_processes_of_their_own():
    (record,) = race.measure(epoch.TINY, [epoch.SYSTEMS[2]], batch_size=8, runs=2)
    assert record["system"] == "vectorized" and record["median"] > 0 and not record["scaled"]
    assert 0 <= record["agreement"] <= 1 and record["agreement_steps"] == 8


def test_races_share_processes_but_not_engines():
    with closing(Workers()) as workers:
        small, large = (
            race.measure(epoch.TINY, [epoch.SYSTEMS[2]], batch_size=batch, runs=2, workers=workers) for batch in (8, 16)
        )
        first = workers.take(epoch.SYSTEMS[2].name)
        assert len(workers._all) == 1 and first.alive
        first.close()
        workers.give(epoch.SYSTEMS[2].name, first)
        assert workers.take(epoch.SYSTEMS[2].name) is not first, "a process that ended serves nobody"
    assert (small[0]["batch_size"], large[0]["batch_size"]) == (8, 16)


def test_processes_end_before_the_one_that_asked_for_them():
    """A suite may end, or fail, with workers alive; what they hold of a card would be missing for the next one."""
    asks = "from helpers.workers import Workers; print(Workers().take('any')._process.pid)"
    process = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True, cwd=ROOT)
    with pytest.raises(ProcessLookupError):
        os.kill(int(process.stdout), 0)


def test_processes_share_a_folder_of_compiled_code_that_goes_with_them(monkeypatch):
    started = []

    class Recorded(FakeWorker):
        def __init__(self, environment):
            super().__init__(step=1.0)
            started.append(environment)

        def end_input(self):
            pass

        close = end_input

    monkeypatch.setattr("helpers.workers.Worker", Recorded)
    with closing(Workers(["A_CACHE"])) as workers:
        for name, environment in (("one", {"B": "b"}), ("two", None), ("three", None)):
            workers.take(name, environment)
        other, *folders = (Path(environment["A_CACHE"]) for environment in started)
        assert folders[0] == folders[1] != other and folders[0].is_dir() and other.is_dir()
        assert started[0]["B"] == "b", "what its environment says is kept"
    assert not folders[0].exists() and not other.exists()


class RefusingWorker(FakeWorker):
    """A worker that cannot make its engine."""

    def __init__(self, message):
        super().__init__(0.001)
        self.message = message

    def call(self, request, **_):
        raise WorkerError(self.message)


@pytest.mark.parametrize(
    "message, reason",
    [
        ("ImportError: engine 'jax' needs jax, which cannot be imported here", "engine 'jax' needs jax, which"),
        ("ValueError: form 'epoch graph' needs a GPU", "form 'epoch graph' needs a GPU"),
    ],
)
def test_a_framework_that_cannot_run_is_absent_with_its_reason(message, reason):
    system = rivals.System("jax", "scan", framework=True)
    with pytest.raises(rivals.Absent, match=reason):
        rivals.Rival(RefusingWorker(message), system, {"network": "lenet5"}, 128)
    with pytest.raises(WorkerError):  # one of the project's own engines must run
        rivals.Rival(RefusingWorker(message), rivals.System("loops", "njit"), {"network": "lenet5"}, 128)
    with pytest.raises(WorkerError):  # what is no refusal is a failure
        rivals.Rival(RefusingWorker("RuntimeError: out of memory"), system, {"network": "lenet5"}, 128)


def test_a_framework_whose_step_does_not_fit_the_card_is_absent(monkeypatch):
    system, workload = rivals.System("jax", "scan", framework=True), {"network": "lenet5"}
    for message in ("OutOfMemoryError: CUDA out of memory.", "XlaRuntimeError: RESOURCE_EXHAUSTED: 5 bytes"):
        worker = FakeWorker(0.001)
        rival = rivals.Rival(worker, system, workload, 128)
        monkeypatch.setattr(worker, "call", RefusingWorker(message).call)
        with pytest.raises(rivals.Absent, match="card.s memory does not hold its step of 128 images"):
            rival.settle()
    monkeypatch.setattr(worker, "call", RefusingWorker("RuntimeError: lost").call)
    with pytest.raises(WorkerError, match="lost"):
        rival.settle()


def test_a_framework_that_fails_is_absent_with_its_error():
    broken = System("jax", "scan", {"no such option": 1}, framework=True)
    with race.Race(epoch.TINY, [epoch.SYSTEMS[2], broken], 8) as found:
        assert list(found.rivals) == [epoch.SYSTEMS[2]]
        assert found.absent[broken].startswith(("it fails here: TypeError", "engine 'jax' needs"))
    with pytest.raises(WorkerError):
        race.Race(epoch.TINY, [System("vectorized", "BLAS", {"no such option": 1})], 8)


def test_processes_beyond_the_memory_are_absent(monkeypatch):
    monkeypatch.setattr(race, "available_bytes", lambda: 1.5 * race.PROCESS_BYTES)
    systems = [epoch.SYSTEMS[2], System("jax", "scan", framework=True)]
    with race.Race(epoch.TINY, systems, 8) as found:
        assert list(found.rivals) == systems[:1] and "no room for one more process" in found.absent[systems[1]]


def test_a_framework_that_misses_the_card_is_absent(monkeypatch):
    monkeypatch.setattr(rivals, "gpu_available", lambda: True)
    with pytest.raises(rivals.Absent, match="tensorflow finds no GPU on this machine"):
        system = rivals.System("tensorflow", "XLA", framework=True)
        rivals.Rival(FakeWorker(0.001), system, {"network": "lenet5"}, 128)


def test_missing_frameworks_leave_records_that_say_why(tmp_path):
    systems = [System("vectorized", "BLAS, all cores"), System("keras", "fit", {"backend": "theano"}, framework=True)]
    timed, absent = race.measure(epoch.TINY, systems, batch_size=8, runs=2, experiment="compared_epoch_time")
    assert timed["experiment"] == "compared_epoch_time" and timed["data"] == "resident"
    assert absent["experiment"] == "absent" and absent["system"] == "keras" and absent["network"] == "tiny"
    assert absent["reason"].startswith("backend is 'theano'; expected")
    write_results("frameworks-tiny", [timed, absent], folder=tmp_path)
