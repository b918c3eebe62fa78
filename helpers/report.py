"""Sentences with measured numbers: every number in a notebook's prose and in README goes through here.

Knows records and README's markers; must not learn how anything is measured.
"""

import re
import sys
import textwrap

from helpers.atomic import write_atomically
from helpers.number_text import show_ratio, show_time
from helpers.results import CIFAR_IMAGES, ROOT, compare, compared_records, find_record, find_records, read_results

LINE = 110  # characters
NOT_MEASURED = "Not measured on this card yet: run python -m helpers.benchmark."
OURS = "layerwise"
COMPARED = (("lenet5", ("mnist",)), ("vgg_small", CIFAR_IMAGES))  # network and data of README's comparison
COMPARED_BATCH = 128


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
    fields = {**(record or {}), **_added(record), **values}
    if any(value is None and f"{{{key}" in template for key, value in fields.items()):
        return NOT_MEASURED
    try:
        return template.format(**fields)
    except KeyError as error:
        raise KeyError(f"the sentence asks for {error}; the record holds {', '.join(fields)}") from None


def origin(record):
    """Where a measurement comes from: the suite of a committed file and its date, or the run that holds it."""
    return f"benchmark suite, {record['date']}" if "date" in record else "this run"


def _added(record):
    """Fields that follow from a record's own."""
    if not record:
        return {}
    baseline, spread = record.get("baseline"), {}
    if baseline and all("min" in each and "max" in each for each in (record, baseline)):
        spread = {"least": baseline["min"] / record["max"], "most": baseline["max"] / record["min"]}
    return {"origin": origin(record), **spread}


def say(template, record=None, **values):
    """Print `sentence(...)`."""
    _show(sentence(template, record, **values))


def _show(text):
    """Print `text` in lines that a page shows whole; it would break longer ones within a word."""
    print(textwrap.fill(text, LINE, break_long_words=False, break_on_hyphens=False))


def say_each(template, records):
    """Print `template` once for every record; one clear sentence where there is none."""
    for record in records or [None]:
        say(template, record)


def headline(records=None):
    """README's headline: one epoch of lenet5 by the best engine against the sequential baselines, as Markdown."""
    keys = {"experiment": "epoch_time", "network": "lenet5", "dataset": "mnist", "batch_size": 128, "precision": "fp32"}
    found = find_records(records, **keys)
    if not found:
        return NOT_MEASURED
    best = min(found, key=lambda record: record["median"])
    parts = [
        sentence(
            "**One epoch of LeNet-5 on MNIST takes {median:.1f} {unit} on one {gpu}** "
            "(batch {batch_size}, {precision}, engine `{system}`, {form}; median of {runs}).",
            best,
        )
    ]
    for system, words in (("loops", "compiled sequential loops on one core"), ("vectorized", "NumPy on all cores")):
        rivals = [record for record in found if record["system"] == system]
        if rivals and system != best["system"]:
            fastest = min(rivals, key=lambda record: record["median"])
            end = share_of_blas(records) if system == "vectorized" else "."
            parts.append(f"- {speed_up(fastest, best, words)}{end}")
    parts += [f"- {line}" for line in (accuracy_sentence(records), sanitizer_sentence(records)) if line]
    return "\n".join([parts[0], "", *parts[1:]])


def speed_up(baseline, record, words):
    """How much faster a record is than its baseline, which `words` name; the spread of single runs in brackets."""
    compared = compare(baseline, record)
    fields = {**_added(compared), **compared}
    about = {key: float(f"{fields[key]:.2g}") for key in ("ratio", "least", "most") if key in fields}  # wide spread
    text = sentence("About {ratio:,.0f} times as fast as {words}", words=words, **about)
    return text + sentence(" ({least:,.0f} to {most:,.0f} from run to run)", **about) if "least" in about else text


def share_of_blas(records=None):
    """How good the NumPy baseline is, as the end of a sentence: the share of the matrix product's rate it reaches."""
    share = find_record(records, experiment="gemm_share", network="lenet5", form="all convolutions")
    if share is None:
        return "."
    return sentence("; its convolutions reach {percent:.0f} % of the rate of their matrix products alone.",
                    percent=100 * share["median"])  # fmt: skip


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


def sanitizer_sentence(records=None):
    """What compute-sanitizer's tools found in the kernels, as one sentence; "" where they have not run."""
    found = find_records(records, experiment="sanitizer")
    if not found:
        return ""
    errors, tools = sum(record["median"] for record in found), ", ".join(sorted(record["form"] for record in found))
    return sentence("compute-sanitizer ({tools}) finds {errors:.0f} errors in {kernels} kernels: those of whole "
                    "training steps and of every shape class.", found[0], errors=errors, tools=tools)  # fmt: skip


def epoch_table(records=None):
    """README's table of epoch times: network, engine, how it ran, time; Markdown."""
    found = find_records(records, experiment="epoch_time")
    if not found:
        return NOT_MEASURED
    lines = ["| network | data | engine | run as | one epoch |", "|---|---|---|---|---|"]
    for record in sorted(found, key=lambda r: (r["network"], r["dataset"], -r["median"])):
        form = record.get("form", "") + (" (scaled from a slice)" if record.get("scaled") else "")
        took = show_time(record["median"], record["unit"])
        lines.append(sentence("| {network} | {dataset} | `{system}` | {how} | {time} |", record, how=form, time=took))
    return "\n".join([*lines, "", sentence("Card: {gpu}, batch {batch_size}, {date}.", found[0])])


def comparison_table(records=None):
    """README's table of the comparison: every form of every engine and framework at one batch; Markdown.

    The last column says how many times as fast as that form ours is.
    """
    records = read_results() if records is None else records
    lines = ["| network | data | system | run as | one epoch | ours is |", "|---|---|---|---|---|---|"]
    measured = []
    for network, datasets in COMPARED:
        card = {"gpu": measured[0]["gpu"]} if measured else {}
        found = compared_records(network, *datasets, records=records, batch_size=COMPARED_BATCH, **card)
        if not found:
            lines.append(f"| {network} | | | | not measured yet | |")
        ours = [record for record in found if record["system"] == OURS]
        for record in sorted(found, key=lambda record: -record["median"]):
            lines.append(_comparison_row(record, min(ours, key=lambda r: r["median"], default=None)))
        measured += found
    if not measured:
        return "\n".join([*lines, "", "Not measured yet: run python -m helpers.benchmark frameworks."])
    missing = _missing_frameworks(records, measured)
    held = sentence("Card: {gpu}, batch {batch_size}, {precision}, {date}.", measured[0])
    return "\n".join([*lines, "", " ".join([held, *missing])])


def _comparison_row(record, ours):
    """A row of `comparison_table`; its last cell is empty for ours itself and where ours was not measured."""
    form = record["form"] + (" (scaled from a slice)" if record.get("scaled") else "")
    took = show_time(record["median"], record["unit"])
    ahead = "" if ours in (None, record) else f"{show_ratio(compare(record, ours)['ratio'])} as fast"
    row = "| {network} | {dataset} | `{system}` | {how} | {time} | {ahead} |"
    return sentence(row, record, how=form, time=took, ahead=ahead)


def _missing_frameworks(records, measured):
    """A sentence for each framework that was to be measured at that batch and has no time at all."""
    absent = find_records(records, experiment="absent", batch_size=COMPARED_BATCH, gpu=measured[0]["gpu"])
    reasons = {record["system"]: record["reason"] for record in absent}
    here = {record["system"] for record in measured}
    return [f"Absent: `{name}` ({reason})." for name, reason in sorted(reasons.items()) if name not in here]


def say_accuracy(records=None):
    """Print `accuracy_sentence(...)`."""
    _show(accuracy_sentence(records) or NOT_MEASURED)


def fill(text, marker, body):
    """`text` with what stands between <!-- marker --> and <!-- /marker --> replaced by `body`."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"expected one pair of the markers {start} and {end}; put them back")
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{body}\n{end}", text, flags=re.DOTALL)


def filled_readme(text, records=None):
    """README's text with every measured part written anew."""
    parts = {"headline": headline(records), "epochs": epoch_table(records), "comparison": comparison_table(records)}
    for marker, body in parts.items():
        text = fill(text, marker, body)
    return text


if __name__ == "__main__":
    if sys.argv[1:] != ["readme"]:
        sys.exit("usage: python -m helpers.report readme")
    readme = ROOT / "README.md"
    write_atomically(readme, filled_readme(readme.read_text(encoding="utf-8")))
