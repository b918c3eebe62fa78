"""What records of suite "fused" say of small networks whose steps are all in one kernel.

Knows records; must not learn how anything is measured.
"""

from helpers.drawing.system_lines import system_name, time_of
from helpers.number_text import show_ratio, show_spread
from helpers.report import NOT_MEASURED, say, sentence
from helpers.results import compare, find_records, ratio_spread
from helpers.teaching.comparison import fastest_framework, framework_forms

EXPERIMENT, FUSED = "small_epoch_time", "fused"
SENTENCE = (
    "With all steps in one kernel, engine `fused`, an epoch of {network} takes {own} on one {gpu}: {ratio} as fast as "
    "the fastest of {forms} there ({other} by {rival}; {spread})."
)
LINE = (
    "{network}, batch {batch_size:,}: {own} in one kernel, {other} by {rival}, the fastest of {forms}: {ratio} as fast "
    "({spread}; {origin})."
)


def small_sentence(records=None, network="lenet5", batch_size=128):
    """How an epoch in one kernel stands to the fastest form of a framework beside it; "" where it is not measured."""
    found = find_records(records, experiment=EXPERIMENT, network=network, batch_size=batch_size)
    pair = small_pair(found)
    return sentence(SENTENCE, pair, **_values(pair, found)) if pair else ""


def small_pair(records):
    """Of the records of one cell that of one kernel, with the fastest framework's as its baseline (`compare`)."""
    return compare(fastest_framework(records), next((r for r in records if r["system"] == FUSED), None))


def _values(pair, cell):
    rival = pair["baseline"]
    values = {"own": time_of(pair), "other": time_of(rival), "rival": system_name(rival)}
    values |= {"ratio": show_ratio(pair["ratio"]), "spread": show_spread(*ratio_spread(pair))}
    return values | {"forms": framework_forms(cell)}


def say_small(records=None):
    """Say how one kernel stands to the fastest framework in each measured cell, a line each."""
    found = find_records(records, experiment=EXPERIMENT)
    cells = sorted({(record["network"], record["batch_size"]) for record in found})
    for network, batch_size in cells:
        cell = [r for r in found if (r["network"], r["batch_size"]) == (network, batch_size)]
        if pair := small_pair(cell):
            say(LINE, pair, **_values(pair, cell))
    if not cells:
        say(NOT_MEASURED)
