"""Sentences with measured numbers: every number in a notebook's prose and in README goes through here.

Knows records; must not learn how anything is measured or which sentences a page holds.
"""

import textwrap

from helpers.results import environment_of, find_record, find_records, ratio_spread

LINE = 110  # characters
OWN_RUN = "comparison"  # the suite of a file that a reader's notebook wrote
SETTING = "The machine: {cores} cores of an {cpu}, driver {driver}; {packages}."
NOT_MEASURED = "Not measured yet: run python -m helpers.benchmark SUITE on a machine with a GPU."


def sentence(template, record=None, **values):
    """`template` with its {fields} taken from `record` and `values`; a missing record gives one clear sentence.

    Parameters
    ----------
    template : str
        Format string, e.g. "One epoch takes {median:.1f} {unit}."
    record : dict or None
        A measurement record, or what `results.compare` returns; its keys are the fields. Further fields: `origin`,
        and of a comparison `least` and `most`, the ratio of the baseline's fastest run to the slowest one and the
        other way round.

    Returns
    -------
    str

    Raises
    ------
    KeyError
        For a field that is in neither; the message lists the known ones.
    """
    if record is None and not values:
        return NOT_MEASURED
    fields = {**(record or {}), **added(record), **values}
    if any(value is None and f"{{{key}" in template for key, value in fields.items()):
        return NOT_MEASURED
    try:
        return template.format(**fields)
    except KeyError as error:
        raise KeyError(f"the sentence asks for {error}; the record holds {', '.join(fields)}") from None


def origin(record):
    """Where a measurement comes from: a suite's file or a reader's own one, with its date, or the run that holds it."""
    if "date" not in record:
        return "this run"
    return f"{'own run' if record.get('suite') == OWN_RUN else 'benchmark suite'}, {record['date']}"


def added(record):
    """Fields that follow from a record's own: see `sentence`."""
    if not record:
        return {}
    baseline, spread = record.get("baseline"), {}
    if baseline and all("min" in each and "max" in each for each in (record, baseline)):
        spread = dict(zip(("least", "most"), ratio_spread(record)))
    return {"origin": origin(record), **spread}


def say(template, record=None, **values):
    """Print `sentence(...)`."""
    _show(sentence(template, record, **values))


def setting(record):
    """On which machine, and with which versions, a committed record was measured; "" for one of no committed file."""
    environment = environment_of(record)
    if environment is None:
        return ""
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    return SETTING.format(**{**environment, "packages": packages})


def say_setting(records):
    """Print `setting` of the first of records, if any."""
    if said := records and setting(records[0]):
        _show(said)


def _show(text):
    """Print `text` in lines that a page shows whole; it would break longer ones within a word."""
    print(textwrap.fill(text, LINE, break_long_words=False, break_on_hyphens=False))


def say_each(template, records):
    """Print `template` once for every record; one clear sentence where there is none."""
    for record in records or [None]:
        say(template, record)


def accuracy_sentence(records=None):
    """Test accuracy of lenet5 on MNIST with its spread over the seeds, as one sentence; "" where none is recorded."""
    keys = {"experiment": "test_accuracy", "network": "lenet5", "dataset": "mnist"}
    mean, seeds = find_record(records, form="mean", **keys), find_records(records, form="one seed", **keys)
    if not (mean and seeds):
        return ""
    reached, goal = [100 * run["median"] for run in seeds], 100 * mean["goal"]
    spread = {"lowest": min(reached), "highest": max(reached), "below": sum(percent < goal for percent in reached)}
    return sentence("After {epochs} epochs {percent:.2f} % of the test images are right, the mean of {runs} seeds; "
                    "they lie between {lowest:.2f} and {highest:.2f} %, {below} of {runs} below {goal:.0f} %.",
                    mean, percent=100 * mean["median"], goal=goal, **spread)  # fmt: skip


def sanitizer_sentence(template, experiment, records=None):
    """`template` filled with what compute-sanitizer's tools found in one experiment; "" where they have not run."""
    found = find_records(records, experiment=experiment)
    if not found:
        return ""
    errors, tools = sum(record["median"] for record in found), ", ".join(sorted(record["form"] for record in found))
    return sentence(template, found[0], errors=errors, tools=tools)


def say_accuracy(records=None):
    """Print `accuracy_sentence(...)`."""
    _show(accuracy_sentence(records) or NOT_MEASURED)
