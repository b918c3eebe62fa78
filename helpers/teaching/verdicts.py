"""What the records of a comparison say in words: who is ahead, by how much, and what else it costs.

Every sentence follows from the records, whichever way they fall. Must not learn how anything was measured or drawn.
"""

from helpers.drawing.system_lines import OURS, seconds, system_name, time_of
from helpers.number_text import show_ratio, show_share, show_spread, show_time
from helpers.report import NOT_MEASURED, say
from helpers.results import compare, ratio_spread
from helpers.teaching.comparison import fastest_framework

NO_PAIR = "No verdict here: layerwise needs a GPU, and one framework at least must be installed."
AHEAD = (
    "{network}, batch {batch_size:,}: an epoch takes {own} by ours and {other} by {rival}, the fastest form of a "
    "framework. Ours is {place} ({spread}; {origin})."
)
PLACES = {"ahead": "{} as fast", "behind": "behind: it takes {} as long", "level": "level with it: {} as fast"}
PRECISION = (
    "In {precision} the fastest framework is {name} with {took}, {ratio} as fast as ours in fp32 ({own}); in fp32 the "
    "fastest framework takes {other}."
)
EQUAL = (
    "After {epochs} epochs each, between {lowest:.2f} and {highest:.2f} % of the test images are right, over {count} "
    "systems and forms with one run each ({origin})."
)
GOAL = (
    "{count} of {all} systems and forms reach {goal} with one seed each, after {epochs} epochs ({origin}): the time to "
    "it is that of an epoch times their number, and the number is chance."
)
SEEDS = "Of {count} seeds that ours trained in as many epochs, {reached} reach it ({origin})."
STARTS = (
    "From a cold start to the end of the first epoch ours takes {own}; of the frameworks {quick[name]} takes "
    "{quick[time]}, {slow[name]} {slow[time]} ({origin})."
)
SAMPLING = (
    "Starts spread, and the card's memory is sampled meanwhile: {name} takes {alone[0]} ({alone[1]} to {alone[2]}, "
    "{runs} runs), with the sampling {sampled[0]} ({sampled[1]} to {sampled[2]}; {origin}). A difference between two "
    "rows that is no larger than that says nothing."
)
PROOF = (
    "The same work: first losses within the bound of rounding, {counts}; {name} uses most of it, {share} at batch "
    "{batch_size:,} in {precision}."
)
ABSENT = "Absent: {names}. {reason}."


def verdict(records):
    """The fastest of ours against the fastest form of a framework.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set, batch, precision and card.

    Returns
    -------
    dict or None
        As `results.compare` makes it, ratio above 1 where ours is ahead; None where either is missing.
    """
    ours = min((r for r in records if r["system"] in OURS), key=lambda record: record["median"], default=None)
    return compare(fastest_framework(records), ours)


def second_of_two(records):
    """(system, form) of the slower one in a `verdict`: a chart's baseline; None where there is no verdict."""
    found = verdict(records)
    if found is None:
        return None
    slower = found["baseline"] if found["ratio"] >= 1 else found
    return slower["system"], slower["form"]


def say_verdicts(records, lead=""):
    """A sentence for each batch: by how much ours is ahead of the fastest framework, behind it, or level with it.

    As `standing` has it. `lead` stands in front of each sentence.
    """
    batches = sorted({record["batch_size"] for record in records})
    found = [verdict([record for record in records if record["batch_size"] == batch]) for batch in batches]
    if not any(found):
        print(lead + (NO_PAIR if records else NOT_MEASURED))
    for each in filter(None, found):
        rival, (place, *ratios) = each["baseline"], standing(each)
        times = {"own": _spoken(each), "other": _spoken(rival), "rival": system_name(rival)}
        ahead = {"place": PLACES[place].format(show_ratio(ratios[0])), "spread": show_spread(*ratios[1:])}
        say(lead + AHEAD, each, **times, **ahead)


def standing(compared):
    """Where ours stands in a `verdict`.

    "Level": single runs overlap, so that the fastest run of either beats some run of the other.

    Returns
    -------
    place : {"ahead", "level", "behind"}
    ratio, least, most : float
        How many times as fast ours is, and from run to run; where it is behind, how many times as long it takes.
    """
    least, most = ratio_spread(compared)
    if most < 1:
        return "behind", 1 / compared["ratio"], 1 / most, 1 / least
    return "ahead" if least > 1 else "level", compared["ratio"], least, most


def _spoken(record):
    """A record's time in a sentence."""
    return show_time(record["median"], record["unit"]) + (" (scaled from a slice)" if record.get("scaled") else "")


def say_proof(records):
    """By how many losses the systems of a comparison were proven, and who used most of the bound.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records; those without `agreement` are left out.
    """
    proven = [record for record in records if "agreement" in record]
    if not proven:
        return
    steps = sorted({(record["batch_size"], record["agreement_steps"]) for record in proven})
    counts = {batch: [count for size, count in steps if size == batch] for batch, _ in steps}
    shown = (f"{_span(found)} at batch {batch:,}" for batch, found in counts.items())
    most = max(proven, key=lambda record: record["agreement"])
    say(PROOF, most, counts=", ".join(shown), share=show_share(most["agreement"]), name=system_name(most))


def _span(numbers):
    """Smallest and largest of sorted numbers, or the only one."""
    return f"{numbers[0]} to {numbers[-1]}" if numbers[0] != numbers[-1] else f"{numbers[0]}"


def say_precisions(records):
    """A sentence for each lower precision: its fastest system beside ours and the fastest framework in fp32."""
    single = verdict([record for record in records if record["precision"] == "fp32"])
    found = {precision: [r for r in records if r["precision"] == precision] for precision in ("tf32", "bf16")}
    if single is None or not any(found.values()):
        print(NOT_MEASURED)
        return
    for precision, these in found.items():
        if these:
            best, others = fastest_framework(these), {"own": time_of(single), "other": time_of(single["baseline"])}
            others["ratio"] = show_ratio(seconds(single) / seconds(best))
            say(PRECISION, precision=precision, name=system_name(best), took=time_of(best), **others)
        else:
            print(f"In {precision}: {NOT_MEASURED}")


def say_equal_epochs(records):
    """Between which accuracies all systems end after equally many epochs.

    Parameters
    ----------
    records : list of dict
        Of experiment "test_accuracy_compared".
    """
    if not records:
        print(NOT_MEASURED)
        return
    reached = sorted(100 * record["median"] for record in records)
    say(EQUAL, records[0], count=len(records), lowest=reached[0], highest=reached[-1])


def say_goal(records, seeds=()):
    """After how many epochs the goal was reached, and how far that is chance.

    Parameters
    ----------
    records : list of dict
        Of experiment "time_to_accuracy".
    seeds : list of dict, optional
        Of experiment "test_accuracy", one seed each, with the same goal.
    """
    if not records:
        print(NOT_MEASURED)
        return
    epochs = sorted(
        next(epoch for epoch, accuracy in enumerate(record["curve"], 1) if accuracy >= record["goal"])
        for record in records
        if record["reached"]
    )
    shown = {"count": len(epochs), "all": len(records), "goal": show_share(records[0]["goal"])}
    say(GOAL, records[0], epochs=_span(epochs) if epochs else "no", **shown)
    if seeds:
        reached = sum(record["first_epoch_at_goal"] is not None for record in seeds)
        say(SEEDS, seeds[0], count=len(seeds), reached=reached)


def say_absent(records):
    """Which forms are absent, a sentence for each reason.

    Parameters
    ----------
    records : list of dict
        Of experiment "absent": system, form, reason.
    """
    reasons = {}
    for record in records:
        reasons.setdefault(record["reason"], {}).setdefault(record["system"], {})[record["form"]] = True
    for reason, systems in reasons.items():
        names = " and ".join(f"{system} ({'; '.join(forms)})" for system, forms in systems.items())
        say(ABSENT, names=names, reason=reason[0].upper() + reason[1:])


def say_starts(records, lead=""):
    """How long ours and the frameworks take from no process to the end of the first epoch.

    Parameters
    ----------
    records : list of dict
        Of experiment "cold_start".
    lead : str
        Stands in front of the sentence.
    """
    ours = min((record for record in records if record["system"] in OURS), key=seconds, default=None)
    others = sorted((record for record in records if record["system"] not in OURS), key=seconds)
    if ours is None or not others:
        print(lead + NOT_MEASURED)
        return
    quick, slow = ({"name": system_name(record), "time": time_of(record)} for record in (others[0], others[-1]))
    say(lead + STARTS, ours, own=time_of(ours), quick=quick, slow=slow)


def say_sampling(records):
    """How far starts spread, and how far the sampling of memory lengthens one; nothing where it was not measured.

    Parameters
    ----------
    records : list of dict
        Of the suite "costs".
    """
    found = {record["experiment"]: record for record in records}
    alone, sampled = found.get("cold_start_alone"), found.get("cold_start_sampled")
    if alone is None or sampled is None:
        return
    shown = {"name": system_name(alone), "runs": alone["runs"]}
    for name, record in (("alone", alone), ("sampled", sampled)):
        shown[name] = [show_time(record[key], record["unit"]) for key in ("median", "min", "max")]
    say(SAMPLING, alone, **shown)
