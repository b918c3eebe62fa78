"""Measurement files and the sentences made of them."""

import json
import math

import pytest
from measured import ENVIRONMENT, LOOPS, RECORD, write_compared

from helpers import report, results
from helpers.results import (
    CIFAR_IMAGES,
    compare,
    compared_records,
    find_record,
    find_records,
    read_results,
    write_results,
)


def test_read_back_with_its_origin(records):
    assert [r["system"] for r in records] == ["loops", "layerwise"]
    origin = {"gpu": "NVIDIA T4", "date": "2026-01-02", "suite": "epoch", "file": "t4-epoch.json"}
    assert records[0] == LOOPS | origin
    assert find_record(records, system="fused") is None


def test_the_latest_card_unless_this_one_was_measured(records, monkeypatch):
    newer = [record | {"gpu": "NVIDIA H100 80GB HBM3", "date": "2026-02-01"} for record in records]
    both = records + newer
    monkeypatch.setattr(results, "card_name", lambda: None)
    assert {r["gpu"] for r in find_records(both)} == {"NVIDIA H100 80GB HBM3"}
    monkeypatch.setattr(results, "card_name", lambda: "NVIDIA T4")
    assert {r["gpu"] for r in find_records(both)} == {"NVIDIA T4"}
    assert len(find_records(both, gpu="NVIDIA H100 80GB HBM3")) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_file_with_a_value_that_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="median of epoch_time by layerwise is (nan|inf); measure it again"):
        write_results("epoch", [RECORD | {"median": value}], ENVIRONMENT, tmp_path)
    with pytest.raises(ValueError, match="lacks unit"):
        write_results("epoch", [{"experiment": "a", "system": "b"}], ENVIRONMENT, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_results("epoch", [RECORD], ENVIRONMENT, tmp_path)
    before = path.read_text()
    monkeypatch.setattr(results.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_results("epoch", [LOOPS], ENVIRONMENT, tmp_path)
    assert path.read_text() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", ["", "{}", '{"environment": {}, "records": []}', "[1]"])
def test_damaged_file(tmp_path, content):
    (tmp_path / "t4-epoch.json").write_text(content)
    with pytest.raises(ValueError, match="t4-epoch.json is no measurement file"):
        read_results(tmp_path)


def test_compare(records):
    loops, layerwise = records
    assert compare(loops, layerwise)["ratio"] == 2000
    assert compare(loops, None) is None
    with pytest.raises(ValueError, match="units differ: ms and s"):
        compare(loops, layerwise | {"unit": "s"})


def test_sentences(records, capsys):
    report.say("{system} takes {median:.1f} {unit}, {baseline[system]} {ratio:,.0f} times as long.", compare(*records))
    report.say("{median}", None)
    report.say_each("{system}", [])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["layerwise takes 25.0 ms, loops 2,000 times as long.", report.NOT_MEASURED, report.NOT_MEASURED]
    with pytest.raises(KeyError, match="the sentence asks for 'mean'; the record holds gpu"):
        report.say("{mean}", records[0])


def test_the_spread_of_a_ratio_and_the_origin_of_a_number(records):
    loops, layerwise = ({**record, "min": record["median"] / 2, "max": 2 * record["median"]} for record in records)
    said = report.sentence("{least:.0f} to {most:.0f}; {origin}", compare(loops, layerwise))
    assert said == "500 to 8000; benchmark suite, 2026-01-02"
    assert report.sentence("{origin}", RECORD) == "this run"
    assert report.origin({**RECORD, "date": "2026-01-02", "suite": "comparison"}) == "own run, 2026-01-02"


def test_accuracy_tells_the_seeds_below_the_goal():
    base = RECORD | {"experiment": "test_accuracy", "goal": 0.99, "epochs": 10, "gpu": "T4", "runs": 2}
    made = [base | {"form": "one seed", "median": value} for value in (0.9896, 0.9926)]
    said = report.accuracy_sentence([*made, base | {"form": "mean", "median": 0.9911}])
    assert "99.11 %" in said and "between 98.96 and 99.26 %, 1 of 2 below 99 %" in said
    assert report.accuracy_sentence([]) == ""


def test_compared_records_are_of_the_first_data_set_that_was_measured(tmp_path):
    write_compared(tmp_path, ("jax", "scan", 300.0), network="vgg_small", dataset="CIFAR-10 shapes")
    shapes = read_results(tmp_path)
    assert compared_records("vgg_small", *CIFAR_IMAGES, records=shapes) == shapes
    write_compared(tmp_path, ("jax", "scan", 310.0), network="vgg_small", dataset="cifar10")
    (found,) = compared_records("vgg_small", *CIFAR_IMAGES, records=read_results(tmp_path))
    assert found["dataset"] == "cifar10"
    assert compared_records("vgg_small", "cifar10", records=read_results(tmp_path), precision="bf16") == []


def test_environment_says_where_and_with_what():
    environment = results.describe_environment()
    assert environment["packages"]["numpy"] and environment["cores"] >= 1 and environment["code_digest"]
    json.dumps(environment)


@pytest.mark.parametrize(
    "card, short",
    [("NVIDIA H100 80GB HBM3", "h100"), ("Tesla T4", "t4"), ("NVIDIA GeForce RTX 4090", "rtx-4090"),
     ("NVIDIA A100-SXM4-40GB", "a100"), (None, "cpu")],
)  # fmt: skip
def test_short_names(card, short):
    assert results.short_name(card) == short
