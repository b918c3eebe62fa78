"""Charts that compare systems say what their records hold, mark what is ours, and refuse what is broken."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from helpers.drawing import comparison_charts as charts
from helpers.drawing import growth_charts
from helpers.drawing.charts import LARGEST_FILE, png_bytes
from helpers.drawing.figure_style import INK, MUTED, ORANGE
from helpers.drawing.form_markers import FORMS, MARKERS, form_markers
from helpers.drawing.system_lines import SYSTEM_COLOURS
from helpers.drawing.systems_table import systems_table
from helpers.plotting import plot_speedup
from helpers.suites.frameworks import FURTHER_FORMS, ORDINARY_AND_BEST

TIMES = {
    **{("loops", "njit, one core"): 36_300, ("vectorized", "BLAS, all cores"): 2_460},
    **{("pytorch", "eager"): 794, ("pytorch", "epoch graph"): 139, ("jax", "scan"): 97},
    **{("keras", "fit, backend jax"): 1_030, ("layerwise", "epoch graph"): 25},
}
BASE = {"network": "lenet5", "dataset": "mnist", "precision": "fp32", "gpu": "NVIDIA T4", "date": "2026-11-25"}
BASE |= {"suite": "frameworks", "unit": "ms", "runs": 7}


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
    chart = small_enough(growth_charts.plot_growth(records))
    assert "Twice the side of an image: 4\u00d7 the time for ours, 4\u00d7 for the frameworks" in chart.alt
    assert "jax, x (power 2.00)" in chart.alt
    floors = [line for line in chart.figure.axes[0].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(floors[0].get_ydata(), np.array([64, 256, 1024, 4096]) / 1e3)
    with pytest.raises(ValueError, match="grow by depth, size; draw one"):
        growth_charts.plot_growth([*records, {**records[0], "by": "depth"}])


def test_a_title_of_growth_names_the_frameworks_from_the_least_to_the_most():
    powers = {"layerwise": 1.0, "jax": np.log2(10), "pytorch": np.log2(9.5)}
    records = [
        record(system, "x", float(value) ** power, by="size", value=value, experiment="growth")
        for system, power in powers.items()
        for value in (8, 16)
    ]
    title = "Twice the side of an image: 2\u00d7 the time for ours, 9.5\u00d7 to 10\u00d7 for the frameworks"
    assert title in growth_charts.plot_growth(records).alt


def test_the_power_is_that_of_the_upper_half():
    x = np.array([1, 2, 4, 8, 16, 32.0])
    assert growth_charts.fitted_power(x, np.maximum(10, x**1.5 / 2)) == pytest.approx(1.5, abs=0.2)
    with pytest.raises(ValueError, match="a power needs two points at least; there are 1"):
        growth_charts.fitted_power([1.0], [1.0])


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
    assert "bend at 26.7 FLOP a byte" in chart.alt
    (axes,) = chart.figure.axes
    low, high = axes.get_xlim()
    assert low <= 8e12 / 3e11 / 2 and high >= 2 * 50, "room around the bend and the points"
    assert axes.get_ylim()[1] > 8e12
    texts = {text.get_text(): text for text in axes.texts}
    assert {"memory: 300 GB/s", "arithmetic: 8 TFLOP/s in fp32"} <= set(texts)
    assert {text: texts[text].get_color() for text in ("128", "512")} == {"128": ORANGE, "512": ORANGE}
    with pytest.raises(ValueError, match="no record holds the work of an epoch"):
        charts.plot_systems_roofline(over_batches)


@pytest.mark.parametrize("intensity", [3, 26, 300])
def test_the_bend_of_the_limits_lies_within_the_axes(intensity, over_batches):
    """Whether the points lie far below it, at it or far above it."""
    work = {"flops": 1e11, "bytes": 1e11 / intensity, "fp32_flops": 8e12, "bandwidth": 3e11}
    (axes,) = charts.plot_systems_roofline([{**r, **work} for r in over_batches]).figure.axes
    low, high = axes.get_xlim()
    bend, top = 8e12 / 3e11, axes.get_ylim()[1]
    assert 1.9 * low < min(bend, intensity) and 1.9 * max(bend, intensity) < high and top > 8e12
    limits = next(line for line in axes.lines if line.get_color() == INK and len(line.get_xdata()) == 3)
    np.testing.assert_allclose(limits.get_xdata(), [low, bend, high])
    np.testing.assert_allclose(limits.get_ydata(), [3e11 * low, 8e12, 8e12])


def leaders(axes):
    return [text.arrow_patch for text in axes.texts if text.arrow_patch is not None]


def test_leaders_do_not_look_like_lines(over_batches):
    """A line that ends early is not drawn on by the leader to its name."""
    short = [r for r in over_batches if r["batch_size"] == 128 or r["system"] != "keras"]
    (axes,) = charts.plot_batches(short).figure.axes
    assert len(leaders(axes)) == len(TIMES)
    for leader in leaders(axes):
        assert leader.get_linestyle() not in ("-", "solid") and leader.get_linewidth() < 1
        assert to_hex(leader.get_edgecolor()) == MUTED
        assert all(leader.get_zorder() < line.get_zorder() for line in axes.lines)
        assert all(line.get_linestyle() == "-" for line in axes.lines)


def test_forms_of_a_system_have_their_own_markers_in_every_chart(over_batches):
    """Fixed ones, that names show: also where fewer forms are drawn, and for forms that nobody has named before."""
    many = [("pytorch", "eager"), ("pytorch", "epoch graph"), ("jax", "jit"), ("jax", "scan"), ("jax", "new")]
    more = [record(*key, 50.0 + n, batch_size=b) for n, key in enumerate(many) for b in (32, 64)]
    work = {"flops": 1e11, "bytes": 2e9, "fp32_flops": 8e12, "bandwidth": 3e11}
    courses = {key: np.linspace(2, 1, 40) * (1 + 1e-6 * n) for n, key in enumerate(many, 1)}
    learning = {"seconds": [1.0, 2.0], "curve": [0.95, 0.991], "goal": 0.99, "reached": True}
    drawn = [
        charts.plot_batches(more),
        growth_charts.plot_growth([{**r, "by": "batch", "value": r["batch_size"]} for r in more]),
        charts.plot_systems_roofline([{**r, **work} for r in more]),
        charts.plot_accuracy_over_time([{**r, **learning} for r in more[::2]]),
        charts.plot_shares_of_bound(courses, np.linspace(2, 1, 40), np.full(40, 1e-3)),
    ]
    wanted = form_markers(many)
    for system in ("pytorch", "jax"):
        own = [marker for key, marker in wanted.items() if key[0] == system]
        assert len(set(own)) == len(own)
    assert form_markers(many[3:4])[many[3]] == wanted[many[3]]
    for chart in drawn:
        found = {(line.get_color(), line.get_marker()) for line in chart.figure.axes[0].lines}
        shown = [text.get_text() for text in chart.figure.axes[0].texts]
        for (system, form), marker in wanted.items():
            assert (SYSTEM_COLOURS[system], marker) in found
            named = [text for text in shown if f"{system}, {form}" in text]
            assert len(named) == 1 and named[0].startswith(MARKERS[marker])


def test_every_form_that_was_measured_has_a_fixed_marker():
    for system in ORDINARY_AND_BEST + FURTHER_FORMS:
        assert system.form in FORMS[system.engine], system.form


def test_spreads_at_one_batch_stand_side_by_side(over_batches):
    """A spread lies with its line's point, and no two at one place; the data stay as measured."""
    chart = charts.plot_batches(over_batches)
    FigureCanvasAgg(chart.figure).draw()
    (axes,) = chart.figure.axes
    places = []
    for line, spread in zip(axes.lines, axes.collections, strict=True):
        assert list(line.get_xdata()) == [128, 512]
        (at, _), _ = line.get_transform().transform(line.get_xydata())
        upright = spread.get_transform().transform(spread.get_segments()[0])
        np.testing.assert_allclose(upright[:, 0], at)
        places.append(at)
    assert np.diff(sorted(places)).min() > 2, "pixels"
    left, right = axes.transData.transform([(128, 1), (512, 1)])[:, 0]
    assert max(places) - min(places) < 0.5 * (right - left)
    assert axes.bbox.x0 < min(places) and max(places) + right - left < axes.bbox.x1


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
