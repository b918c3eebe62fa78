"""What records of suite "fused" say of one kernel beside an epoch's time: a goal, starts, copies, the sanitizer.

Every sentence follows from the records. Must not learn how anything is measured.
"""

from helpers.number_text import show_bytes, show_share, show_time
from helpers.report import NOT_MEASURED, sanitizer_sentence, say, sentence
from helpers.results import find_record, find_records

GOAL = (
    "After {epochs} epochs in one launch, {time} on one {gpu}, {mean} of the test images of {dataset} are right: the "
    "mean of {runs} seeds, which lie between {least} and {most}; {place} the goal of {goal}. Compilation is apart."
)
PLACES = {True: "it reaches", False: "it misses"}
CHOICE = (
    "Batch, epochs and schedule were chosen on a validation split, of {tried} of {offered} candidates with {runs} "
    "seeds each; the test set was read once for each seed of the choice."
)
STARTS = (
    "From no process to the end of the first epoch of {network} in one kernel takes {first} on one {gpu}, {compiling} "
    "of it to compile ({runs} runs, {low} to {high}); with compiled code in the cache {cached} ({origin})."
)
TRANSFERS = (
    "By the driver's records ({gpu}, {origin}) an epoch of {network} is {kernels}: before it {before}, within it "
    "{within}, after it {after}."
)
WAYS = {"HtoD": "to the card", "DtoH": "to the host"}
SANITIZER = (
    "compute-sanitizer ({tools}) finds {errors:.0f} errors in the kernel that trains whole epochs, composed by "
    "{kernels} small plans ({gpu}, {origin})."
)


def goal_sentences(records=None):
    """How much one launch of all epochs learns, a sentence for each budget of time; [] where it is not measured."""
    found = find_records(records, experiment="goal_summary")
    return [sentence(GOAL, summary, **_reached(summary)) for summary in sorted(found, key=lambda r: r["budget"])]


def _reached(summary):
    """What `GOAL` shows of a summary."""
    shares = {"mean": "mean_accuracy", "least": "least_accuracy", "most": "most_accuracy"}
    shown = {name: show_share(summary[key], 2) for name, key in shares.items()}
    shown["place"] = PLACES[summary["mean_accuracy"] >= summary["goal"]]
    return {**shown, "time": show_time(summary["median"], summary["unit"]), "goal": show_share(summary["goal"])}


def say_goal(records=None):
    """Say `goal_sentences`, and how the choice was made."""
    said, choices = goal_sentences(records), find_records(records, experiment="goal_choice")
    for text in said or [""]:
        _say(text)
    if said and choices:
        say(CHOICE, choices[0], tried=len(choices))


def start_sentence(records=None):
    """How long the first epoch in one kernel is away, with and without compiled code; "" where it is not measured."""
    first, cached = (find_record(records, experiment=name) for name in ("small_first_start", "small_cached_start"))
    if first is None or cached is None:
        return ""
    names = {"first": "median", "compiling": "compile_seconds", "low": "min", "high": "max"}
    times = {name: show_time(first[key], first["unit"]) for name, key in names.items()}
    return sentence(STARTS, first, **times, cached=show_time(cached["median"], cached["unit"]))


def say_start(records=None):
    """Say `start_sentence`."""
    _say(start_sentence(records))


def transfers_sentence(records=None):
    """Kernels of an epoch, and copies before, within and after it; "" where they are not counted."""
    found = find_records(records, experiment="small_transfers")
    if not found:
        return ""
    count = found[0]["kernels"]
    places = {when: _copies([r for r in found if r["when"] == when]) for when in ("before", "within", "after")}
    return sentence(TRANSFERS, found[0], **{**places, "kernels": f"{count:,} kernel{'s' * (count != 1)}"})


def _copies(records):
    """Copies in words: "1 copy to the card (60 KB)", "no copy"."""
    said = [
        f"{record['median']:,} cop{'y' if record['median'] == 1 else 'ies'} {WAYS[record['direction']]} "
        f"({show_bytes(record['bytes'])})"
        for record in records
        if record["median"]
    ]
    return " and ".join(said) or "no copy"


def say_small_transfers(records=None):
    """Say `transfers_sentence`."""
    _say(transfers_sentence(records))


def small_sanitizer_sentence(records=None):
    """What compute-sanitizer's tools found in the kernel of small plans; "" where they have not run."""
    return sanitizer_sentence(SANITIZER, "small_sanitizer", records)


def say_small_sanitizer(records=None):
    """Say `small_sanitizer_sentence`."""
    _say(small_sanitizer_sentence(records))


def _say(text):
    say("{text}", text=text or NOT_MEASURED)
