"""Verdicts follow from the records, whichever way they fall; without records they say so."""

import pytest

from helpers.teaching import verdicts

BASE = {"experiment": "compared_epoch_time", "network": "lenet5", "dataset": "mnist", "batch_size": 128}
BASE |= {"precision": "fp32", "unit": "ms", "gpu": "NVIDIA T4", "date": "2026-01-02"}


def record(system, form, median, **more):
    return {**BASE, "system": system, "form": form, "median": median, "min": median, "max": 1.1 * median, **more}


def pair(ours, other, **more):
    jax = [record("jax", "scan", other, **more), record("jax", "jit", 2 * other, **more)]
    return [record("layerwise", "epoch graph", ours, **more), *jax, record("loops", "njit, one core", 1e5, **more)]


def said(capsys):
    return capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    "ours, place",
    [
        (25.0, "Ours is 4.0\u00d7 as fast (3.6\u00d7 to 4.4\u00d7 from run to run; benchmark suite, 2026-01-02)."),
        (200.0, "Ours is behind: it takes 2.0\u00d7 as long (1.8\u00d7 to 2.2\u00d7 from run to run;"),
        (98.0, "Ours is level with it: 1.0\u00d7 as fast (1/1.1 to 1.1\u00d7 from run to run;"),
    ],
)
def test_ahead_behind_or_level(capsys, ours, place):
    verdicts.say_verdicts(pair(ours, 100.0), "- ")
    text = said(capsys)
    assert text.startswith("- lenet5, batch 128: an epoch takes ") and place in text
    assert "100 ms by jax, scan, the fastest form of a framework" in text


def test_a_sentence_for_each_batch_and_one_without_any(capsys):
    verdicts.say_verdicts([*pair(25, 100), *pair(9, 10, batch_size=2048)])
    assert capsys.readouterr().out.count("lenet5, batch") == 2
    verdicts.say_verdicts([])
    verdicts.say_verdicts([record("jax", "scan", 1.0)])
    assert said(capsys).count("Not measured on this card yet") == 2


def test_the_slower_of_the_two_is_a_chart_s_baseline():
    assert verdicts.second_of_two(pair(25, 100)) == ("jax", "scan")
    assert verdicts.second_of_two(pair(200, 100)) == ("layerwise", "epoch graph")
    assert verdicts.second_of_two([]) is None


@pytest.mark.parametrize(
    "flops, ours, wanted",
    [
        (1e9, 25.0, "arithmetic does not decide"),
        (
            4e11,
            200.0,
            "ours reaches 20\u00a0% of the card's fp32 limit, jax, scan 40\u00a0%. The frameworks' libraries",
        ),
        (4e11, 50.0, "ours reaches 80\u00a0% of the card's fp32 limit, jax, scan 40\u00a0%."),
    ],
)
def test_what_decides(capsys, monkeypatch, flops, ours, wanted):
    monkeypatch.setattr(verdicts, "find_records", lambda **keys: [])
    verdicts.say_reason(pair(ours, 100.0, flops=flops, fp32_flops=1e13))
    text = said(capsys)
    assert wanted in text and ("libraries" in text) == (ours == 200.0)


def test_the_kernels_of_our_step_stand_beside_it(capsys, monkeypatch):
    kernels = [{"form": "conv_forward", "median": 30.0, "unit": "us"}, {"form": "update", "median": 10.0, "unit": "us"}]
    monkeypatch.setattr(verdicts, "find_records", lambda **keys: kernels if keys["gpu"] == "NVIDIA T4" else [])
    verdicts.say_reason(pair(46.8, 100.0, flops=1e9, fp32_flops=1e13))
    assert "Of the 100 \u00b5s of our step its 2 kernels take 40.0 \u00b5s, each measured alone; 75" in said(capsys)
    verdicts.say_reason(pair(46.8, 100.0))
    assert said(capsys).startswith("Not measured")


def test_images_a_second(capsys):
    table = verdicts.rate_table([*pair(46.8, 93.6), record("keras", "fit", 468.0, data="host-fed")])
    assert list(table.index) == [
        "loops, njit, one core",
        "keras, fit",
        "jax, jit",
        "jax, scan",
        "layerwise, epoch graph",
    ]
    ours = table.loc["layerwise, epoch graph"]
    assert ours["images a second"] == 468 * 128 / 0.0468 and ours["one step"] == "100 \u00b5s"
    assert (
        table.loc["jax, scan", "time, ours = 1"] == "2.0\u00d7"
        and table.loc["keras, fit", "training images"] == "host-fed"
    )
    assert verdicts.rate_table([]) is None and "No table" in said(capsys)
    assert verdicts.rate_table([record("jax", "scan", 1.0)]).iloc[0]["time, ours = 1"] is None


def test_every_data_set_of_the_comparison_has_its_size():
    from helpers.results import CIFAR_IMAGES

    assert {"mnist", "fashion_mnist", *CIFAR_IMAGES} <= set(verdicts.IMAGES)


def test_lower_precisions(capsys):
    reduced = [record("jax", "scan", 40.0, precision="tf32"), record("jax", "jit", 30.0, precision="bf16")]
    table = verdicts.precision_table([*pair(90, 60), *reduced])
    assert list(table.columns) == ["fp32", "tf32", "bf16"] and "loops, njit, one core" not in table.index
    assert list(table.loc["layerwise, epoch graph"]) == ["90.0 ms", None, None]
    assert list(table.loc["jax, scan"]) == ["60.0 ms", "40.0 ms", None]
    verdicts.say_precisions([*pair(90, 60), *reduced])
    text = said(capsys)
    assert (
        "In tf32 the fastest is jax, scan with 40.0 ms. Ours in fp32 takes 90.0 ms, the fastest form in fp32 60.0"
        in text
    )
    assert "In bf16 the fastest is jax, jit with 30.0 ms." in text
    verdicts.say_precisions(pair(90, 60))
    assert verdicts.precision_table(pair(90, 60)) is None
    assert "Not measured" in (text := said(capsys)) and "No table" in text


def test_memory_has_a_column_for_each_network(capsys):
    records = [record("jax", "scan", 100.4), record("jax", "scan", 300.0, network="vgg_small")]
    table = verdicts.memory_table([*records, record("keras", "fit", 50.0)])
    assert list(table.columns) == ["lenet5, MB", "vgg_small, MB"] and table.loc["jax, scan", "lenet5, MB"] == 100
    assert verdicts.memory_table([]) is None and "No table" in said(capsys)


def test_own_run_beside_the_committed_one():
    own = [record("jax", "scan", 300.0) | {"gpu": None}]
    other_work = record("jax", "scan", 1.0, network="vgg_small")
    table = verdicts.side_by_side(own, [*pair(25, 100), other_work])
    assert list(table.columns) == ["own run, no GPU, 2026-01-02", "committed, NVIDIA T4, 2026-01-02"]
    assert list(table.loc["jax, scan"]) == ["300 ms", "100 ms"]
    assert list(table.loc["layerwise, epoch graph"]) == [None, "25.0 ms"]
    assert list(verdicts.side_by_side(own, [other_work]).columns) == ["own run, no GPU, 2026-01-02"]
