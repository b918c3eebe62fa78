"""Reasons follow from the records: what a launch costs, how alike two data sets are, what decides a comparison."""

import pytest
from test_verdicts import BASE, pair, record, said

from helpers.teaching import reasons


@pytest.mark.parametrize(
    "flops, ours, wanted",
    [
        (1e9, 25.0, "Neither is limited by arithmetic."),
        (
            4e11,
            200.0,
            "ours reaches 20\u00a0% of the card's fp32 limit, jax, scan 40\u00a0%. The frameworks' libraries",
        ),
        (4e11, 50.0, "ours reaches 80\u00a0% of the card's fp32 limit, jax, scan 40\u00a0%."),
    ],
)
def test_what_decides(capsys, monkeypatch, flops, ours, wanted):
    monkeypatch.setattr(reasons, "find_records", lambda **keys: [])
    reasons.say_reason(pair(ours, 100.0, flops=flops, fp32_flops=1e13))
    text = said(capsys)
    assert wanted in text and ("libraries" in text) == (ours == 200.0)


def test_the_kernels_of_our_step_stand_beside_it(capsys, monkeypatch):
    kernels = [{"form": "conv_forward", "median": 30.0, "unit": "us"}, {"form": "update", "median": 10.0, "unit": "us"}]
    kernels = [{**kernel, "date": "2026-01-02"} for kernel in kernels]
    epochs = [{**BASE, "median": 23.4, "date": date} for date in ("2026-01-01", "2026-01-02")]
    epochs[0]["median"] = 1.0
    found = {"kernel_time": kernels, "epoch_time": epochs}
    monkeypatch.setattr(
        reasons, "find_records", lambda **keys: found.get(keys["experiment"], []) if keys["gpu"] == "NVIDIA T4" else []
    )
    reasons.say_reason(pair(46.8, 100.0, flops=1e9, fp32_flops=1e13))
    text = said(capsys)
    assert (
        "The 2 kernels of our step, each measured alone, take 40.0 \u00b5s one after the other (benchmark suite,"
        in text
    )
    assert "convolutions 75\u00a0% of that; a step of the epoch took 50.0 \u00b5s on that day." in text
    del epochs[1]
    reasons.say_reason(pair(46.8, 100.0, flops=1e9, fp32_flops=1e13))
    assert "kernels" not in said(capsys), "a step of another day says nothing about them"
    reasons.say_reason(pair(46.8, 100.0))
    assert said(capsys).startswith("Not measured")


def test_the_driver_s_count_of_both_stands_beside_their_steps(capsys, monkeypatch):
    counted = {("layerwise", "epoch graph"): (19.05, 40e-6), ("jax", "scan"): (30.0, 90e-6)}

    def find_records(experiment, system, form=None, **keys):
        assert keys.get("dataset", "mnist") == "mnist"
        count, busy = counted.get((system, form), (None, None))
        seen = [{**BASE, "median": count, "busy_seconds": busy}] if count else []
        return seen if experiment == "activity" else []

    monkeypatch.setattr(reasons, "find_records", find_records)
    reasons.say_reason(pair(46.8, 93.6, flops=1e9, fp32_flops=1e13))
    text = said(capsys)
    assert "a step of ours is 19 kernels, which keep the card busy for 40.0 \u00b5s of 100 \u00b5s;" in text
    assert "one of jax, scan is 30, for 90.0 \u00b5s of 200 \u00b5s (benchmark suite, 2026-01-02)." in text
    both = pair(46.8, 93.6, flops=1e9, fp32_flops=1e13)
    reasons.say_reason([*both, {**both[1], "form": "scan, command buffers", "median": 50.0}])
    text = said(capsys)
    assert "jax, scan, command buffers 107 \u00b5s. Neither" in text
    assert "one of jax, scan is 30, for 90.0 \u00b5s of 200 \u00b5s" in text
    del counted["jax", "scan"]
    reasons.say_reason(pair(46.8, 93.6, flops=1e9, fp32_flops=1e13))
    assert "driver" not in said(capsys)


def test_every_data_set_of_the_comparison_has_its_size():
    from helpers.results import CIFAR_IMAGES

    assert {"mnist", "fashion_mnist", *CIFAR_IMAGES} <= set(reasons.IMAGES)


def test_what_launches_cost(capsys, monkeypatch):
    ours = {"resident": 234.0, "epoch graph": 46.8}  # ms of 468 steps
    epochs = [record("layerwise", form, median) for form, median in ours.items()]
    found = {"epoch_time": epochs, "kernel_time": [{}] * 20}
    monkeypatch.setattr(reasons, "find_records", lambda **keys: found[keys["experiment"]])
    eager, graph = record("pytorch", "eager", 468.0), record("pytorch", "epoch graph", 117.0)
    alone = record("jax", "jit", 1.0)
    reasons.say_launches([eager, graph, alone, record("layerwise", "epoch graph", 30.0)])
    text = said(capsys)
    assert (
        "pytorch, eager takes 1.00 ms for a step, and 250 \u00b5s where an epoch is handed over at once (epoch graph)"
        in text
    )
    assert ": 750 \u00b5s of it, 75\u00a0%, is the price of the host's calls" in text and "jax" not in text
    assert "Ours takes 500 \u00b5s for a step when Python launches its 20 kernels one by one, and 100 \u00b5s" in text
    assert ": 20.0 \u00b5s a launch (lenet5, batch 128; benchmark suite, 2026-01-02)." in text


def test_where_launches_cost_nothing_or_were_not_measured(capsys, monkeypatch):
    monkeypatch.setattr(reasons, "find_records", lambda **keys: [])
    reasons.say_launches([record("jax", "jit", 46.8), record("jax", "scan", 93.6)])
    text = said(capsys)
    assert (
        "jax, jit takes 100 \u00b5s for a step, no longer than where an epoch is handed over at once (scan, 200" in text
    )
    for nothing in ([], [record("layerwise", "epoch graph", 30.0), record("jax", "scan", 1.0)]):
        reasons.say_launches(nothing)
        assert said(capsys).startswith("Not measured")


def test_a_launch_of_ours_is_told_for_the_same_work_alone(capsys):
    """Of the committed records: those of this network, data set, batch and card, and none of another."""
    from helpers.results import compared_records

    ours = [record for record in compared_records("lenet5", "mnist") if record["system"] == "layerwise"]
    for one in ours:
        reasons.say_launches([one])
        assert ("a launch" in said(capsys)) == (one["batch_size"] == 128)


def test_two_data_sets_of_equal_images(capsys):
    times = {("jax", "scan, command buffers"): (100, 98), ("layerwise", "epoch graph"): (10, 9)}
    times |= {("jax", "scan"): (100, 110), ("jax", "jit"): (300, 150), ("keras", "fit"): (1, None)}
    first, second = ([record(*form, pair[i]) for form, pair in times.items() if pair[i]] for i in (0, 1))
    second = [{**each, "dataset": "fashion_mnist"} for each in second]
    reasons.say_alike(first, [*second, record("layerwise", "epoch graph", 99.0, batch_size=32)])
    text = said(capsys)
    assert (
        "An epoch as CUDA graphs: mnist and fashion_mnist are at most 11\u00a0% apart, half of the times at "
        "most 2\u00a0% (layerwise, epoch graph at batch 128 is the furthest of 2)." in text
    )
    assert "An epoch as a compiled function: mnist and fashion_mnist are at most 10\u00a0% apart" in text
    assert "Step by step: mnist and fashion_mnist are at most 100\u00a0% apart" in text and "keras" not in text
    reasons.say_alike(first, [])
    assert said(capsys).startswith("Not measured")


def test_every_form_of_the_comparison_hands_something_over():
    from helpers.suites.frameworks import FURTHER_FORMS, ORDINARY_AND_BEST, OURS

    kinds = {reasons._handed_over(system.form) for system in (*OURS, *ORDINARY_AND_BEST, *FURTHER_FORMS)}
    assert kinds == set(reasons.HANDED_OVER)
