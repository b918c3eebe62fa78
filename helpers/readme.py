"""README's measured parts, each between two markers: `python -m helpers.readme` writes them anew from data/results.

Knows records and README's markers; must not learn how anything is measured.
"""

import re

from helpers.atomic import write_atomically
from helpers.drawing.system_lines import is_smaller, marks_of, seconds, system_name, time_of
from helpers.number_text import show_ratio, show_spread, show_time
from helpers.report import NOT_MEASURED, accuracy_sentence, added, sanitizer_sentence, sentence, setting
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
from helpers.teaching.comparison import FRAMEWORKS, fastest_framework, framework_forms
from helpers.teaching.fused_costs import (
    goal_sentences,
    small_sanitizer_sentence,
    start_sentence,
    transfers_sentence,
)
from helpers.teaching.one_kernel import EXPERIMENT, small_pair, small_sentence
from helpers.teaching.verdicts import verdict

COMPARED = (("lenet5", ("mnist",)), ("vgg_small", CIFAR_IMAGES))  # network and data of the headline's comparison
COMPARED_BATCH, REDUCED = 128, ("tf32", "bf16")
# columns of the comparison's table: network, data, precision
COLUMNS = (
    *(("lenet5", (dataset,), "fp32") for dataset in ("mnist", "fashion_mnist")),
    *(("vgg_small", CIFAR_IMAGES, precision) for precision in ("fp32", *REDUCED)),
)
AGAINST = (
    "In {precision} on {network} {ratio} as fast as the fastest of {forms} on the same work ({own} against {other} by "
    "{rival}; {spread})."
)


FEWER_BITS = (
    "With fewer bits on tensor cores, where ours is not measured yet, the fastest framework takes {times} on "
    "{network}, ours {own} in {precision}. TF32 is the default of PyTorch's convolutions and of JAX; {precision} here "
    "forbids it."
)
SANITIZER = (
    "compute-sanitizer ({tools}) finds {errors:.0f} errors in {kernels} kernels: those of whole training steps and of "
    "shape classes around their tiles."
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
    parts += [f"- {line}" for line in (*framework_sentences(records), small_sentence(records)) if line]
    others = [precision_sentence(records), accuracy_sentence(records), *goal_sentences(records)[:1]]
    others += [sanitizer_sentence(SANITIZER, "sanitizer", records), small_sanitizer_sentence(records)]
    parts += [f"- {line}" for line in others if line]
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
            rival, forms = pair["baseline"], framework_forms(found)
            values = {"own": time_of(pair), "other": time_of(rival), "rival": system_name(rival), "forms": forms}
            values |= {"ratio": show_ratio(pair["ratio"]), "spread": show_spread(*ratio_spread(pair))}
            said.append(sentence(AGAINST, pair, **values))
    return said


def precision_sentence(records=None):
    """What the frameworks gain by fewer bits on the larger network, as one sentence; "" where that is not measured."""
    network, datasets = COMPARED[-1]
    ours = verdict(compared_records(network, *datasets, records=records, batch_size=COMPARED_BATCH))
    keys = {"records": records, "batch_size": COMPARED_BATCH}
    found = (compared_records(network, *datasets, precision=precision, **keys) for precision in REDUCED)
    fastest = [best for best in map(fastest_framework, found) if best]
    if ours is None or not fastest:
        return ""
    times = (sentence("{time} in {precision}", best, time=time_of(best)) for best in fastest)
    return sentence(FEWER_BITS, ours, times=" and ".join(times), own=time_of(ours))


def epoch_table(records=None):
    """README's table of epoch times: network, engine, how it ran, time; Markdown."""
    found = find_records(records, experiment="epoch_time")
    if not found:
        return NOT_MEASURED
    lines = ["| network | data | engine | run as | one epoch |", "|---|---|---|---|---|"]
    for record in sorted(found, key=lambda r: (r["network"], r["dataset"], -r["median"])):
        of_batch = f" of batch {record['slice_batch']}" if is_smaller(record) else ""
        form = record.get("form", "") + (f" (scaled from a slice{of_batch})" if record.get("scaled") else "")
        took = show_time(record["median"], record["unit"])
        lines.append(sentence("| {network} | {dataset} | `{system}` | {how} | {time} |", record, how=form, time=took))
    return "\n".join([*lines, "", sentence("Card: {gpu}, batch {batch_size}, {date}.", found[0])])


def comparison_table(records=None):
    """README's tables of the comparison, all of one card: every form at one batch, then every batch; Markdown.

    The first has a row for each form, the fastest one of the first column last; bold is the fastest of a column.
    """
    records, columns, card = read_results() if records is None else records, {}, {}
    for network, datasets, precision in COLUMNS:
        found = compared_records(network, *datasets, records=records, precision=precision, **card)
        if any(record["batch_size"] == COMPARED_BATCH for record in found):
            card = {"gpu": found[0]["gpu"]}
            columns[sentence("{network}, {dataset}, {precision}", found[0])] = found
    if not columns:
        return "Not measured yet: run python -m helpers.benchmark frameworks."
    measured = [record for found in columns.values() for record in found]
    dates = " and ".join(sorted({record["date"] for record in measured}))
    held = sentence("Card: {gpu}, {dates}. {marks}", measured[0], dates=dates, marks=marks_of(measured))
    held = " ".join(filter(None, [held, *_missing_frameworks(records, measured), setting(measured[0])]))
    at_one = {title: [r for r in found if r["batch_size"] == COMPARED_BATCH] for title, found in columns.items()}
    return "\n".join([*_forms(at_one), "", *_batches(columns), "", held])


def _forms(columns):
    """Lines of the table of forms: `columns` are records of one batch, by title."""
    times, fastest = {}, [min(record["median"] for record in found) for found in columns.values()]
    for number, found in enumerate(columns.values()):
        for record in found:
            times.setdefault((record["system"], record["form"]), {})[number] = record
    rows = [f"| batch {COMPARED_BATCH}: system | run as | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for (system, form), row in sorted(times.items(), key=lambda item: -next(iter(item[1].values()))["median"]):
        cells = [time_of(row[number]) if number in row else "" for number in range(len(columns))]
        bold = [number in row and row[number]["median"] == least for number, least in enumerate(fastest)]
        cells = [f"**{cell}**" if best else cell for cell, best in zip(cells, bold)]
        rows.append(f"| `{system}` | {form} | {' | '.join(cells)} |")
    return rows


def _batches(columns):
    """Lines of the table of batches: how many times as fast as the fastest framework ours is, and both times."""
    verdicts = {}
    for title, found in columns.items():
        for batch in sorted({record["batch_size"] for record in found}):
            if pair := verdict([record for record in found if record["batch_size"] == batch]):
                verdicts.setdefault(title, {})[batch] = pair
    batches = sorted({batch for row in verdicts.values() for batch in row})
    rows = [f"| ours is | {' | '.join(f'batch {batch:,}' for batch in batches)} |", "|---" * (len(batches) + 1) + "|"]
    for title, row in verdicts.items():
        cells = (_against(row[batch]) if batch in row else "" for batch in batches)
        rows.append(f"| {title} | {' | '.join(cells)} |")
    return rows if verdicts else []


def _against(pair):
    """A `verdict` as a cell."""
    return f"{show_ratio(pair['ratio'])} as fast: {time_of(pair)} against {time_of(pair['baseline'])}"


def _missing_frameworks(records, measured):
    """A sentence that names the frameworks that were to be measured at that batch and have no time at all."""
    suites = {record.get("suite") for record in measured}
    absent = find_records(records, experiment="absent", batch_size=COMPARED_BATCH, gpu=measured[0]["gpu"])
    absent = [record for record in absent if record.get("suite") in suites]
    names = {record["system"] for record in absent} - {record["system"] for record in measured}
    return [f"Absent on that machine: {', '.join(f'`{name}`' for name in sorted(names))}."] if names else []


def small_table(records=None):
    """README's table of small networks by one kernel, one graph and the fastest framework: a row a cell; Markdown."""
    records = read_results() if records is None else records
    found = find_records(records, experiment=EXPERIMENT)
    if not found:
        return "Not measured yet: run python -m helpers.benchmark fused."
    ours = {(r["system"], r["form"]): None for r in sorted(found, key=seconds) if r["system"] not in FRAMEWORKS}
    rows = ["| network | data | batch | " + " | ".join(f"`{s}`, {form}" for s, form in ours)]
    rows[0] += " | fastest framework | of | ratio |"
    rows.append("|---" * (len(ours) + 6) + "|")
    shown = [record for record in found if (record["system"], record["form"]) in ours]
    for network, dataset, batch in sorted({(r["network"], r["dataset"], r["batch_size"]) for r in found}):
        cell = find_records(found, network=network, dataset=dataset, batch_size=batch)
        own = {(r["system"], r["form"]): time_of(r) for r in cell}
        times, compared = (own.get(key, "") for key in ours), small_pair(cell)
        against = ["", "", ""]
        if compared:
            shown.append(rival := compared["baseline"])
            against = [f"{time_of(rival)}, {system_name(rival)}", framework_forms(cell), show_ratio(compared["ratio"])]
        rows.append(f"| {network} | {dataset} | {batch:,} | {' | '.join([*times, *against])} |")
    dates = " and ".join(sorted({record["date"] for record in found}))
    held = sentence("Card: {gpu}, fp32, {dates}.", found[0], dates=dates)
    held = " ".join(filter(None, [held, marks_of(shown), *_missing_frameworks(records, found), setting(found[0])]))
    beside = [f"- {line}" for line in (start_sentence(records), transfers_sentence(records)) if line]
    return "\n".join([*rows, "", held, *([""] * bool(beside)), *beside])


def fill(text, marker, body):
    """`text` with what stands between <!-- marker --> and <!-- /marker --> replaced by `body`."""
    start, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"expected one pair of the markers {start} and {end}; put them back")
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{body}\n{end}", text, flags=re.DOTALL)


def filled_readme(text, records=None):
    """README's text with every measured part written anew."""
    parts = {"headline": headline(records), "epochs": epoch_table(records), "comparison": comparison_table(records)}
    parts["small"] = small_table(records)
    for marker, body in parts.items():
        text = fill(text, marker, body)
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    write_atomically(readme, filled_readme(readme.read_text(encoding="utf-8")))
