"""Records that were measured differently never merge into one line, point or cell of a chart."""

import numpy as np
import pytest

from helpers.drawing import comparison_charts as charts
from helpers.drawing import growth_charts
from helpers.drawing.system_lines import lines_over, refuse_mixtures
from helpers.drawing.systems_table import systems_table

BASE = {"network": "lenet5", "dataset": "mnist", "precision": "fp32", "gpu": "NVIDIA T4", "batch_size": 128}
BASE |= {"system": "jax", "form": "scan", "unit": "ms", "runs": 7, "median": 20.0, "min": 19.0, "max": 23.0}
WORK = {"flops": 1e11, "bytes": 2e9, "fp32_flops": 8e12, "bandwidth": 3e11}
LEARNING = {"seconds": [1.0, 2.0], "curve": [0.95, 0.991], "goal": 0.99, "reached": True}
GROWING = {"by": "size", "value": 16}
OTHERS = {"precision": "bf16", "network": "vgg_small", "dataset": "fashion_mnist", "gpu": "NVIDIA H100"}
WORDS = {"precision": "precisions", "network": "networks", "dataset": "data sets", "gpu": "cards"}
WORDS["batch_size"] = "batches"
# each chart, what its records hold beside BASE, where a second point of a line lies, and what may not differ
CHARTS = {
    "plot_batches": (charts.plot_batches, {}, {"batch_size": 512}, OTHERS),
    "lines_over": (lambda records: lines_over(records, "batch_size"), {}, {"batch_size": 512}, OTHERS),
    "systems_table": (systems_table, {}, {"batch_size": 512}, OTHERS),
    "plot_growth": (growth_charts.plot_growth, GROWING, {"value": 32}, {**OTHERS, "batch_size": 512}),
    "plot_systems_roofline": (
        charts.plot_systems_roofline,
        WORK,
        {"batch_size": 512, "network": "vgg_small", "dataset": "cifar10", "bytes": 1e9},
        {"precision": "bf16", "gpu": "NVIDIA H100"},
    ),
    "plot_accuracy_over_time": (
        charts.plot_accuracy_over_time,
        LEARNING,
        {"form": "jit"},
        {**OTHERS, "batch_size": 512},
    ),
}
CASES = [(name, key) for name, (*_, fixed) in CHARTS.items() for key in fixed]


@pytest.mark.parametrize("name, key", CASES)
def test_records_of_two_conditions_are_refused(name, key):
    draw, more, step, fixed = CHARTS[name]
    records = [{**BASE, **more}, {**BASE, **more, **step}]
    draw(records)
    pair = sorted((str(BASE[key]), str(fixed[key])))
    with pytest.raises(ValueError, match=rf"are of 2 {WORDS[key]} \({', '.join(pair)}\), expected one; draw each by"):
        draw([records[0], {**records[1], key: fixed[key]}])


@pytest.mark.parametrize("name", CHARTS)
def test_a_card_that_is_not_named_is_another_one(name):
    draw, more, step, _ = CHARTS[name]
    records = [{**BASE, **more}, {**BASE, **more, **step}]
    for record in records:
        del record["gpu"]
    draw(records)
    with pytest.raises(ValueError, match=r"are of 2 cards \(NVIDIA T4, none\), expected one"):
        draw([records[0], {**records[1], "gpu": "NVIDIA T4"}])


@pytest.mark.parametrize("name", CHARTS)
def test_two_records_at_one_place_are_refused(name):
    draw, more, step, _ = CHARTS[name]
    records = [{**BASE, **more}, {**BASE, **more, **step}, {**BASE, **more, "median": 21.0}]
    with pytest.raises(ValueError, match="jax, scan has two records.*, expected one; keep the newer one"):
        draw(records)


def test_a_second_record_is_named_with_its_place():
    with pytest.raises(ValueError, match="jax, scan has two records at network lenet5, batch_size 128, expected one"):
        refuse_mixtures([BASE, BASE], ("network", "batch_size"))
    with pytest.raises(ValueError, match="jax, scan has two records, expected one"):
        refuse_mixtures([BASE, BASE], ())


def test_batches_differ_where_they_grow():
    records = [{**BASE, "by": "batch", "value": batch, "batch_size": batch} for batch in (16, 64)]
    assert "20.0 ms at 16, 20.0 ms at 64" in growth_charts.plot_growth(records).alt


def test_a_goal_that_differs_is_refused():
    records = [{**BASE, **LEARNING}, {**BASE, **LEARNING, "form": "jit", "goal": 0.98}]
    with pytest.raises(ValueError, match=r"are of 2 goals \(0.98, 0.99\), expected one"):
        charts.plot_accuracy_over_time(records)


def test_the_roofline_knows_the_limit_of_fp32_only():
    with pytest.raises(ValueError, match="the records are of bf16, expected fp32"):
        charts.plot_systems_roofline([{**BASE, **WORK, "precision": "bf16"}])


def test_each_record_has_its_own_unit():
    slow = {**BASE, "batch_size": 32, "unit": "s", "median": 2.0, "min": 1.0, "max": 3.0}
    (line,) = lines_over([BASE, slow], "batch_size")
    np.testing.assert_allclose(line.y, [2.0, 0.02])
    np.testing.assert_allclose(line.high, [3.0, 0.023])
    ours = {**slow, "system": "layerwise", "batch_size": 128}
    assert "layerwise is 1/100 as fast as jax" in charts.plot_batches([BASE, ours]).alt


def test_absences_are_of_the_same_work():
    absence = {"system": "keras", "form": "fit", "batch_size": 512, "reason": "it is not installed"}
    assert systems_table([BASE], [absence]).loc["keras, fit", "one epoch, batch 512"] == "absent"
    with pytest.raises(ValueError, match=r"2 precisions \(bf16, fp32\)"):
        systems_table([BASE], [{**absence, "precision": "bf16"}])
    with pytest.raises(ValueError, match=r"2 precisions \(bf16, fp32\)"):
        systems_table([], [{**absence, "precision": precision} for precision in ("bf16", "fp32")])
    with pytest.raises(ValueError, match="jax, scan has two records at batch_size 128"):
        systems_table([BASE], [{**absence, "system": "jax", "form": "scan", "batch_size": 128}])


def test_every_absence_is_marked():
    """Also where the row has times at another batch, and in a column of its own where nothing was timed."""
    absence = {"system": "jax", "form": "scan", "batch_size": 2048, "reason": "no memory"}
    records = [BASE, {**BASE, "batch_size": 512, "median": 5.0}]
    table = systems_table(records, [absence, absence, {**absence, "reason": "no card"}, {**absence, "batch_size": 8}])
    assert list(table.columns) == [f"one epoch, batch {batch}" for batch in ("8", "128", "512", "2,048")]
    assert list(table.loc["jax, scan"]) == ["absent", "20.0 ms", "5.00 ms", "absent"]
