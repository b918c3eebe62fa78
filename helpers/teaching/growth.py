"""What the records of growth say in words: who is ahead at either end, how near the card's limit, what does not grow.

Every sentence follows from the records, whichever way they fall. Must not learn how anything was measured or drawn.
"""

from helpers.drawing.system_lines import GROWN, system_name
from helpers.number_text import show_ratio, show_share
from helpers.report import say
from helpers.suites.growth import BASE
from helpers.teaching.verdicts import standing, verdict

GROWTH = (
    "{grown}, {small:,} to {large:,}: at the small end ours is {first}, at the large one {last}; of the card's limit "
    "it reaches {low} and {high} ({origin})."
)
ENDS = {
    "ahead": "{} as fast as",
    "level": "level, {} as fast as",
    "behind": "behind, with {} the time of",
}
NOT_GROWING = (
    "What does not grow: batch {batch}, {samples:,} images of {size} x {size} pixels in three channels, {depth} "
    "convolutions of {channels} filters each."
)


def growing(records, by):
    """Records "growth" of one `by`, of the systems and forms that have two values at least: a power needs them."""
    values, found = {}, [record for record in records if record["by"] == by]
    for record in found:
        values.setdefault(system_name(record), set()).add(record["value"])
    return [record for record in found if len(values[system_name(record)]) > 1]


def say_not_growing():
    """The sizes from which one at a time grows."""
    say(NOT_GROWING, **BASE)


def say_growth(records):
    """How ours stands to the fastest framework of the records, and how near the card's limit, at both ends.

    Parameters
    ----------
    records : list of dict
        Of experiment "growth", of one `by` and card; nothing is said where ours or every framework is missing.
    """
    values = sorted({record["value"] for record in records})
    found = [verdict([record for record in records if record["value"] == value]) for value in values]
    if None in found or len(found) < 2:
        return  # the chart's place says so
    ends = found[0], found[-1]
    first, last = map(_beside, ends)
    low, high = (show_share(each["floor"] / each["median"]) for each in ends)
    grown = GROWN[ends[0]["by"]].capitalize()
    shown = {"grown": grown, "small": values[0], "large": values[-1], "low": low, "high": high}
    say(GROWTH, ends[0], first=first, last=last, **shown)


def _beside(compared):
    """A `verdict` within a sentence: as fast as whom."""
    place, ratio, *_ = standing(compared)
    return f"{ENDS[place].format(show_ratio(ratio))} {system_name(compared['baseline'])}"
