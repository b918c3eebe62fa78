"""The ladder to one kernel as readers see it: chart, table and phases, from records alone."""

import pytest

from helpers.architectures import lenet5
from helpers.drawing.tables import show_table
from helpers.engines.fused_rung import RUNGS
from helpers.kernels.fused.epoch import epoch_kernel
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import plan_epoch
from helpers.optimizers import SGD
from helpers.suites.fused_rungs import SYSTEMS
from helpers.teaching.fused_rungs import (
    CELL,
    LADDER,
    draw_measured_phases,
    draw_rungs,
    phase_records,
    rung_records,
    rung_table,
)
from tests.drawing.test_plan_pictures import check_labels, shown

TIMES = [30.0, 42.0, 22.0, 14.0, 12.0, 8.0, 7.5]
BASE = {**CELL, "gpu": "Test card", "date": "2026-01-02", "suite": "fused"}


@pytest.fixture
def rungs():
    base = {**BASE, "experiment": "fused_rung", "unit": "ms", "runs": 9}
    return [
        {**base, **system.named, "median": time, "min": 0.9 * time, "max": 1.1 * time, "position": position}
        for position, (system, time) in enumerate(zip(SYSTEMS, TIMES))
    ]


@pytest.fixture
def phases():
    _, names = epoch_kernel(plan_epoch(lenet5(), 128, Card(132, 232448)), SGD(0.01, momentum=0.9), profiled=True)
    base = {**BASE, "experiment": "fused_phase", "system": "fused", "form": "profiled", "unit": "cycles", "runs": 128}
    base |= {"clock_hz": 1.9e9, "floor_cycles": 5000.0}
    return [
        {**base, "phase": name, "position": i, "median": 900.0 + 60 * i, "min": 800.0, "max": 9000.0}
        for i, name in enumerate(dict.fromkeys(names))
    ]


def test_rungs_are_those_that_the_suite_measures():
    assert [rung.name for rung in LADDER] == [system.form for system in SYSTEMS]
    assert {rung.name: rung.plan for rung in LADDER[1:]} == RUNGS and LADDER[0].plan is None


def test_a_chart_of_rungs_in_their_order(rungs):
    chart = draw_rungs(rung_records(rungs[::-1]))
    check_labels(chart)
    assert "lenet5: on its last rung one kernel is 4.0\u00d7 as fast as the graph" in chart.alt
    assert chart.alt.index("epoch graph: 30.0 ms") < chart.alt.index("one launch: 42.0 ms")
    assert "1/1.4 as fast as the rung above" in shown(chart)


def test_a_table_of_rungs_with_and_without_times(rungs):
    table = rung_table(rung_records(rungs))
    assert list(table.index) == [rung.name for rung in LADDER]
    assert table.loc["shared sums", "one epoch"] == "14.0 ms"
    assert list(rung_table([]).columns) == ["what changed", "what limits it now"] and rung_records([]) == []
    assert "epoch graph" in show_table(table)._repr_html_()
    assert all(len(change) + len(limit) <= 90 for change, limit in rung_table([]).to_numpy()), "a row breaks the page"


def test_phases_are_drawn_from_records_alone(phases):
    chart = draw_measured_phases(phase_records(phases[::-1]))
    check_labels(chart)
    assert "median of 128 blocks" in shown(chart) and "benchmark suite, 2026-01-02" in shown(chart)
    assert "arithmetic alone: 2.63 \u00b5s" in shown(chart) and "conv1 forward: 0.47 \u00b5s" in chart.alt
    assert phase_records([]) == []
