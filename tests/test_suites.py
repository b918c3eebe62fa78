"""Suites: resuming, whole files, the choice of settings, slices of an epoch, proof of agreement, counted copies."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import suites
from helpers.benchmark import MeasurementError
from helpers.suites import accuracy, epoch, kernels, transfers
from helpers.suites.kernels import pass_name

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
            return {"steps_per_epoch": self.steps_per_epoch, "compile_seconds": 0.0}
        steps = steps or self.steps_per_epoch
        seconds, self.compilation = steps * self.step + self.compilation, 0.0
        return {"seconds": seconds, "losses": [self.loss] * steps}


def _rival(system=epoch.SYSTEMS[1], **worker):
    return epoch.Rival(FakeWorker(**worker), system, {"network": "lenet5"}, 128)


def test_an_epoch_over_a_second_is_timed_on_a_slice():
    fast, slow, slowest = _rival(step=0.001), _rival(step=0.03), _rival(step=3.0)
    assert (fast.slice_steps, slow.slice_steps, slowest.slice_steps) == (None, 20, 1)
    assert fast.turn() == pytest.approx(0.1) and slow.turn() == pytest.approx(0.6)
    assert fast.images == 100 * 128 and slow.images == 20 * 128
    assert (fast.runs(9), slowest.runs(9), _rival(step=30.0).runs(9)) == (9, 3, 1)
    assert (fast.proof_steps, slowest.proof_steps) == (20, int(epoch.PROOF_SECONDS / 3.0))


def test_a_scaled_record_says_so():
    plain = _rival(system=epoch.SYSTEMS[0], step=0.5)
    work = SimpleNamespace(network=SimpleNamespace(name="lenet5"), label="mnist")
    record = epoch._record(work, 128, plain, [0.5, 0.5], epoch_images=100 * 128)
    assert record["scaled"] and record["slice_batch"] == 8 and record["slice_steps"] == 2
    assert record["median"] == pytest.approx(1e3 * 0.5 * 100 * 128 / 16)
    whole = _rival(step=0.001)
    assert not epoch._record(work, 128, whole, [0.1], epoch_images=100 * 128)["scaled"]


def test_losses_outside_the_bound_stop_the_suite():
    rival = _rival(step=0.001, loss=1.0)
    rival.prove(np.full(20, 1.0 + 1e-6), np.full(20, 2e-6))
    assert rival.share == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(AssertionError, match="disagrees at step 0"):
        rival.prove(np.full(20, 1.1), np.full(20, 2e-6))


def test_the_epoch_suite_runs_engines_in_processes_of_their_own():
    (record,) = epoch.measure(epoch.TINY, batch_size=8, runs=2, systems=[epoch.SYSTEMS[2]])
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
