"""Sentences with measured numbers: every number in a notebook's prose and in README goes through here.

Knows records and README's markers; must not learn how anything is measured.
"""

import re
import sys

from helpers.results import ROOT, compare, find_record, find_records, write_atomically

NOT_MEASURED = "Not measured on this card yet: run python -m helpers.benchmark."


def sentence(template, record=None, **values):
    """`template` with its {fields} taken from `record` and `values`; a missing record gives one clear sentence.

    Parameters
    ----------
    template : str
        Format string, e.g. "One epoch takes {median:.1f} {unit}."
    record : dict or None
        A measurement record, or what `results.compare` returns; its keys are the fields.

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
    fields = {**(record or {}), **values}
    if any(value is None and f"{{{key}" in template for key, value in fields.items()):
        return NOT_MEASURED
    try:
        return template.format(**fields)
    except KeyError as error:
        raise KeyError(f"the sentence asks for {error}; the record holds {', '.join(fields)}") from None


def say(template, record=None, **values):
    """Print `sentence(...)`."""
    print(sentence(template, record, **values))


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
    text = sentence(
        "**One epoch of LeNet-5 on MNIST takes {median:.1f} {unit} on one {gpu}** "
        "(batch {batch_size}, {precision}, engine `{system}`, {form}; median of {runs}).",
        best,
    )
    for system, words in (("loops", "compiled sequential loops on one core"), ("vectorized", "NumPy on all cores")):
        rivals = [record for record in found if record["system"] == system]
        if rivals and system != best["system"]:
            fastest = min(rivals, key=lambda record: record["median"])
            ratio = float(f"{compare(fastest, best)['ratio']:.2g}")  # two digits: the spread of the baselines is wide
            text += sentence(" About {ratio:,.0f} times as fast as {words}", ratio=ratio, words=words)
            text += _share_of_blas(records) if system == "vectorized" else "."
    accuracy = find_record(records, experiment="test_accuracy", network="lenet5", dataset="mnist", form="mean")
    if accuracy:
        text += sentence(" It reaches {percent:.2f} % on the test set (mean of {runs} seeds).", accuracy,
                         percent=100 * accuracy["median"])  # fmt: skip
    return text


def _share_of_blas(records):
    """How good the NumPy baseline is, as the end of a sentence: the share of the matrix product's rate it reaches."""
    share = find_record(records, experiment="gemm_share", network="lenet5", form="all convolutions")
    if share is None:
        return "."
    return sentence(", which there reach {percent:.0f} % of the rate of the matrix products alone.",
                    percent=100 * share["median"])  # fmt: skip


def epoch_table(records=None):
    """README's table of epoch times: network, engine, how it ran, time; Markdown."""
    found = find_records(records, experiment="epoch_time")
    if not found:
        return NOT_MEASURED
    lines = ["| network | data | engine | run as | one epoch |", "|---|---|---|---|---|"]
    for record in sorted(found, key=lambda r: (r["network"], r["dataset"], -r["median"])):
        form = record.get("form", "") + (" (scaled from a slice)" if record.get("scaled") else "")
        lines.append(
            sentence("| {network} | {dataset} | `{system}` | {how} | {median:,.1f} {unit} |", record, how=form)
        )
    return "\n".join([*lines, "", sentence("Card: {gpu}, batch {batch_size}, {date}.", found[0])])


def fill(text, marker, body):
    """`text` with what stands between <!-- marker --> and <!-- /marker --> replaced by `body`."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"expected one pair of the markers {start} and {end}; put them back")
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{body}\n{end}", text, flags=re.DOTALL)


def filled_readme(text, records=None):
    """README's text with every measured part written anew."""
    return fill(fill(text, "headline", headline(records)), "epochs", epoch_table(records))


if __name__ == "__main__":
    if sys.argv[1:] != ["readme"]:
        sys.exit("usage: python -m helpers.report readme")
    readme = ROOT / "README.md"
    write_atomically(readme, filled_readme(readme.read_text(encoding="utf-8")))
