"""What the records of a comparison say in words and small tables: who is ahead, by how much, and what decides it.

Every sentence follows from the records, whichever way they fall. Must not learn how anything was measured or drawn.
"""

import pandas as pd

from helpers.data import PUBLISHED
from helpers.drawing.system_lines import OURS, system_name
from helpers.number_text import show_ratio, show_share, show_time
from helpers.report import NOT_MEASURED, say
from helpers.results import compare, find_records
from helpers.suites.workloads import CIFAR_SHAPES
from helpers.teaching.comparison import fastest_framework

AHEAD = (
    "{network}, batch {batch_size:,}: an epoch takes {own} by ours and {other} by {rival}, the fastest form of a "
    "framework. Ours is {place} ({least} to {most} from run to run; {origin})."
)
PLACES = {"ahead": "{} as fast", "behind": "behind: it takes {} as long", "level": "level with it: {} as fast"}
SHORT = (
    "At its fp32 limit the card would do the arithmetic of a step in {least}; ours spends {own} on a step, {rival} "
    "{other}. So arithmetic does not decide: launches do, and kernels too short to fill the card."
)
RATES = (
    "With its arithmetic counted as direct convolutions, ours reaches {own} of the card's fp32 limit, {rival} {other}."
)
BEHIND = (
    "The frameworks' libraries choose among many convolution kernels tuned for a card; ours are loops of one design."
)
KERNELS = (
    "Of the {step} of our step its {count} kernels take {busy}, each measured alone; {share} of that are convolutions."
)
PRECISION = (
    "In {precision} the fastest is {name} with {took}. Ours in fp32 takes {own}, the fastest form in fp32 {other}."
)
BUSY = 0.1  # of the card's fp32 limit: below it, arithmetic does not decide
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
IMAGES = {name: facts.train for name, facts in PUBLISHED.items()} | {CIFAR_SHAPES: PUBLISHED["cifar10"].train}
IMAGES |= {"CIFAR-10 (recompressed)": IMAGES[CIFAR_SHAPES]}


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

    "Level": their single runs overlap, so that the fastest run of either beats some run of the other. `lead` stands in
    front of each sentence.
    """
    batches = sorted({record["batch_size"] for record in records})
    found = [verdict([record for record in records if record["batch_size"] == batch]) for batch in batches]
    if not any(found):
        print(lead + NOT_MEASURED)
    for each in filter(None, found):
        rival, least, most = each["baseline"], *spread(each)
        place, ratios = "ahead" if least > 1 else "level", (each["ratio"], least, most)
        if most < 1:
            place, ratios = "behind", (1 / each["ratio"], 1 / most, 1 / least)
        ratio, least, most = map(show_ratio, ratios)
        times = {"own": time_of(each), "other": time_of(rival), "rival": system_name(rival)}
        say(lead + AHEAD, each, **times, place=PLACES[place].format(ratio), least=least, most=most)


def spread(compared):
    """Least and most of a comparison's ratio over single runs."""
    baseline = compared["baseline"]
    return baseline["min"] / compared["max"], baseline["max"] / compared["min"]


def time_of(record):
    """A record's median as text; a star marks one that is scaled from a slice."""
    return show_time(record["median"], record["unit"]) + (" *" if record.get("scaled") else "")


def say_reason(records):
    """What decides between ours and the fastest framework at one batch: the kernels' rate, or what is around them.

    Parameters
    ----------
    records : list of dict
        As `verdict` takes them, with the work of an epoch and the card's limit: flops, fp32_flops.
    """
    found = verdict(records)
    if found is None or "flops" not in found or "flops" not in found["baseline"]:
        print(NOT_MEASURED)
        return
    pair, steps = (found, found["baseline"]), steps_of(found)
    shares = [record["flops"] / seconds_of(record) / record["fp32_flops"] for record in pair]
    rival = system_name(found["baseline"])
    if max(shares) < BUSY:
        least = show_time(found["flops"] / found["fp32_flops"] / steps, "s")
        own, other = (show_time(seconds_of(record) / steps, "s") for record in pair)
        say(SHORT, least=least, own=own, rival=rival, other=other)
    else:
        say(RATES, rival=rival, own=show_share(shares[0]), other=show_share(shares[1]))
        if found["ratio"] < 1:
            print(BEHIND)
    _say_kernels(found)


def _say_kernels(ours):
    """What the kernels of our step take of it, where they were measured on the same card."""
    alike = {key: ours[key] for key in ("network", "batch_size", "precision", "gpu")}
    kernels = find_records(experiment="kernel_time", system=ours["system"], **alike)
    if kernels:
        busy = sum(record["median"] for record in kernels)
        share = sum(r["median"] for r in kernels if r["form"].startswith("conv")) / busy
        step, busy = show_time(seconds_of(ours) / steps_of(ours), "s"), show_time(busy, kernels[0]["unit"])
        say(KERNELS, step=step, count=len(kernels), busy=busy, share=show_share(share))


def seconds_of(record):
    """A record's median in seconds."""
    return record["median"] * SECONDS[record["unit"]]


def steps_of(record):
    """Steps of the epoch that a record times: the last partial batch is dropped."""
    return IMAGES[record["dataset"]] // record["batch_size"]


def rate_table(records):
    """Images a second of each system at one batch, the slowest first, and how long each takes measured by ours.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set, batch and precision.

    Returns
    -------
    pandas.DataFrame or None
        None, with a sentence, where nothing was measured.
    """
    if not records:
        print("No table: images a second have not been measured on any card yet.")
        return None
    ours, rows = min((r["median"] for r in records if r["system"] in OURS), default=None), {}
    for record in sorted(records, key=lambda record: -record["median"]):
        steps = steps_of(record)
        rows[system_name(record)] = {
            "one epoch": time_of(record),
            "one step": show_time(seconds_of(record) / steps, "s"),
            "images a second": round(steps * record["batch_size"] / seconds_of(record)),
            "time, ours = 1": show_ratio(record["median"] / ours) if ours else None,
            "training images": record.get("data", "resident"),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system, form")


def precision_table(records):
    """Times of an epoch by system and form, a column for each precision; ours has fp32 alone.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set and batch, in several precisions.

    Returns
    -------
    pandas.DataFrame or None
        Of those on the card that were measured in another precision, and ours; None, with a sentence, without any.
    """
    reduced = {system_name(record) for record in records if record["precision"] != "fp32"}
    if not reduced:
        print("No table: lower precisions have not been measured on any card yet.")
        return None
    rows = {}
    for record in sorted(records, key=lambda record: -record["median"]):
        if system_name(record) in reduced or record["system"] in OURS:
            rows.setdefault(system_name(record), {})[record["precision"]] = time_of(record)
    columns = [p for p in ("fp32", "tf32", "bf16") if any(p in row for row in rows.values())]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.astype(object).where(frame.notna(), None).rename_axis("system, form")


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
            say(PRECISION, precision=precision, name=system_name(best), took=time_of(best), **others)


def memory_table(records):
    """Memory of the card that each system takes, a column for each network.

    Parameters
    ----------
    records : list of dict
        Of experiment "peak_memory".

    Returns
    -------
    pandas.DataFrame or None
        None, with a sentence, where nothing was measured.
    """
    if not records:
        print("No table: the memory of a process has not been measured on any card yet.")
        return None
    frame = pd.DataFrame([{**record, "name": system_name(record)} for record in records])
    table = frame.pivot_table(index="name", columns="network", values="median").round(0)
    table.columns = [f"{network}, MB" for network in table]
    return table.sort_values(table.columns[-1]).rename_axis("system, form")


def side_by_side(own, committed):
    """Times of one's own run beside those of the committed measurement of the same work, by system and form.

    Parameters
    ----------
    own, committed : list of dict
        compared_epoch_time records, each of one card; of `committed` those of the same network, data set, batch and
        precision are taken.

    Returns
    -------
    pandas.DataFrame
    """
    alike = ("network", "dataset", "batch_size", "precision")
    work = {tuple(record[key] for key in alike) for record in own}
    columns, rows = {}, {}
    for records in (own, [r for r in committed if tuple(r[key] for key in alike) in work]):
        for record in sorted(records, key=lambda record: -record["median"]):
            whose = "own run" if records is own else "committed"
            named = f"{whose}, {record.get('gpu') or 'no GPU'}, {record.get('date', 'today')}"
            columns[named] = None
            rows.setdefault(system_name(record), {})[named] = time_of(record)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))
    return frame.astype(object).where(frame.notna(), None).rename_axis("system, form")
