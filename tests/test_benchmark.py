"""Fair timing, worker processes, suites: on stand-ins, without a GPU."""

import io
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import suites
from helpers.architectures import lenet5, tiny, vgg_small
from helpers.benchmark import (
    MeasurementError,
    clocked,
    interleave,
    refuse_impossible,
    summarise,
    time_call,
    time_kernel,
)
from helpers.device import DeviceError, gpu_available
from helpers.lowering import fuse_relu, lower
from helpers.roofline import Work, floor, operation_work, roofline
from helpers.suites import accuracy, epoch, transfers
from helpers.suites.kernels import pass_name
from helpers.workers import EngineServer, Worker, WorkerError, serve

CARD = SimpleNamespace(name="test card", fp32_flops=1e12, bandwidth=1e11, l2_bytes=10_000_000)


def test_time_call_counts_runs_and_verifies_afterwards():
    calls = []
    timing = time_call(lambda: calls.append("run"), runs=5, warmup=3, verify=lambda: calls.append("verify"))
    assert calls == ["run"] * 8 + ["verify"]
    assert timing.runs == 5 and 0 < timing.min <= timing.median <= timing.max


def test_the_clock_waits_for_queued_work():
    order = []
    seconds = clocked(lambda: order.append("run"), lambda: order.append("wait"))()
    assert order == ["wait", "run", "wait"] and seconds > 0


def test_a_failed_verification_is_no_timing():
    def verify():
        raise AssertionError("wrong output")

    with pytest.raises(AssertionError, match="wrong output"):
        time_call(lambda: None, runs=2, verify=verify)


@pytest.mark.parametrize("seconds", [[], [0.1, 0.0], [math.nan], [math.inf], [-1.0]])
def test_times_that_cannot_be_are_refused(seconds):
    with pytest.raises(MeasurementError, match="expected positive seconds"):
        summarise(seconds)


def test_record_has_the_unit_and_the_scale():
    record = summarise([0.001, 0.002, 0.004]).record("us", scale=10)
    assert record == {"unit": "us", "median": 20_000, "min": 10_000, "max": 40_000, "runs": 3}


@pytest.mark.parametrize(
    "work, seconds, message",
    [
        (Work(2_000_000, 0), 1e-6, "TFLOP/s"),
        (Work(0, 10_000_000 + 200_000), 1e-6, "GB/s"),
    ],
)
def test_a_figure_beyond_the_card_is_refused(work, seconds, message):
    with pytest.raises(MeasurementError, match=f"kernel would .*{message}.*test card cannot exceed"):
        refuse_impossible(seconds, work, CARD, "kernel")
    refuse_impossible(seconds * 3, work, CARD, "kernel")


def test_data_that_fits_the_cache_may_exceed_the_memory_bus():
    refuse_impossible(1e-6, Work(0, CARD.l2_bytes), CARD)


def test_rivals_take_turns_and_each_round_begins_with_another():
    order = []
    rivals = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    seconds = interleave(rivals, {"a": 3, "b": 3, "c": 1})
    assert order == ["a", "b", "c", "b", "a", "a", "b"]
    assert seconds == {"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0]}


@pytest.mark.skipif(gpu_available(), reason="a card is there")
def test_without_a_card_a_kernel_is_not_timed():
    with pytest.raises(DeviceError):
        time_kernel(None, ())


# ---- roofline


def test_work_of_a_convolution_and_its_gradients():
    program, batch = lower(lenet5()), 4
    ops = {(op.kind, op.layer): op for op in program.ops}
    macs, weights, bias = 28 * 0 + 24 * 24 * 25 * 6, 25 * 6, 6
    x, y = 28 * 28, 24 * 24 * 6
    forward = operation_work(ops["conv_forward", "conv1"], program, batch)
    assert forward == Work(2 * macs * batch, 4 * (batch * (x + y) + weights + bias))
    gradient = operation_work(ops["conv_weight_gradient", "conv1"], program, batch)
    assert gradient == forward
    w2, x2, y2 = 25 * 6 * 16, 12 * 12 * 6, 8 * 8 * 16
    backward = operation_work(ops["conv_input_gradient", "conv2"], program, batch)
    assert backward.bytes == 4 * (batch * (x2 + y2) + w2)


@pytest.mark.parametrize("network", [lenet5(), vgg_small(), tiny()])
def test_work_sums_to_the_networks_flops_and_fusion_saves_traffic(network):
    plain, fused = lower(network), fuse_relu(lower(network))
    totals = [sum((operation_work(op, p, 2) for op in p.ops), Work(0, 0)) for p in (plain, fused)]
    assert totals[0].flops == totals[1].flops == 2 * network.training_flops
    assert 0 < totals[1].bytes < totals[0].bytes


def test_floor_names_its_limit():
    assert floor(Work(10**12, 10**6), CARD) == type(floor(Work(1, 1), CARD))(1.0, "arithmetic")
    assert floor(Work(10**6, 10**11), CARD).limit == "bandwidth"
    program = lower(vgg_small())
    assert roofline(program.ops[2], program, 128, CARD).seconds > 0


# ---- workers


class StandIn:
    """The engine protocol, as far as a worker uses it."""

    compile_seconds, steps_per_epoch, memory = 1.5, 4, {"parameters": 8}

    def __init__(self, network, optimizer, batch_size, precision, seed, offset=0.0):
        self.offset, self.trained = offset, 0

    def load(self, dataset):
        print("a chatty engine")
        self.dataset = dataset

    def train(self, first_epoch, epochs=1, steps=None):
        self.trained += 1
        return np.full((1, steps or self.steps_per_epoch), self.offset + self.trained)

    def initial_state(self):
        return 0

    def load_state(self, state):
        self.trained = state

    def evaluate(self, split):
        return {"loss": np.float32(0.5), "accuracy": 1.0}


def _server():
    return EngineServer(
        lambda name, *arguments, **options: StandIn(*arguments, **options),
        lambda **plain: SimpleNamespace(network=None, optimizer=None, dataset=plain),
    )


def _answers(*requests):
    answers = io.StringIO()
    serve(_server().handlers, io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


MAKE = {"engine": "stand-in", "workload": {"network": "tiny"}, "options": {"offset": 10.0}}
MAKE |= {"batch_size": 2, "precision": "fp32", "seed": 0}


def test_a_worker_answers_every_request():
    made, first, restarted, second, scores, memory = _answers(
        {"request": "make", **MAKE},
        *({"request": "train", "steps": 2}, {"request": "restart"}, {"request": "train"}),
        *({"request": "evaluate"}, {"request": "memory"}),
    )
    assert made == {"steps_per_epoch": 4, "compile_seconds": 1.5}
    assert first["losses"] == [11.0, 11.0] and first["seconds"] > 0
    assert restarted == {} and second["losses"] == [11.0] * 4
    assert scores == {"loss": 0.5, "accuracy": 1.0} and memory == {"parameters": 8}


def test_a_refused_request_does_not_end_the_worker():
    unknown, early, made = _answers({"request": "dance"}, {"request": "train"}, {"request": "make", **MAKE})
    assert "expected 'make', 'train'" in unknown["error"]
    assert "error" in early and made["steps_per_epoch"] == 4


CHILD = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["request"] == "die":
        sys.exit(3)
    print(json.dumps({"error": "ValueError: no"} if request["request"] == "fail" else request), flush=True)
"""


def test_a_worker_is_a_live_process_of_its_own():
    with Worker([sys.executable, "-c", CHILD]) as worker, Worker([sys.executable, "-c", CHILD]) as other:
        assert worker.call("echo", x=1) == {"request": "echo", "x": 1}
        assert other.call("echo", x=2)["x"] == 2
        with pytest.raises(WorkerError, match="ValueError: no"):
            worker.call("fail")
        assert worker.call("echo", x=3)["x"] == 3
        with pytest.raises(WorkerError, match="ended during 'die' with status 3"):
            worker.call("die")


# ---- suites


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
        environment = {"gpu": "test card", "date": "today", "code_digest": digest}
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


# ---- suite "epoch"


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
    assert (fast.proof_steps, slowest.proof_steps) == (20, 10)


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
