"""Ladders check, number and report their rungs; the notebook's kernels assemble without spills."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from lesson import run_cells

from helpers.architectures import lenet5, vgg_small
from helpers.check import CheckError
from helpers.checking.shape_classes import shape_classes
from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.lowering import lower
from helpers.teaching import ladder as module
from helpers.teaching.ladder import Ladder, observe
from helpers.teaching.planes import divisor, image_plane, plane_problems
from helpers.trace import TraceError

NOTEBOOK = "02_cuda_kernels"
RECORD = {
    "gpu": "A card",
    "runs": 9,
    "precision": "fp32",
    "pass": "dense forward",
    "floor": 0.5,
    "network": "lenet5",
    "layer": "dense1",
    "batch_size": 128,
    "unit": "us",
    "experiment": "x",
}


def dense_rows(op, batch, bias=True):
    """A right dense kernel, wrong without its bias."""
    inputs, outputs = op.geometry.inputs, op.geometry.outputs

    def body(y, x, w, b):
        i = cuda.grid(1)
        if i < batch * outputs:
            total = b[i % outputs] if bias else np.float32(0.0)
            for c in range(inputs):
                total += x[i // outputs * inputs + c] * w[c * outputs + i % outputs]
            y[i] = total

    return Kernel("dense_forward", body, (-(-batch * outputs // 64), 1, 1), (64, 1, 1))


def dense_rows_that_add(op, batch):
    """Right on a poisoned output, but a second launch adds to the first one's result."""
    plain = dense_rows(op, batch)
    honest = plain.body

    def body(y, x, w, b):
        i = cuda.grid(1)
        before = y[i] if i < y.size and y[i] == y[i] else np.float32(0.0)
        honest(y, x, w, b)
        if i < y.size:
            y[i] += before

    return replace(plain, body=body)


def dense_rows_once(op, batch):
    """Right, but it writes down in its scratch that it has run, and then does nothing any more."""
    plain = dense_rows(op, batch)
    honest = plain.body

    def body(y, x, w, b, scratch):
        i = cuda.grid(1)
        if scratch[i] != np.float32(1.0):
            honest(y, x, w, b)
            scratch[i] = np.float32(1.0)

    return replace(plain, body=body, scratch_bytes=4 * plain.grid[0] * plain.threads)


@pytest.fixture
def dense_ladder(monkeypatch):
    monkeypatch.setattr(module, "find_records", lambda **keys: [])
    return Ladder("dense_forward", lenet5(), "dense1")


def test_a_right_kernel_is_a_rung_and_climbs_once(dense_ladder, capsys):
    dense_ladder.climb(dense_rows, "first")
    dense_ladder.climb(dense_rows, "again")
    assert list(dense_ladder.rungs) == ["dense_rows"]
    assert dense_ladder.table().loc[0, "what changed"] == "again"
    assert "Rung 0, dense_rows: right on" in capsys.readouterr().out


def test_a_wrong_kernel_raises_and_is_no_rung(dense_ladder):
    with pytest.raises(CheckError, match="got .* wanted"):
        dense_ladder.climb(dense_rows, "no bias", bias=False)
    assert not dense_ladder.rungs


def test_without_measurements_it_says_so(dense_ladder, capsys):
    dense_ladder.climb(dense_rows, "first")
    dense_ladder.finding()
    dense_ladder.save()
    assert dense_ladder.plot() is None and dense_ladder.dissect("dense_rows") is None
    assert capsys.readouterr().out.count("GPU") == 3


def test_committed_measurements_are_shown(dense_ladder, monkeypatch, capsys):
    times = {"slow": 8.0, "dense_rows": 2.0}
    records = [
        {**RECORD, "form": name, "change": name, "rung": i, "median": t, "min": t, "max": t, "roofline_share": 0.5 / t}
        for i, (name, t) in enumerate(times.items())
    ]
    monkeypatch.setattr(module, "find_records", lambda **keys: records)
    dense_ladder.climb(dense_rows, "first")
    dense_ladder.finding()
    out = capsys.readouterr().out
    assert "A card, dense1 of lenet5, batch 128: 2.0 us, 25.0 % of the roofline, 4.00 times as fast" in out
    assert "4.0 times less than slow" in out
    assert dense_ladder.table()["time, us"].tolist() == [8.0, 2.0]
    assert dense_ladder.plot() is not None


@pytest.fixture
def pretended_card(monkeypatch):
    """The paths that need a card, with the simulator in its place and a clock that says 2 ms."""
    import helpers.benchmark

    timing = SimpleNamespace(
        median=2e-3, record=lambda unit: {"unit": unit, "median": 2e3, "min": 2e3, "max": 2e3, "runs": 1}
    )

    def time_kernel(run, arrays, verify=lambda: None, **options):
        for _ in range(2):
            run(*arrays)
        verify()
        return timing

    card = SimpleNamespace(name="A card", fp32_flops=1e12, bandwidth=1e12)
    monkeypatch.setattr(module.device, "gpu_available", lambda: True)
    monkeypatch.setattr(module.device, "device_properties", lambda: card)
    monkeypatch.setattr(helpers.benchmark, "time_kernel", time_kernel)


def test_a_card_times_verifies_and_saves(pretended_card, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CNN_RESULTS", str(tmp_path))
    ladder = Ladder("dense_forward", lenet5(), "dense3", batch=4)
    monkeypatch.setattr(Ladder, "problems", plane_problems("dense_forward", 3))
    ladder.climb(dense_rows, "first")
    (record,) = ladder.records()
    assert record["form"] == "dense_rows" and 0 < record["roofline_share"] < 1 and record["blocks"] == 1
    ladder.save()
    assert list(tmp_path.glob("*-ladder-dense_forward.json"))
    assert "A card, dense3 of lenet5, batch 4: 2,000.0 us" in capsys.readouterr().out


@pytest.mark.parametrize(
    "factory, words",
    [
        (dense_rows_that_add, "y of dense_forward after the timed launches"),
        # on the CPU the tracer does not let it read its scratch in the first place
        (dense_rows_once, "y of dense_forward after one more launch|scratch.* is read before any thread wrote it"),
    ],
)
def test_launches_that_depend_on_earlier_ones_are_no_rung(pretended_card, monkeypatch, factory, words):
    ladder = Ladder("dense_forward", lenet5(), "dense3", batch=4)
    monkeypatch.setattr(Ladder, "problems", {"tile": plane_problems("dense_forward", 3)["tile"]})
    with pytest.raises((CheckError, TraceError), match=words):
        ladder.climb(factory, "wrong when repeated")
    assert not ladder.rungs


def test_an_unknown_layer_is_named():
    with pytest.raises(ValueError, match="vgg_small has no conv_forward in 'conv9'; layers with it: conv1, conv2"):
        Ladder("conv_forward", vgg_small(), "conv9")


def test_depth_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="no depth"):
        image_plane(shape_classes("conv_forward")["volume"][0])


def test_divisor():
    assert [divisor(n, 8) for n in (1, 6, 13, 16, 64)] == [1, 6, 1, 8, 8]


def test_observe_counts(monkeypatch):
    op = plane_problems("dense_forward", 3)["tile"][0]
    seen = observe(dense_rows, op, batch=2)
    assert len(seen.select("x", "read")) == 2 * op.geometry.macs


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_kernels_of_the_notebook_do_not_spill(capability):
    from helpers.assembly import resources

    lesson = run_cells(NOTEBOOK, ["lesson", "kernel"])
    ops = {op.kind: op for op in lower(vgg_small()).ops if op.layer in ("conv4", "pool1", "dense1")}
    factories = {
        "conv_forward": "natural typed_literal typed_indices filters_first shared_tile register_tile wide_loads",
        "conv_weight_gradient": "thread_per_weight block_per_weight split_batch matrix_tile",
        **{"conv_input_gradient": "gather_outputs", "pool_forward": "window_maximum"},
        "dense_forward": "thread_per_output",
    }
    for kind, names in factories.items():
        for name in names.split():
            used = resources(lesson[name](ops[kind], 128), capability)
            assert used.stack_bytes == used.spill_bytes == 0, name
            assert used.shared_bytes <= 48 * 1024, name
