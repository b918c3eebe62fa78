"""Charts that compare systems say what their records hold, mark what is ours, and refuse what is broken."""

import numpy as np
import pytest

from helpers.drawing import comparison_charts as charts
from helpers.drawing.charts import LARGEST_FILE, png_bytes
from helpers.drawing.figure_style import ORANGE
from helpers.drawing.system_lines import SYSTEM_COLOURS
from helpers.drawing.systems_table import systems_table
from helpers.plotting import plot_speedup

TIMES = {
    **{("loops", "njit, one core"): 36_300, ("vectorized", "BLAS, all cores"): 2_460},
    **{("pytorch", "eager"): 794, ("pytorch", "epoch graph"): 139, ("jax", "scan"): 97},
    **{("keras", "fit, backend jax"): 1_030, ("layerwise", "epoch graph"): 25},
}
BASE = {"network": "lenet5", "dataset": "mnist", "precision": "fp32", "gpu": "NVIDIA T4", "date": "2026-11-25"}
BASE |= {"suite": "frameworks-x", "unit": "ms", "runs": 7}


def record(system, form, median, **more):
    named = {**BASE, "system": system, "form": form, "experiment": "compared_epoch_time"}
    return {**named, "median": median, "min": 0.9 * median, "max": 1.2 * median, **more}


@pytest.fixture
def over_batches():
    return [
        record(system, form, time * 128 / batch, batch_size=batch)
        for (system, form), time in TIMES.items()
        for batch in (128, 512)
    ]


def small_enough(chart):
    assert len(png_bytes(chart.figure)) <= LARGEST_FILE
    return chart


def test_lines_over_batches(over_batches):
    chart = small_enough(charts.plot_batches(over_batches))
    assert "lenet5: layerwise is 3.9\u00d7 as fast as jax at batch 128, 3.9\u00d7 at batch 512" in chart.alt
    assert "layerwise, epoch graph: 25.0 ms at 128, 6.25 ms at 512" in chart.alt and "fp32" in chart.alt
    (axes,) = chart.figure.axes
    drawn = {line.get_color(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 2}
    np.testing.assert_allclose(drawn[ORANGE], [0.025, 0.00625])
    assert len(axes.lines) == len(TIMES)


def test_what_is_behind_says_so(over_batches):
    for entry in over_batches:
        if entry["system"] == "layerwise":
            entry["median"] *= 8
    assert "layerwise is 1/2.1 as fast as jax at batch 128" in charts.plot_batches(over_batches).alt


def test_growth_has_its_power_and_floor():
    records = [
        record(system, "x", time * value**2.0, by="size", value=value, floor=value**2.0, experiment="growth")
        for system, time in (("layerwise", 2.0), ("jax", 5.0))
        for value in (8, 16, 32, 64)
    ]
    chart = small_enough(charts.plot_growth(records))
    assert "layerwise grows with the power 2.00 of the height and width of an image" in chart.alt
    assert "jax, x (power 2.00)" in chart.alt
    floors = [line for line in chart.figure.axes[0].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(floors[0].get_ydata(), np.array([64, 256, 1024, 4096]) / 1e3)
    with pytest.raises(ValueError, match="grow by depth, size; draw one"):
        charts.plot_growth([*records, {**records[0], "by": "depth"}])


def test_the_power_is_that_of_the_upper_half():
    x = np.array([1, 2, 4, 8, 16, 32.0])
    assert charts.fitted_power(x, np.maximum(10, x**1.5 / 2)) == pytest.approx(1.5, abs=0.2)
    with pytest.raises(ValueError, match="a power needs two points at least; there are 1"):
        charts.fitted_power([1.0], [1.0])


def test_accuracy_over_time_names_the_first_at_the_goal():
    records = []
    for step, system in ((0.02, "layerwise"), (0.1, "jax")):
        seconds = [step * epoch for epoch in (1, 2, 3)]
        curve = [0.96, 0.985, 0.991] if system == "layerwise" else [0.95, 0.97, 0.98]
        reached = curve[-1] >= 0.99
        more = {"seconds": seconds, "curve": curve, "goal": 0.99, "reached": reached, "unit": "s"}
        records.append(record(system, "x", seconds[-1], experiment="time_to_accuracy", **more))
    chart = small_enough(charts.plot_accuracy_over_time(records[::-1]))
    assert "layerwise, x is the first with 99" in chart.alt and "1  layerwise, x: 60.0 ms" in chart.alt
    assert "2  jax, x: not reached" in chart.alt
    records[0]["curve"][1] = float("nan")
    with pytest.raises(ValueError, match="the curve of layerwise, x is broken"):
        charts.plot_accuracy_over_time(records)


def test_systems_stand_under_the_card_s_limits(over_batches):
    limits = {"fp32_flops": 8e12, "bandwidth": 3e11}
    on_card = [
        {**r, "flops": 1e11, "bytes": 2e9, **limits} for r in over_batches if r["system"] in ("layerwise", "jax")
    ]
    chart = small_enough(charts.plot_systems_roofline(on_card))
    share = 1e11 / 0.00625 / 8e12
    assert f"layerwise, epoch graph: {100 * share:.1f}\u00a0%" in chart.alt
    with pytest.raises(ValueError, match="no record holds the work of an epoch"):
        charts.plot_systems_roofline(over_batches)


def test_many_bars_take_the_colours_of_their_systems(over_batches):
    records = [r for r in over_batches if r["batch_size"] == 128]
    chart = small_enough(plot_speedup(records, colours=SYSTEM_COLOURS))
    faces = {bar.get_facecolor() for bar in chart.figure.axes[0].patches}
    assert len(faces) == len({r["system"] for r in records})


def test_the_table_marks_what_is_scaled_or_absent(over_batches):
    over_batches[0]["scaled"] = True
    absent = [{"system": "tensorflow", "form": "XLA", "batch_size": 128, "reason": "it is not installed"}]
    table = systems_table(over_batches, absent)
    assert list(table.columns) == ["one epoch, batch 128", "one epoch, batch 512"]
    assert table.loc["loops, njit, one core", "one epoch, batch 128"] == "36.3 s *"
    assert table.loc["layerwise, epoch graph", "one epoch, batch 512"] == "6.25 ms"
    assert list(table.index)[6] == "layerwise, epoch graph", "the fastest comes last"
    assert list(table.loc["tensorflow, XLA"]) == ["absent", ""]


def test_shares_of_the_bound_stay_below_it():
    reference, bound = np.linspace(2, 1, 50), np.full(50, 1e-6)
    wave = np.sin(np.arange(50))
    losses = {("jax", "scan"): reference + 0.4e-6 * wave, ("layerwise", "epoch graph"): reference + 0.1e-6 * wave}
    chart = small_enough(charts.plot_shares_of_bound(losses, reference, bound))
    assert "2 forms, one course: losses use at most 40" in chart.alt and "jax, scan: 40" in chart.alt
    assert "layerwise, epoch graph: 10" in chart.alt
    losses["jax", "scan"][3] = np.nan
    with pytest.raises(ValueError, match="expected the finite losses"):
        charts.plot_shares_of_bound(losses, reference, bound)
