"""Suites: resuming, whole files, cells that fail, the choice of settings, counted copies."""

import json
import math

import pytest

from helpers import suites
from helpers.activity import kernel_summary
from helpers.benchmark import MeasurementError
from helpers.suites import accuracy, activity, epoch, frameworks, fused, kernels, transfers
from helpers.suites.kernels import pass_name
from helpers.suites.rivals import System
from helpers.workers import WorkerError

RECORD = {"experiment": "epoch_time", "system": "loops", "unit": "ms", "median": 1.0, "min": 1.0, "max": 1.0, "runs": 1}


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(suites, "OUTPUT", tmp_path / "output")
    return tmp_path


def _cells(calls, *names):
    def make(name):
        def cell(records):
            calls.append(name)
            return [dict(RECORD, form=name)]

        return cell

    return {name: make(name) for name in names}


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
    assert [item.name for item in folder.glob("*.*")] == [path.name] and not list(suites.OUTPUT.glob("*"))


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


def test_a_card_is_busy_once_where_kernels_overlap():
    kernels = [("a", 10.0, 4.0), ("b", 12.0, 6.0), ("a", 30.0, 2.0), ("a", 30.5, 1.0)]
    events = [{"cat": "kernel", "name": name, "ts": ts, "dur": duration} for name, ts, duration in kernels]
    seen = kernel_summary([{"cat": "gpu_memcpy", "name": "Memcpy HtoD", "ts": 0.0, "dur": 9.0}, *reversed(events)])
    assert seen["kernels"] == 4 and seen["busy_seconds"] == pytest.approx(10e-6)
    assert seen["longest"] == [["a", pytest.approx(7 / 13)], ["b", pytest.approx(6 / 13)]]
    with pytest.raises(MeasurementError, match="saw no kernel"):
        kernel_summary([])


def test_activity_is_told_for_a_step_and_leaves_out_what_cannot_run(monkeypatch, capsys):
    class Counting:
        def __init__(self):
            self.trained = 0

        def call(self, request, engine=None, steps=None, **_):
            if engine == "jax":
                raise WorkerError("ImportError: jax is missing")
            self.trained += request == "train"
            if request == "activity":
                assert self.trained == 2, "what is counted is neither compiled nor captured"
                return {"kernels": 38 * steps // 2, "busy_seconds": 1e-5 * steps, "longest": [["conv", 1.0]]}
            return {"on_gpu": True}

    monkeypatch.setattr(activity.Workers, "take", lambda *_: Counting())
    ours, missing = System("layerwise", "epoch graph", gpu=True), System("jax", "scan", framework=True)
    (record,) = activity.acted(epoch.TINY, (ours, missing), batch_size=8, steps=4)
    assert record["median"] == 19 and record["busy_seconds"] == pytest.approx(1e-5) and record["system"] == "layerwise"
    assert "jax (scan) is left out: jax is missing" in capsys.readouterr().out
    with pytest.raises(WorkerError):
        activity.acted(epoch.TINY, (System("jax", "scan"),), batch_size=8)


def test_passes_are_named_in_words():
    names = ["conv_forward", "dense_input_gradient", "conv_weight_gradient", "update"]
    assert [pass_name(name) for name in names] == ["forward", "input gradient", "weight gradient", "update"]


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
    for form, system in transfers.FORMS.items():
        for record in transfers.measure(system, epoch.TINY, batch_size=8):
            counts[form, record["when"], record["direction"]] = record["median"]
    assert counts["epoch graph", "within", "HtoD"] == counts["epoch graph", "within", "DtoH"] == 0
    assert counts["epoch graph", "after", "DtoH"] >= 1
    assert counts["copy per batch", "within", "HtoD"] >= 2 * 7, "the counter must see the copies that are there"


def test_a_suite_of_the_card_is_refused_without_one(output):
    with pytest.raises(MeasurementError, match="run it on a machine with a GPU"):
        suites.run_suite("kernels", folder=output, cells={})


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
    monkeypatch.setattr(suites, "changes", lambda digests, folder: [f"{engine}: changed" for engine in digests])
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


def test_a_cell_that_asks_for_another_system_is_measured_again(output):
    calls = []
    systems = [System("loops", "a"), System("loops", "b")]
    for asked, count in ((systems[:1], 1), (systems[:1], 1), (systems, 2)):
        cell = suites.asking(asked, _cells(calls, "a")["a"])
        suites.run_cells("frameworks", folder=output, cells={"a": cell})
        assert len(calls) == count


def test_no_cell_is_begun_after_its_time(output, capsys):
    calls = []
    assert not suites.run_cells("frameworks", folder=output, seconds=-1.0, cells=_cells(calls, "a"))
    assert not calls and "a: left for the next run" in capsys.readouterr().out
    with pytest.raises(ValueError, match="suite 'frameworks' has no cell 'c'; it has a, b"):
        suites.run_cells("frameworks", folder=output, only=["c"], cells=_cells(calls, "a", "b"))


def test_cells_of_the_comparison():
    cells = frameworks.cells(quick=False)
    assert len(cells) == 14 and list(cells)[0] == "lenet5-mnist-b128-fp32"
    assert "vgg_small-cifar-10-shapes-b128-bf16" in cells and "lenet5-fashion_mnist-b2048-fp32" in cells
    named = [(s.engine, s.form) for s in frameworks.OURS + frameworks.ORDINARY_AND_BEST + frameworks.FURTHER_FORMS]
    assert len(set(named)) == len(named) == 22


def test_suite_fused_has_a_cell_for_each_network_and_batch_on_a_card(monkeypatch):
    monkeypatch.setattr(fused, "gpu_available", lambda: False)
    assert fused.cells(quick=False) == {}
    monkeypatch.setattr(fused, "gpu_available", lambda: True)
    assert list(fused.cells(quick=False)) == [
        *("lenet5-b128", "small_cnn-b128", "lenet5-b32", "lenet5-b512", "lenet5-b2048"),
        *("goal", "start", "transfers", "sanitizer", "rungs", "phases"),
    ]
    assert list(fused.cells(quick=True)) == ["lenet5-b128", "start", "transfers", "sanitizer"]
    assert [system.engine for system in fused.systems(32)] == [
        *("fused", "layerwise", "pytorch", "pytorch", "jax", "jax", "keras", "tensorflow"),
    ]
    assert {*frameworks.ORDINARY_AND_BEST} < {*fused.systems(128)} and {*fused.systems(32)} < {*fused.systems(128)}
