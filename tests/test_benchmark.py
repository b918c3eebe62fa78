"""Fair timing, the roofline, worker processes: on stand-ins; a kernel is timed where there is a card."""

import io
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.architectures import lenet5, tiny, vgg_small
from helpers.benchmark import (
    MeasurementError,
    clocked,
    interleave,
    main,
    refuse_impossible,
    summarise,
    time_call,
    time_kernel,
)
from helpers.compiler import load
from helpers.device import DeviceError, empty, gpu_available, to_device, to_host
from helpers.engines import make_engine
from helpers.kernels.probe import probe
from helpers.lowering import fuse_relu, lower
from helpers.roofline import Work, floor, operation_work, roofline
from helpers.suites.epoch import TINY
from helpers.suites.workloads import make_workload
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


@pytest.mark.gpu
def test_a_kernel_is_timed_on_the_card():
    size = 1 << 20
    (run,) = load([probe(size)])
    sets = [(empty(size), to_device(np.full(size, value, np.float32))) for value in (1, 2)]
    verified = []
    timing = time_kernel(run, *sets, launches=21, runs=5, work=Work(size, 8 * size), verify=lambda: verified.append(1))
    assert timing.runs == 5 and 0 < timing.median < 1e-3 and verified
    assert (to_host(sets[1][0]) == 4).all()
    with pytest.raises(MeasurementError, match="probe would"):
        time_kernel(run, *sets, work=Work(10**12, 0))


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
    assert made == {"steps_per_epoch": 4, "compile_seconds": 1.5, "on_gpu": False}
    assert first["losses"] == [11.0, 11.0] and first["seconds"] > 0
    assert restarted == {} and second["losses"] == [11.0] * 4
    assert scores == {"loss": 0.5, "accuracy": 1.0} and memory == {"parameters": 8}


def test_a_process_gives_the_card_what_it_keeps_unused(monkeypatch):
    kept = []
    cuda = SimpleNamespace(is_initialized=lambda: bool(kept), empty_cache=kept.clear)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert _answers({"request": "trim"}) == [{}]  # torch has not touched the card
    kept += ["a block"]
    assert _answers({"request": "trim"}) == [{}] and not kept
    monkeypatch.delitem(sys.modules, "torch")
    assert _answers({"request": "trim"}) == [{}]


def test_a_refused_request_does_not_end_the_worker():
    unknown, early, made = _answers({"request": "dance"}, {"request": "train"}, {"request": "make", **MAKE})
    assert "expected 'make', 'prepare', 'train'" in unknown["error"]
    assert "error" in early and made["steps_per_epoch"] == 4


@pytest.mark.parametrize("engine", ["vectorized", "pytorch"])
def test_an_epoch_that_was_prepared_is_the_same_and_has_its_order(engine, monkeypatch):
    """Otherwise making the order would be part of the time of training."""
    if engine == "pytorch":
        pytest.importorskip("torch")
    server = EngineServer(make_engine, make_workload)
    server.make(engine, TINY, batch_size=8)
    first = [server.train(epoch)["losses"] for epoch in (0, 1)]
    server.restart()
    assert server.train(0)["losses"] == first[0]
    server.prepare(1)
    if engine == "pytorch":
        monkeypatch.setattr("helpers.engines.framework.FrameworkEngine._epoch_order", None)
    assert server.train(1)["losses"] == first[1]


def test_a_worker_that_has_ended_can_be_closed():
    """Its last request may lie unread in the pipe."""
    worker = Worker([sys.executable, "-c", "import sys; sys.exit()"])
    worker._process.wait()
    worker._process.stdin.write("unread")
    worker.close()
    assert not worker.alive


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


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["kernels", "--only", "x"],
            "--only and --seconds are for suites frameworks, costs, growth, activity, fused, tune only",
        ),
        (["frameworks", "--seconds", "-5"], "--seconds is -5; expected 0 or more"),
        (["growth"], "suite 'growth' measures the card, and there is none"),
        (["frameworks", "--only", "nonsense", "--quick"], "suite 'frameworks' has no cell 'nonsense'"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("helpers.suites.gpu_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert message in f"{stopped.value} {capsys.readouterr().err}"
