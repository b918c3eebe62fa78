"""Every chart is drawn from records of a small file, carries its text, and stays small."""

import json
import math
from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from helpers.drawing.charts import text_width, wrap
from helpers.figures import draw_figures
from helpers.number_text import show_bytes, show_ratio, show_spread, show_time
from helpers.plotting import (
    plot_confusion,
    plot_digits,
    plot_kernels,
    plot_ladder,
    plot_learning_curve,
    plot_speedup,
    plot_time_shares,
    save_figure,
)
from helpers.results import read_results, write_results

ENVIRONMENT = {"gpu": "Test card", "date": "2026-01-01", "code_digest": {"layerwise": "0"}}
BASE = {"network": "tiny", "dataset": "mnist", "batch_size": 8, "precision": "fp32", "unit": "ms", "runs": 5}


def _record(experiment, form, median, system="layerwise", **more):
    spread = {"median": median, "min": 0.9 * median, "max": 1.2 * median}
    return {"experiment": experiment, "system": system, "form": form, **BASE, **spread, **more}


@pytest.fixture
def records(tmp_path):
    """Records as a reader finds them: from a file."""
    forms = [("loops", "plain Python", 7e5), ("loops", "njit, one core", 3000.0), ("layerwise", "epoch graph", 12.0)]
    written = [_record("epoch_time", form, median, system, scaled=median > 1e3) for system, form, median in forms]
    written += [_record("ladder", form, median, floor=2.0) for form, median in (("naive", 20.0), ("tiled", 5.0))]
    kernel = {"layer": "conv1", "floor": 3.0, "limit": "bandwidth", "roofline_share": 0.3}
    passes = ("forward", "weight gradient", "update")
    written += [_record("kernel_time", p, 10.0, **kernel, **{"pass": p}) for p in passes]
    curves = ([0.9, 0.95, 0.991], [0.91, 0.96, 0.989])
    written += [
        _record("test_accuracy", "one seed", curve[-1], seed=seed, curve=curve, goal=0.99)
        for seed, curve in enumerate(curves)
    ]
    write_results("epoch", written, ENVIRONMENT, tmp_path)
    found = read_results(tmp_path)
    return lambda experiment: [record for record in found if record["experiment"] == experiment]


def _texts(chart):
    """Every text that the figure shows."""
    shown = [text.get_text() for text in chart.figure.texts]
    for axes in chart.figure.axes:
        shown += [text.get_text() for text in axes.texts] + [tick.get_text() for tick in axes.get_yticklabels()]
    return " | ".join(shown)


def _check(chart, tmp_path):
    """The chart's file is a small PNG of the notebook's width, the same every time."""
    path = save_figure(chart, "chart", tmp_path)
    first = path.read_bytes()
    assert save_figure(chart, "chart", tmp_path).read_bytes() == first and len(first) <= 80_000
    assert Image.open(BytesIO(first)).width == 1152 and np.asarray(Image.open(path).convert("L")).std() > 5


def test_speedup_names_baseline_card_and_conditions(records, tmp_path):
    chart = plot_speedup(records("epoch_time"))
    shown = _texts(chart)
    for text in (
        "250\u00d7",
        "njit, one core",
        "baseline",
        "12.0 ms",
        "Test card",
        "batch 8",
        "fp32",
        "5 runs",
        "scaled",
    ):
        assert text in shown
    assert "250\u00d7" in chart.alt and "12.0 ms" in chart.alt
    _check(chart, tmp_path)


@pytest.mark.parametrize("slowest, fastest", [(70.0, 1.1), (1.2, 0.02), (1.2, 0.9)])
def test_speedup_holds_every_spread_and_label(slowest, fastest, records):
    """The slowest run of a system lies far from its median, or the fastest one does."""
    times = [dict(record) for record in records("epoch_time") if record["form"] != "plain Python"]
    times.append(dict(times[-1], form="other", median=9000.0, min=9000.0 / 1.1, max=9000.0 * slowest))
    times[1]["min"] *= fastest
    chart = plot_speedup(times)
    axes, canvas = chart.figure.axes[0], FigureCanvasAgg(chart.figure)
    canvas.draw()
    low, high = axes.get_xlim()
    spreads = [line.get_xdata() for line in axes.lines if len(set(line.get_xdata())) == 2]
    assert len(spreads) == len(times)
    for ends in spreads:
        assert low < min(ends) and max(ends) < high, "a spread is cut"
    for text in axes.texts:
        assert text.get_window_extent(canvas.get_renderer()).x1 <= chart.figure.bbox.x1, text.get_text()


def test_speedup_without_its_baseline_says_what_to_run(records):
    rest = [record for record in records("epoch_time") if record["system"] != "loops"]
    with pytest.raises(ValueError, match="python -m helpers.benchmark epoch"):
        plot_speedup(rest)


def test_ladder_and_its_floor(records, tmp_path):
    chart = plot_ladder(records("ladder"))
    shown = _texts(chart)
    assert "4.0\u00d7" in shown and "the card's limit: 2.00 ms" in shown and "tiled" in chart.alt
    _check(chart, tmp_path)


def test_kernels_show_the_share_of_the_roofline(records, tmp_path):
    chart = plot_kernels(records("kernel_time"))
    shown = _texts(chart)
    assert (
        "30\u00a0%" in shown
        and "orange: weight gradient" in chart.alt
        and "conv1 weight gradient" in shown
        and "30.0 ms" in shown
    )
    _check(chart, tmp_path)


def test_learning_curve_from_records_and_from_a_run(records, tmp_path):
    chart = plot_learning_curve(records("test_accuracy"))
    assert "99.00\u00a0%" in _texts(chart) and "mean of 2 runs" in chart.alt
    assert "1 of 2 end below the goal" in chart.alt and "benchmark suite, 2026-01-01" in chart.alt
    _check(chart, tmp_path)
    assert "95.00\u00a0%" in plot_learning_curve({"run": [0.9, 0.95]}).alt
    with pytest.raises(ValueError, match="finite"):
        plot_learning_curve({"run": [0.9, math.nan]})


def test_confusion_names_the_most_frequent_mistake(tmp_path):
    matrix = np.diag([50, 60, 70])
    matrix[2, 0] = 5
    chart = plot_confusion(matrix)
    assert "a 2 is taken for a 0 (5 of 75)" in chart.alt and "5 of 185 are wrong" in chart.alt
    _check(chart, tmp_path)


def test_digits_show_label_and_prediction(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (5, 9, 9, 1)).astype(np.uint8)
    chart = plot_digits(images, [1, 2, 3, 4, 5], [1, 2, 3, 4, 0])
    assert chart.figure.axes[4].get_xlabel() == "5 \u2192 0" and "1 of these 5" in chart.alt
    _check(chart, tmp_path)
    with pytest.raises(ValueError, match="one label and one prediction"):
        plot_digits(images, [1], [1])


def test_time_shares(tmp_path):
    chart = plot_time_shares({"pooling": 1.0, "convolution": 3.0})
    assert "convolution: 75\u00a0% of the time" in chart.alt
    _check(chart, tmp_path)
    with pytest.raises(ValueError, match="positive"):
        plot_time_shares({})


@pytest.mark.parametrize("draw", [plot_ladder, plot_kernels, plot_speedup, plot_learning_curve])
def test_no_records_and_broken_records_are_refused(draw, records):
    with pytest.raises(ValueError, match="measure"):
        draw([])
    with pytest.raises(ValueError, match="measure it again"):
        draw([dict(records("epoch_time")[0], median=math.nan)])


def test_a_chart_shows_itself_with_its_text_in_notebooks():
    chart = plot_time_shares({"a": 1.0})
    data, metadata = chart._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and metadata["image/png"]["alt"] == chart.alt
    json.dumps(metadata)


def test_a_matplotlib_figure_with_a_text_is_saved_too(tmp_path):
    figure = Figure(figsize=(4, 2))
    figure.alt = "An empty frame."
    assert Image.open(save_figure(figure, "frame", tmp_path)).size == (576, 288)


def test_a_figure_without_text_or_too_large_is_refused(tmp_path):
    chart = plot_time_shares({"a": 1.0})
    chart.alt = ""
    with pytest.raises(ValueError, match="alternative text"):
        save_figure(chart, "chart", tmp_path)
    noise = plot_time_shares({"a": 1.0})
    noise.figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).random((400, 400, 3)), aspect="auto")
    with pytest.raises(ValueError, match="show less"):
        save_figure(noise, "chart", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value, unit, text",
    [(31.42, "ms", "31.4 ms"), (0.9, "us", "0.90 \u00b5s"), (1650, "ms", "1.65 s"), (6.4e6, "ms", "107 min")],
)
def test_times_have_three_digits(value, unit, text):
    assert show_time(value, unit) == text


@pytest.mark.parametrize(
    "count, text",
    [(624, "624 bytes"), (13_280, "13.3 KB"), (232_448, "232 KB"), (999_700, "1.00 MB"), (2.5e9, "2.50 GB")],
)
def test_bytes_have_a_unit_that_fits(count, text):
    assert show_bytes(count) == text


def test_ratios_and_lines():
    assert [show_ratio(r) for r in (764.2, 14.52, 1 / 267)] == ["764\u00d7", "14.5\u00d7", "1/267"]
    assert [show_ratio(r) for r in (0.96, 1.02, 1.0, 0.9999)] == ["0.96\u00d7", "1.02\u00d7", "1.0\u00d7", "1.0\u00d7"]
    assert [show_spread(1.49, 1.51), show_spread(2.7, 3.6)] == [
        "1.5\u00d7 in every run",
        "2.7\u00d7 to 3.6\u00d7 from run to run",
    ]
    lines = wrap(" ".join(["word"] * 24), " ", 12.5, "bold")
    assert len(lines) > 1 and max(text_width(line, 12.5, "bold") for line in lines) <= 7.8


def test_every_committed_figure_has_its_records(records, tmp_path):
    renamed = [
        dict(r, network="lenet5") for kind in ("epoch_time", "kernel_time", "test_accuracy") for r in records(kind)
    ]
    paths = draw_figures(renamed, tmp_path / "figures")
    assert [path.stem for path in paths] == ["speedup-lenet5", "kernels-lenet5", "learning-curve-lenet5"]
    assert draw_figures([], tmp_path) == []


@pytest.mark.parametrize("medians", [(20.0, 19.9, 5.0), (5.0, 20.0, 1.0)])
def test_the_labels_of_bars_stay_inside_the_chart(medians):
    chart = plot_ladder([_record("ladder", f"rung {i}", median) for i, median in enumerate(medians)])
    canvas = FigureCanvasAgg(chart.figure)
    canvas.draw()
    for text in chart.figure.axes[0].texts:
        assert text.get_window_extent(canvas.get_renderer()).x1 <= chart.figure.bbox.x1, text.get_text()
