"""Suites: resuming, whole files, the choice of settings, slices of an epoch, proof of agreement, counted copies."""

import json
import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from helpers import suites
from helpers.benchmark import MeasurementError
from helpers.results import write_results
from helpers.suites import accuracy, epoch, frameworks, kernels, race, rivals, transfers
from helpers.suites.kernels import pass_name
from helpers.suites.rivals import System
from helpers.workers import WorkerError, Workers

RECORD = {"experiment": "epoch_time", "system": "loops", "unit": "ms", "median": 1.0, "min": 1.0, "max": 1.0, "runs": 1}


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(suites, "OUTPUT", tmp_path / "output")
    return tmp_path


def test_a_suite_resumes_where_it_stopped_and_is_written_whole(output):
    calls = []

    def first(records):
        calls.append("first")
        return [dict(RECORD, form="a")]

    def broken(records):
        raise KeyboardInterrupt

    def second(records):
        calls.append(("second", len(records)))
        return [dict(RECORD, form="b")]

    folder = output / "results"
    with pytest.raises(KeyboardInterrupt):
        suites.run_suite("epoch", folder=folder, cells={"first": first, "second": broken})
    assert not list(folder.glob("*")) and list(suites.OUTPUT.glob("*.partial.json"))
    path = suites.run_suite("epoch", folder=folder, cells={"first": first, "second": second})
    assert calls == ["first", ("second", 1)]
    content = json.loads(path.read_text())
    assert [record["form"] for record in content["records"]] == ["a", "b"]
    assert {"gpu", "driver", "packages", "date", "commit", "code_digest"} <= set(content["environment"])
    assert [item.name for item in folder.iterdir()] == [path.name] and not list(suites.OUTPUT.glob("*"))


def test_what_other_code_measured_is_not_resumed(output, monkeypatch):
    calls = []

    def cell(records):
        calls.append(1)
        return [dict(RECORD)]

    def broken(records):
        raise KeyboardInterrupt

    for digest in ("old", "new"):
        environment = {"gpu": "test card", "date": "today", "code_digest": {"layerwise": digest}}
        monkeypatch.setattr(suites, "describe_environment", lambda environment=environment: environment)
        with pytest.raises(KeyboardInterrupt):
            suites.run_suite("epoch", folder=output, cells={"cell": cell, "broken": broken})
    assert len(calls) == 2


@pytest.mark.parametrize("name, goes_on", [("growth", True), ("accuracy", False)])
def test_a_cell_that_fails(output, monkeypatch, capsys, name, goes_on):
    """It stops no other one that does not need its records, is tried again, and leaves no file without it."""
    monkeypatch.setattr(suites, "gpu_available", lambda: True)
    calls, error = [], AssertionError("a loss outside the bound")

    def failing(records):
        calls.append("failing")
        raise error

    def works(records):
        calls.append("works")
        return [dict(RECORD)]

    with pytest.raises(suites.MeasurementError if goes_on else AssertionError, match="failing|outside"):
        suites.run_suite(name, folder=output, cells={"failing": failing, "works": works})
    assert calls == (["failing", "works"] if goes_on else ["failing"]) and not list(output.glob("*-*.json"))
    assert ("failing: failed: a loss outside the bound" in capsys.readouterr().out) == goes_on
    calls.clear()
    path = suites.run_suite(name, folder=output, cells={"failing": works, "works": works})
    assert calls == ["works"] * (1 if goes_on else 2) and len(json.loads(path.read_text())["records"]) == 2


def test_a_broken_record_leaves_the_old_file(output):
    path = suites.run_suite("epoch", folder=output, cells={"cell": lambda _: [dict(RECORD)]})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="nan"):
        suites.run_suite("epoch", folder=output, cells={"cell": lambda _: [dict(RECORD, median=math.nan)]})
    assert path.read_bytes() == before


def test_settings_are_chosen_on_the_validation_split():
    tried = [
        {"experiment": "validation_accuracy", "rate": rate, "momentum": 0.9, "epochs": 10, "mean": mean}
        for rate, mean in ((0.02, 0.98), (0.05, 0.99), (0.1, 0.99))
    ]
    best_on_test = {"experiment": "test_accuracy", "rate": 0.1, "momentum": 0.9, "epochs": 10, "mean": 1.0}
    assert accuracy.chosen([*tried, best_on_test]) == {"rate": 0.05, "momentum": 0.9, "epochs": 10}
    with pytest.raises(ValueError, match="the grid comes before the test"):
        accuracy.chosen([best_on_test])


def test_copies_are_told_apart_by_place_and_direction():
    def copy(name, ts):
        return {"cat": "gpu_memcpy", "name": f"Memcpy {name} (Pageable -> Device)", "ts": ts, "args": {"bytes": 4}}

    kernels = [{"cat": "kernel", "name": "k", "ts": ts, "dur": 2.0} for ts in (10.0, 20.0)]
    events = [copy("HtoD", 1.0), kernels[0], copy("DtoH", 15.0), copy("DtoD", 16.0), kernels[1], copy("DtoH", 22.0)]
    counts = {key: len(copies) for key, copies in transfers.count_copies(events).items() if copies}
    assert counts == {("before", "HtoD"): 1, ("within", "DtoH"): 1, ("after", "DtoH"): 1}
    with pytest.raises(MeasurementError, match="saw no kernel"):
        transfers.count_copies(events[:1])


def test_passes_are_named_in_words():
    names = ["conv_forward", "dense_input_gradient", "conv_weight_gradient", "update"]
    assert [pass_name(name) for name in names] == ["forward", "input gradient", "weight gradient", "update"]


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


@pytest.mark.gpu
def test_the_kernels_of_a_step_are_timed_on_the_card():
    records = kernels.measure(epoch.TINY, batch_size=8, runs=2)
    assert {"forward", "input gradient", "weight gradient", "update"} <= {record["pass"] for record in records}
    assert all(0 < record["roofline_share"] < 1 for record in records)


@pytest.mark.gpu
def test_no_byte_crosses_within_an_epoch(torch):
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no card")
    counts = {}
    for form in transfers.FORMS:
        for record in transfers.measure(form, epoch.TINY, batch_size=8):
            counts[form, record["when"], record["direction"]] = record["median"]
    assert counts["epoch graph", "within", "HtoD"] == counts["epoch graph", "within", "DtoH"] == 0
    assert counts["epoch graph", "after", "DtoH"] >= 1
    assert counts["copy per batch", "within", "HtoD"] >= 2 * 7, "the counter must see the copies that are there"


def test_a_suite_of_the_card_is_refused_without_one(output):
    with pytest.raises(MeasurementError, match="run it on a machine with a GPU"):
        suites.run_suite("kernels", folder=output, cells={})


def _cells(calls, *names):
    def make(name):
        def cell(records):
            calls.append(name)
            return [dict(RECORD, form=name)]

        return cell

    return {name: make(name) for name in names}


def test_cells_have_files_of_their_own_and_what_is_there_is_kept(output, monkeypatch):
    calls = []
    cells = _cells(calls, "a", "b")
    first = suites.run_cells("frameworks", folder=output, only=["b"], cells=cells)
    assert [path.name for path in first] == ["cpu-frameworks-b.json"] and calls == ["b"]
    second = suites.run_cells("frameworks", folder=output, cells=cells)
    assert [path.name for path in second] == ["cpu-frameworks-a.json"] and calls == ["b", "a"]
    assert not suites.run_cells("frameworks", folder=output, cells=cells) and calls == ["b", "a"]
    suites.run_cells("frameworks", folder=output, only=["a"], cells=cells)
    assert calls == ["b", "a", "a"], "a cell that is asked for by name is measured again"
    changed = {**suites.describe_environment(), "code_digest": {"loops": "other"}}
    monkeypatch.setattr(suites, "describe_environment", lambda: changed)
    suites.run_cells("frameworks", folder=output, cells=cells)
    assert calls[3:] == ["a", "b"], "what other code measured is measured again"


def test_a_cell_that_fails_leaves_the_others(output, capsys):
    def broken(records):
        raise AssertionError("jax (scan) disagrees at step 3")

    calls = []
    cells = {"a": broken, **_cells(calls, "b")}
    with pytest.raises(MeasurementError, match="a failed, for the reasons above"):
        suites.run_cells("frameworks", folder=output, cells=cells)
    assert calls == ["b"] and [path.name for path in output.glob("*.json")] == ["cpu-frameworks-b.json"]
    assert "a: failed: jax (scan) disagrees at step 3" in capsys.readouterr().out


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


def test_processes_share_a_folder_of_compiled_code_that_goes_with_them(monkeypatch):
    started = []

    class Recorded(FakeWorker):
        def __init__(self, environment):
            super().__init__(step=1.0)
            started.append(environment)

        def close(self):
            pass

    monkeypatch.setattr("helpers.workers.Worker", Recorded)
    with closing(Workers(["A_CACHE"])) as workers:
        for name, environment in (("one", {"B": "b"}), ("two", None), ("three", None)):
            workers.take(name, environment)
        other, *folders = (Path(environment["A_CACHE"]) for environment in started)
        assert folders[0] == folders[1] != other and folders[0].is_dir() and other.is_dir()
        assert started[0]["B"] == "b", "what its environment says is kept"
    assert not folders[0].exists() and not other.exists()


def test_no_cell_is_begun_after_its_time(output, capsys):
    calls = []
    assert not suites.run_cells("frameworks", folder=output, seconds=-1.0, cells=_cells(calls, "a"))
    assert not calls and "a: left for the next run" in capsys.readouterr().out
    with pytest.raises(ValueError, match="suite 'frameworks' has no cell 'c'; it has a, b"):
        suites.run_cells("frameworks", folder=output, only=["c"], cells=_cells(calls, "a", "b"))


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


def test_missing_frameworks_leave_records_that_say_why(output):
    systems = [System("vectorized", "BLAS, all cores"), System("keras", "fit", {"backend": "theano"}, framework=True)]
    timed, absent = race.measure(epoch.TINY, systems, batch_size=8, runs=2, experiment="compared_epoch_time")
    assert timed["experiment"] == "compared_epoch_time" and timed["data"] == "resident"
    assert absent["experiment"] == "absent" and absent["system"] == "keras" and absent["network"] == "tiny"
    assert absent["reason"].startswith("backend is 'theano'; expected")
    write_results("frameworks-tiny", [timed, absent], folder=output)


def test_cells_of_the_comparison():
    cells = frameworks.cells(quick=False)
    assert len(cells) == 14 and list(cells)[0] == "lenet5-mnist-b128-fp32"
    assert "vgg_small-cifar-10-shapes-b128-bf16" in cells and "lenet5-fashion_mnist-b2048-fp32" in cells
    named = [(s.engine, s.form) for s in frameworks.OURS + frameworks.ORDINARY_AND_BEST + frameworks.FURTHER_FORMS]
    assert len(set(named)) == len(named) == 21
