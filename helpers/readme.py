"""README's measured parts, each between two markers: `python -m helpers.readme` writes them anew from data/results.

Knows records and README's markers; must not learn how anything is measured.
"""

import re

from helpers.atomic import write_atomically
from helpers.drawing.system_lines import system_name, time_of
from helpers.number_text import show_range, show_ratio, show_time
from helpers.report import NOT_MEASURED, accuracy_sentence, added, sentence, setting
from helpers.results import (
    CIFAR_IMAGES,
    ROOT,
    compare,
    compared_records,
    find_record,
    find_records,
    ratio_spread,
    read_results,
)
from helpers.teaching.comparison import FRAMEWORKS
from helpers.teaching.verdicts import verdict

OURS = "layerwise"
COMPARED = (("lenet5", ("mnist",)), ("vgg_small", CIFAR_IMAGES))  # network and data of README's comparison
COMPARED_BATCH = 128
AGAINST = (
    "On {network} {ratio} as fast as the fastest of {count} forms of {names} on the same work ({own} against {other} "
    "by {rival}; {range} from run to run)."
)


def headline(records=None):
    """README's headline: one epoch of lenet5 by the best engine against baselines and frameworks; Markdown."""
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
    parts += [f"- {line}" for line in framework_sentences(records)]
    parts += [f"- {line}" for line in (accuracy_sentence(records), sanitizer_sentence(records)) if line]
    return "\n".join([parts[0], "", *parts[1:]])


def speed_up(baseline, record, words):
    """How much faster a record is than its baseline, which `words` name; the spread of single runs in brackets."""
    compared = compare(baseline, record)
    fields = {**added(compared), **compared}
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


def framework_sentences(records=None):
    """For each network of the comparison: how ours stands to the fastest form of a framework, as one sentence."""
    said = []
    for network, datasets in COMPARED:
        found = compared_records(network, *datasets, records=records, batch_size=COMPARED_BATCH)
        pair = verdict(found)
        if pair:
            rival, forms = pair["baseline"], [record for record in found if record["system"] in FRAMEWORKS]
            here = {record["system"] for record in forms}
            *others, last = (name for system, name in FRAMEWORKS.items() if system in here)
            values = {"own": time_of(pair), "other": time_of(rival), "rival": system_name(rival), "count": len(forms)}
            values |= {"ratio": show_ratio(pair["ratio"]), "range": show_range(*ratio_spread(pair))}
            values["names"] = f"{', '.join(others)} and {last}" if others else last
            said.append(sentence(AGAINST, pair, **values))
    return said


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

    The last column says how many times as fast as that form `layerwise` is.
    """
    records = read_results() if records is None else records
    lines = ["| network | data | system | run as | one epoch | layerwise is |", "|---|---|---|---|---|---|"]
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
    return "\n".join([*lines, "", " ".join(filter(None, [held, *missing, setting(measured[0])]))])


def _comparison_row(record, ours):
    """A row of `comparison_table`; its last cell is empty for ours itself and where ours was not measured."""
    form = record["form"] + (" (scaled from a slice)" if record.get("scaled") else "")
    took = show_time(record["median"], record["unit"])
    ahead = "" if ours in (None, record) else f"{show_ratio(compare(record, ours)['ratio'])} as fast"
    row = "| {network} | {dataset} | `{system}` | {how} | {time} | {ahead} |"
    return sentence(row, record, how=form, time=took, ahead=ahead)


def _missing_frameworks(records, measured):
    """A sentence that names the frameworks that were to be measured at that batch and have no time at all."""
    absent = find_records(records, experiment="absent", batch_size=COMPARED_BATCH, gpu=measured[0]["gpu"])
    names = {record["system"] for record in absent} - {record["system"] for record in measured}
    return [f"Absent on that machine: {', '.join(f'`{name}`' for name in sorted(names))}."] if names else []


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
    readme = ROOT / "README.md"
    write_atomically(readme, filled_readme(readme.read_text(encoding="utf-8")))
