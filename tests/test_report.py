"""Measurement files and the sentences made of them."""

import json
import math

import pytest

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

ENVIRONMENT = {"gpu": "NVIDIA T4", "date": "2026-01-02", "code_digest": {"layerwise": "0"}}
RECORD = {
    "experiment": "epoch_time",
    **{"system": "layerwise", "form": "epoch graph", "network": "lenet5", "dataset": "mnist"},
    **{"batch_size": 128, "precision": "fp32", "unit": "ms", "median": 25.0, "runs": 9},
}
LOOPS = RECORD | {"system": "loops", "form": "njit, one core", "median": 50_000.0, "scaled": True}


@pytest.fixture
def records(tmp_path):
    path = write_results("epoch", [LOOPS, RECORD], ENVIRONMENT, tmp_path)
    assert path.name == "t4-epoch.json" and [p.name for p in tmp_path.iterdir()] == [path.name]
    return read_results(tmp_path)


def test_read_back_with_its_origin(records):
    assert [r["system"] for r in records] == ["loops", "layerwise"]
    assert records[0] == LOOPS | {"gpu": "NVIDIA T4", "date": "2026-01-02", "suite": "epoch"}
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
    assert report.speed_up(loops, layerwise, "loops").endswith("as loops (500 to 8,000 from run to run)")


def test_accuracy_tells_the_seeds_below_the_goal():
    base = RECORD | {"experiment": "test_accuracy", "goal": 0.99, "epochs": 10, "gpu": "T4", "runs": 2}
    made = [base | {"form": "one seed", "median": value} for value in (0.9896, 0.9926)]
    said = report.accuracy_sentence([*made, base | {"form": "mean", "median": 0.9911}])
    assert "99.11 %" in said and "between 98.96 and 99.26 %, 1 of 2 below 99 %" in said
    assert report.accuracy_sentence([]) == ""


def test_readme_parts(records):
    assert "takes 25.0 ms on one NVIDIA T4" in report.headline(records)
    assert "About 2,000 times as fast as compiled sequential loops on one core." in report.headline(records)
    assert "| lenet5 | mnist | `loops` | njit, one core (scaled from a slice) | 50.0 s |" in report.epoch_table(records)
    tools = [{"experiment": "sanitizer", "form": tool, "median": 1, "kernels": 9} for tool in ("racecheck", "memcheck")]
    assert "compute-sanitizer (memcheck, racecheck) finds 2 errors in 9 kernels" in report.headline(records + tools)
    text = "a\n<!-- headline -->\nold\n<!-- /headline -->\n<!-- epochs -->\n<!-- /epochs -->\n"
    text += "<!-- comparison -->\n<!-- /comparison -->\nz"
    filled = report.filled_readme(text, records)
    assert "old" not in filled and filled.startswith("a\n") and report.filled_readme(filled, records) == filled
    with pytest.raises(ValueError, match="expected one pair of the markers"):
        report.fill("no marker", "headline", "")


def _compared(tmp_path, *times, network="lenet5", dataset="mnist", gpu="NVIDIA T4", date="2026-01-02"):
    """compared_epoch_time records as a reader finds them; a time is (system, form, median), without one: absent."""
    base = RECORD | {"experiment": "compared_epoch_time", "network": network, "dataset": dataset}
    written = [base | {"system": system, "form": form, "median": median} for system, form, median in times if median]
    missing = {"experiment": "absent", "reason": "it is not installed", "unit": ""}
    written += [base | missing | {"system": system, "form": form} for system, form, median in times if not median]
    write_results(f"frameworks-{network}-{dataset}", written, ENVIRONMENT | {"gpu": gpu, "date": date}, tmp_path)


def test_readme_compares_with_the_frameworks(tmp_path):
    times = [("layerwise", "epoch graph", 25.0), ("jax", "scan", 20.0), ("pytorch", "eager", 500.0)]
    _compared(tmp_path, *times, ("keras", "fit", None), ("jax", "jit", None))
    table = report.comparison_table(read_results(tmp_path))
    assert "| lenet5 | mnist | `pytorch` | eager | 500 ms | 20\u00d7 as fast |" in table
    assert "| lenet5 | mnist | `jax` | scan | 20.0 ms | 1/1.2 as fast |" in table
    assert "| lenet5 | mnist | `layerwise` | epoch graph | 25.0 ms |  |" in table
    assert table.index("eager") < table.index("epoch graph") < table.index("scan"), "the fastest comes last"
    assert "| vgg_small | | | | not measured yet | |" in table
    assert "Card: NVIDIA T4, batch 128, fp32, 2026-01-02. Absent: `keras` (it is not installed)." in table


def test_readme_takes_both_networks_from_one_card(tmp_path):
    _compared(tmp_path, ("jax", "scan", 20.0))
    shapes = {"network": "vgg_small", "dataset": "CIFAR-10 shapes"}
    _compared(tmp_path, ("jax", "scan", 300.0), gpu="NVIDIA H100 80GB HBM3", date="2026-02-01", **shapes)
    assert "300 ms" not in report.comparison_table(read_results(tmp_path))
    _compared(tmp_path, ("jax", "scan", 900.0), **shapes)
    assert "| vgg_small | CIFAR-10 shapes | `jax` | scan | 900 ms |  |" in report.comparison_table(
        read_results(tmp_path)
    )


def test_readme_before_any_comparison(records):
    table = report.comparison_table(records)
    assert table.count("not measured yet") == 2 and "python -m helpers.benchmark frameworks" in table


def test_compared_records_are_of_the_first_data_set_that_was_measured(tmp_path):
    _compared(tmp_path, ("jax", "scan", 300.0), network="vgg_small", dataset="CIFAR-10 shapes")
    shapes = read_results(tmp_path)
    assert compared_records("vgg_small", *CIFAR_IMAGES, records=shapes) == shapes
    _compared(tmp_path, ("jax", "scan", 310.0), network="vgg_small", dataset="cifar10")
    (found,) = compared_records("vgg_small", *CIFAR_IMAGES, records=read_results(tmp_path))
    assert found["dataset"] == "cifar10"
    assert compared_records("vgg_small", "cifar10", records=read_results(tmp_path), precision="bf16") == []


def test_readme_shows_the_committed_measurements(monkeypatch):
    monkeypatch.setattr(results, "card_name", lambda: None)
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")
    assert report.filled_readme(text) == text, "run python -m helpers.report readme"


def test_committed_measurements_are_of_todays_code():
    assert results.stale_files() == [], "run the suites again: python -m helpers.benchmark SUITE"


def test_every_engine_and_kernel_module_makes_some_measurement_stale():
    helpers = results.ROOT / "helpers"
    covered = {path for patterns in results.MEASURED_CODE.values() for item in patterns for path in helpers.glob(item)}
    assert covered >= {*helpers.glob("engines/[!_]*.py"), *helpers.glob("kernels/**/*.py")}
    named = [item for patterns in results.MEASURED_CODE.values() for item in patterns]
    assert all(list(helpers.glob(item)) for item in named)


def test_a_file_is_stale_only_where_the_code_of_its_systems_changed(tmp_path, monkeypatch):
    record = {"experiment": "epoch_time", "system": "loops", "unit": "ms", "median": 1.0}
    environment = {**ENVIRONMENT, "code_digest": {"loops": "1", "layerwise": "2"}}
    results.write_results("epoch", [record], environment, tmp_path)
    monkeypatch.setattr(results, "measured_digests", lambda: {"loops": "1", "layerwise": "3"})
    assert results.stale_files(tmp_path) == []
    monkeypatch.setattr(results, "measured_digests", lambda: {"loops": "4", "layerwise": "2"})
    assert results.stale_files(tmp_path) == ["t4-epoch.json"]


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
