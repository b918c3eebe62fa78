"""Sentences on what one kernel brings and costs follow from the records, and say so where there are none."""

import pytest
from measured import ENVIRONMENT

from helpers.results import read_results, write_results
from helpers.teaching.fused_costs import (
    goal_sentences,
    say_goal,
    say_small_sanitizer,
    say_small_transfers,
    say_start,
)

NAMED = {"system": "fused", "form": "one kernel", "network": "lenet5", "dataset": "mnist", "batch_size": 128}


def written(tmp_path, *records):
    write_results("fused-cell", [NAMED | record for record in records], ENVIRONMENT, tmp_path)
    return read_results(tmp_path)


def summary(budget, mean):
    shares = {"mean_accuracy": mean, "least_accuracy": mean - 0.001, "most_accuracy": mean + 0.001, "goal": 0.99}
    times = {"unit": "ms", "median": budget - 1, "min": budget - 2, "max": budget, "runs": 20}
    return {"experiment": "goal_summary", "budget": budget, "epochs": 4, **shares, **times}


def said(capsys):
    return capsys.readouterr().out.replace("\n", " ").replace("\u00a0", " ")


def test_the_goal_is_reached_or_missed_as_the_mean_says(tmp_path, capsys):
    choice = {"experiment": "goal_choice", "unit": "ms", "median": 29.0, "runs": 8, "offered": 24}
    say_goal(written(tmp_path, summary(60.0, 0.9921), summary(30.0, 0.9888), choice, choice))
    first, second = said(capsys).split("After 4 epochs")[1:]
    assert "29.0 ms on one NVIDIA T4, 98.88 % of the test images of mnist are right: the mean of 20 seeds" in first
    assert "between 98.78 and 98.98 %" in first.replace("98.78 %", "98.78") and "it misses the goal of 99 %" in first
    assert "59.0 ms" in second and "it reaches the goal of 99 %" in second
    assert "of 2 of 24 candidates with 8 seeds each" in second


def test_starts_are_told_with_the_compilers_part(tmp_path, capsys):
    times = {"unit": "s", "min": 20.0, "max": 23.0, "runs": 3, "compile_seconds": 17.0}
    first = {"experiment": "small_first_start", "median": 21.0, **times}
    say_start(written(tmp_path, first, {**first, "experiment": "small_cached_start", "median": 4.0}))
    text = said(capsys)
    assert "takes 21.0 s on one NVIDIA T4, 17.0 s of it to compile (3 runs, 20.0 s to 23.0 s)" in text
    assert "in the cache 4.00 s" in text and "benchmark suite" in text


def test_copies_are_told_by_place(tmp_path, capsys):
    base = {"experiment": "small_transfers", "unit": "copies", "runs": 1, "kernels": 1}
    counts = {("before", "HtoD"): (1, 60_000), ("within", "DtoH"): (0, 0), ("after", "DtoH"): (2, 500)}
    records = [
        base | {"when": when, "direction": way, "median": count, "bytes": size}
        for (when, way), (count, size) in counts.items()
    ]
    say_small_transfers(written(tmp_path, *records))
    text = said(capsys)
    assert "an epoch of lenet5 is 1 kernel: before it 1 copy to the card (60.0 KB), within it no copy" in text
    assert "after it 2 copies to the host (500 bytes)." in text


def test_errors_of_all_tools_are_told_together(tmp_path, capsys):
    base = {"experiment": "small_sanitizer", "unit": "errors", "median": 0, "runs": 1, "kernels": 5}
    say_small_sanitizer(written(tmp_path, *(base | {"form": tool} for tool in ("racecheck", "memcheck"))))
    assert "compute-sanitizer (memcheck, racecheck) finds 0 errors" in said(capsys)


@pytest.mark.parametrize("say", [say_goal, say_start, say_small_transfers, say_small_sanitizer])
def test_what_was_not_measured_is_said_so(say, records, capsys):
    say(records)
    assert said(capsys).startswith("Not measured yet") and goal_sentences(records) == []
