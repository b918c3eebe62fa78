"""An epoch taken apart: what the host does, when operations run, charts and tables from made-up records."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.architectures import lenet5
from helpers.drawing.charts import LARGEST_FILE, png_bytes
from helpers.drawing.training_charts import lay_out, plot_agreement, plot_order, plot_streams
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.order import sample_order
from helpers.teaching import epochs

OPS = fuse_pool(fuse_relu(lower(lenet5()))).ops
BASE = {**epochs.LENET, "system": "layerwise", "gpu": "card", "runs": 3, "min": 1.0, "max": 3.0}


@pytest.fixture
def problem():
    return epochs.training_problem()


def kernel_records():
    return [
        {**BASE, "experiment": "kernel_time", "layer": op.layer, "form": op.kind, "unit": "us", "median": 2.0}
        for op in OPS
    ]


@pytest.fixture
def found(monkeypatch):
    """Make `find_records` answer from a list."""
    records = []
    monkeypatch.setattr(epochs, "find_records", lambda given=None, **keys: [
        record for record in records if all(record.get(key) == value for key, value in keys.items())
    ])  # fmt: skip
    return records


def test_operations_wait_for_what_they_read():
    plan, ends = lay_out(OPS, [1.0] * len(OPS)), {}
    for op, (stream, start, end) in zip(OPS, plan):
        assert all(start >= ends.get(name, 0) for name in op.inputs)
        assert stream == op.kind.endswith("_weight_gradient")
        ends |= dict.fromkeys(op.outputs, end)
    assert plan[-1][1] == max(end for _, _, end in plan[:-1])
    assert plan[-1][2] < len(OPS) == lay_out(OPS, [1.0] * len(OPS), [0] * len(OPS))[-1][2]


def test_only_the_middle_rungs_launch_every_kernel(problem):
    engine = epochs.make_engine("layerwise", problem.network, problem.optimizer, 4)
    engine.load(problem.dataset)
    work, launches = epochs.host_work(engine), len(engine.kernels)
    steps, pixels = engine.steps_per_epoch, int(np.prod(problem.network.input_shape))
    assert work.loc["copy per batch"].tolist() == [steps * 4 * 4 * (pixels + 1), steps * (launches - 1)]
    assert work.loc["resident"].tolist() == [0, steps * launches] and work.loc["epoch graph"].tolist() == [0, 1]
    assert epochs.step_table(engine)["operation"].iloc[-1] == "update"


def test_ladder_says_the_measured_time_and_the_share_of_the_kernels(problem, found, capsys):
    found += [{**BASE, "experiment": "epoch_time", "form": "resident", "unit": "ms", "median": 35.568}]
    found += kernel_records()
    ladder = epochs.EpochLadder(problem, 4, 1, 1)
    ladder._say_time("resident")
    said = capsys.readouterr().out
    assert "35.6 ms" in said and "50 % of this epoch" in said
    ladder._say_time("epoch graph")
    assert "Not measured" in capsys.readouterr().out
    assert [record["form"] for record in ladder.records()] == ["resident"]


def test_transfers_are_a_row_a_form_and_place(found, capsys):
    for form, count in (("epoch graph", 0), ("copy per batch", 936)):
        for when in ("before", "within", "after"):
            for direction in ("HtoD", "DtoH"):
                found.append({**BASE, "experiment": "transfers", "form": form, "when": when, "direction": direction})
                found[-1] |= {"median": count, "bytes": 10 * count}
    table = epochs.transfer_table()
    assert table.loc["epoch graph, within"].tolist() == [0] * 4
    assert table.loc["copy per batch, within", ["copies to the card", "bytes to the card"]].tolist() == [936, 9360]
    found.clear()
    capsys.readouterr()
    assert epochs.transfer_table() is None and "Not counted" in capsys.readouterr().out


def test_settings_come_from_the_validation_split(found):
    assert epochs.learning_settings(3, found).momentum == 0.9
    found.append({**BASE, "experiment": "validation_accuracy", "mean": 0.9, "rate": 0.1, "momentum": 0.8, "epochs": 9})
    assert epochs.learning_settings(3, found).momentum == 0.8


def test_what_needs_a_card_or_records_says_so(capsys):
    epochs.compare_streams(None)
    assert epochs.show(None, [], "a thing") is None
    assert capsys.readouterr().out.count("measured") == 2


def test_measured_streams_stand_beside_the_drawn_ones(found, monkeypatch, capsys):
    found += kernel_records()
    monkeypatch.setattr(epochs.device, "gpu_available", lambda: True)
    monkeypatch.setattr(epochs.device, "device_properties", lambda: SimpleNamespace(name="card"))
    monkeypatch.setattr(
        epochs, "_step_seconds", lambda engine, streams, *_: SimpleNamespace(median=(70 - streams) / 1e6)
    )
    step = SimpleNamespace(training_ops=OPS)
    epochs.compare_streams(SimpleNamespace(steps_per_epoch=5, train=lambda epoch: None, step=step))
    drawn = 2.0 * len(OPS) - lay_out(OPS, [2.0] * len(OPS))[-1][2]
    said = " ".join(capsys.readouterr().out.split())
    assert "69.0 us on one stream and 68.0 us on two (this run): 1.0 us less" in said
    assert f"{drawn:.1f} us would be gained" in said


@pytest.mark.parametrize("name", ["order", "streams", "streams, measured", "agreement"])
def test_charts_draw_small_and_say_what_they_show(name):
    reference, bound = np.linspace(2, 1, 20), np.full(20, 1e-6)
    losses = dict.fromkeys(epochs.MODES, reference + 3e-07)
    chart = {
        "order": lambda: plot_order({"epoch 0": sample_order(1000, 0, 0, np.arange(100))}, 1000),
        "streams": lambda: plot_streams(OPS, []),
        "streams, measured": lambda: plot_streams(OPS, kernel_records()),
        "agreement": lambda: plot_agreement(losses, reference, bound),
    }[name]()
    assert len(png_bytes(chart.figure)) <= LARGEST_FILE and len(chart.alt) > 60
    said = {"streams, measured": "\u00b5s instead of", "agreement": "30 % of the gap"}.get(name, "")
    assert said in chart.alt.replace("\u00a0", " ") and json.dumps(chart.alt)
