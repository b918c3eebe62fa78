"""Logarithmic axes carry a few labels that are true and differ, however much or little the axes span."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from helpers.drawing import comparison_charts as charts
from helpers.drawing import growth_charts
from helpers.drawing.log_ticks import MOST, round_values
from helpers.drawing.system_lines import short_share, short_time
from tests.drawing.test_mixtures import BASE, LEARNING, WORK

SPANS = (1.05, 1.1, 1.4, 2, 3, 5, 9.9, 10, 25, 100, 999, 1e4, 1e6)
UNITS = {"\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0}


def value_of(label):
    """The number that a tick's label says, in seconds, shares, FLOP or what it counts."""
    number, _, unit = label.replace("\u00a0", " ").replace(",", "").partition(" ")
    return float(number) * {**UNITS, "": 1.0, "%": 0.01, "T": 1e12}[unit]


def labels_within(axis):
    """{value: label} of the ticks that are drawn between an axis' limits."""
    low, high = sorted(axis.get_view_interval())
    ticks = {tick.get_loc(): tick.label1.get_text() for tick in axis.get_major_ticks()}
    return {value: text for value, text in ticks.items() if text and low * 0.999999 <= value <= high * 1.000001}


def check_labels(chart, *names):
    """Raise unless each named axis has two to seven labels, all different, that say where they stand."""
    FigureCanvasAgg(chart.figure).draw()
    for name in names:
        labels = labels_within(getattr(chart.figure.axes[0], name))
        assert 2 <= len(labels) <= MOST and len(set(labels.values())) == len(labels), labels
        for value, text in labels.items():
            assert value_of(text) == pytest.approx(value, rel=1e-5), labels


@pytest.mark.parametrize("span", SPANS)
def test_values_are_few_and_lie_apart(span):
    for low in np.geomspace(1e-6, 1e4, 31):
        values = round_values(low, low * span)
        assert 2 <= len(values) <= MOST and low * 0.999999 <= values[0] and values[-1] <= low * span * 1.000001
        gaps = [math.log(after / before, span) for before, after in itertools.pairwise(values)]
        assert min(gaps) > 0.119, values
        assert len({short_time(value) for value in values}) == len(values)


@pytest.mark.parametrize("span, start", [(1.05, 1.4), (1.05, 70), (2, 0.98), (7, 0.0013), (25, 0.02), (1e6, 0.0013)])
def test_every_chart_has_labels_over_any_span(span, start):
    times = [{**BASE, "unit": "s", "median": time, "min": time, "max": time} for time in (start, start * span)]
    times[1]["batch_size"] = 512
    check_labels(charts.plot_batches(times), "yaxis")
    check_labels(growth_charts.plot_growth([{**r, "by": "batch", "value": r["batch_size"]} for r in times]), "yaxis")
    check_labels(charts.plot_systems_roofline([{**record, **WORK} for record in times]), "xaxis", "yaxis")
    learning = {**times[0], **LEARNING, "seconds": [start, start * span], "curve": [0.9862, 0.9915]}
    check_labels(charts.plot_accuracy_over_time([learning]), "xaxis", "yaxis")


def test_a_single_time_has_labels_too():
    chart = charts.plot_batches([BASE])
    check_labels(chart, "yaxis")
    assert list(labels_within(chart.figure.axes[0].xaxis).values()) == ["128"]
    low, high = chart.figure.axes[0].get_xlim()
    assert low < 100 and high > 200, "the only batch is drawn"


@pytest.mark.parametrize(
    "seconds, text",
    [(1.5, "1.5 s"), (2, "2 s"), (0.01, "10 ms"), (10.0**-3, "1 ms"), (3e-6, "3 \u00b5s"), (1e3, "1,000 s"),
     (0.999, "999 ms"), (1.025, "1.025 s"), (1000 * 1e-6, "1 ms")],
)  # fmt: skip
def test_a_tick_says_its_time_as_it_is(seconds, text):
    assert short_time(seconds) == text


def test_a_tick_says_its_share_as_it_is():
    assert [short_share(share) for share in (0, 0.2, 0.9875, 1, 35)] == [
        "0\u00a0%", "20\u00a0%", "98.75\u00a0%", "100\u00a0%", "3,500\u00a0%"
    ]  # fmt: skip


def test_no_line_ends_below_the_accuracies_that_are_shown():
    chart = charts.plot_accuracy_over_time([{**BASE, **LEARNING, "curve": [0.4, 0.7], "reached": False}])
    assert chart.figure.axes[0].get_ylim()[0] < 0.7
