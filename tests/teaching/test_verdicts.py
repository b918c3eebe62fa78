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
        (98.0, "Ours is level with it: 1.02\u00d7 as fast (1/1.1 to 1.1\u00d7 from run to run;"),
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
    text = said(capsys)
    assert "Not measured yet" in text and "one framework at least must be installed" in text


def test_the_slower_of_the_two_is_a_chart_s_baseline():
    assert verdicts.second_of_two(pair(25, 100)) == ("jax", "scan")
    assert verdicts.second_of_two(pair(200, 100)) == ("layerwise", "epoch graph")
    assert verdicts.second_of_two([]) is None


def test_lower_precisions(capsys):
    reduced = [record("jax", "scan", 40.0, precision="tf32"), record("jax", "jit", 30.0, precision="bf16")]
    verdicts.say_precisions([*pair(90, 60), *reduced])
    text = said(capsys)
    assert (
        "In tf32 the fastest framework is jax, scan with 40.0 ms, 2.2\u00d7 as fast as ours in fp32 (90.0 ms);" in text
    )
    assert "In bf16 the fastest framework is jax, jit with 30.0 ms, 3.0\u00d7" in text
    verdicts.say_precisions([*pair(90, 60), reduced[1]])
    assert "In tf32: Not measured yet" in said(capsys)
    verdicts.say_precisions(pair(90, 60))
    assert "Not measured" in said(capsys)


def test_absent_forms_stand_together_by_reason(capsys):
    forms = [("tensorflow", "XLA"), ("keras", "fit"), ("tensorflow", "eager"), ("tensorflow", "XLA")]
    verdicts.say_absent([{"system": system, "form": form, "reason": "it is not installed"} for system, form in forms])
    verdicts.say_absent([{"system": "jax", "form": "scan", "reason": "no memory"}])
    text = said(capsys)
    assert (
        text == "Absent: tensorflow (XLA; eager) and keras (fit). It is not installed. Absent: jax (scan). No memory. "
    )


def test_accuracy_after_equal_epochs(capsys):
    runs = [record("jax", "scan", share, epochs=10) for share in (0.9912, 0.9896)]
    verdicts.say_equal_epochs(runs)
    assert "After 10 epochs each, between 98.96 and 99.12 % of the test images are right, over 2 systems" in said(
        capsys
    )
    verdicts.say_equal_epochs([])
    assert "Not measured" in said(capsys)


def test_starts(capsys):
    seconds = {"layerwise": 9.0, "jax": 12.0, "keras": 20.0, "pytorch": 8.0}
    starts = [record(system, "x", time, unit="s") for system, time in seconds.items()]
    verdicts.say_starts(starts, "- ")
    text = said(capsys)
    assert text.startswith("- From a cold start") and "ours takes 9.00 s; of the frameworks pytorch, x takes" in text
    assert "8.00 s, keras, x 20.0 s (benchmark suite" in text
    verdicts.say_starts(starts[:1])
    assert "Not measured" in said(capsys)


def test_the_proof_tells_how_many_losses_and_who_used_most_of_the_bound(capsys):
    few = {"agreement": 0.5, "agreement_steps": 5}
    proven = [record("jax", "scan", 1.0, agreement=0.25, agreement_steps=20), record("keras", "fit", 9.0, **few)]
    verdicts.say_proof([*proven, record("jax", "jit", 1.0, batch_size=2048, agreement=0.1, agreement_steps=2)])
    text = said(capsys)
    assert "5 to 20 at batch 128, 2 at batch 2,048; keras, fit uses most of it, 50\u00a0% at batch 128 in fp32" in text
    verdicts.say_proof([record("jax", "scan", 1.0)])
    assert not said(capsys)


def test_a_time_that_is_scaled_says_so_in_a_sentence(capsys):
    verdicts.say_verdicts([record("layerwise", "epoch graph", 25.0), record("jax", "scan", 100.0, scaled=True)])
    assert "100 ms (scaled from a slice) by jax, scan" in said(capsys)


def test_the_goal_is_told_in_epochs(capsys):
    def learnt(system, curve):
        return {**record(system, "x", 1.0), "curve": curve, "goal": 0.99, "reached": max(curve) >= 0.99}

    verdicts.say_goal([learnt("jax", [0.9, 0.99, 0.98]), learnt("keras", [0.95, 0.98, 0.991])])
    verdicts.say_goal([learnt("jax", [0.9, 0.99, 0.98]), learnt("keras", [0.9, 0.9, 0.9])])
    text = said(capsys)
    assert "2 of 2 systems and forms reach 99\u00a0% with one seed each, after 2 to 3 epochs (" in text
    assert "1 of 2 systems and forms reach 99\u00a0% with one seed each, after 2 epochs (" in text
    assert "seeds" not in text
    seeds = [record("layerwise", "one seed", 0.99, first_epoch_at_goal=epoch) for epoch in (6, None, 7)]
    verdicts.say_goal([learnt("jax", [0.9, 0.99])], seeds)
    assert "Of 3 seeds that ours trained in as many epochs, 2 reach it (" in said(capsys)
    verdicts.say_goal([])
    assert "Not measured" in said(capsys)


def test_the_spread_of_starts_is_told_with_and_without_sampling(capsys):
    times = {"cold_start_alone": (9.7, 9.0, 10.5), "cold_start_sampled": (10.0, 9.2, 11.0)}
    starts = [
        record("jax", "scan", median, experiment=name, unit="s", min=least, max=most, runs=7)
        for name, (median, least, most) in times.items()
    ]
    verdicts.say_sampling(starts)
    text = said(capsys)
    assert "jax, scan takes 9.70 s (9.00 s to 10.5 s, 7 runs), " in text
    assert "with the sampling 10.0 s (9.20 s to 11.0 s;" in text
    verdicts.say_sampling(starts[:1])
    assert not said(capsys)
