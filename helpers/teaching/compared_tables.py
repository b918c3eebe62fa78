"""Tables of a comparison's records, and which of them a chart can take; a sentence where nothing was measured.

Must not learn how anything was measured or what a chart looks like.
"""

from math import inf

import pandas as pd

from helpers.drawing.system_lines import HOST, OURS, marks_of, seconds, system_name, time_of
from helpers.drawing.systems_table import systems_table
from helpers.number_text import show_ratio, show_time
from helpers.report import say
from helpers.results import find_records
from helpers.teaching.reasons import steps_of
from helpers.teaching.verdicts import say_absent, say_proof


def times_table(records):
    """`systems_table` of records, with the frameworks' forms that were to be measured beside them and are absent.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set, precision and card, of any batches.

    Returns
    -------
    pandas.DataFrame or None
        None, with a sentence, where nothing was measured.
    """
    if not records:
        print("No table: this network has not been compared on any card yet.")
        return None
    alike = {key: records[0].get(key) for key in ("network", "dataset", "precision", "gpu")}
    absent = find_records(experiment="absent", **alike)
    absent = [record for record in absent if record["suite"] == "frameworks"]
    say_absent(absent)
    say("Times on the {gpu}, {precision}, {dataset} ({origin}). {marks}", records[0], marks=marks_of(records))
    say_proof(records)
    return systems_table(records, absent)


# experiment of a record: its column in the table of costs, with the unit
COSTS = {
    "cold_start": "cold start to the end of the first epoch, s",
    "compile_time": "compiling, s",
    "time_to_accuracy": "training to the goal, s",
}


def costs_table(records):
    """What a system asks for beside an epoch's time: a row for each system and form, the quickest start first.

    Parameters
    ----------
    records : list of dict
        Of the suite "costs", for one network, data set, batch and card.

    Returns
    -------
    pandas.DataFrame or None
        A column for each of `COSTS`, empty where a goal was not reached; None, with a sentence, where nothing was
        measured.
    """
    measured = [record for record in records if record["experiment"] in COSTS]
    if not measured:
        print("No table: costs have not been measured on any card yet.")
        return None
    absent, rows = [record for record in records if record["experiment"] == "absent"], {}
    say_absent(absent)
    say("{network} on {dataset}, batch {batch_size:,}, {gpu}, one run each ({origin}).", measured[0])
    for record in measured:
        row = rows.setdefault(system_name(record), {})
        row[COSTS[record["experiment"]]] = record["median"] if record.get("reached", True) else None
    columns, first = list(COSTS.values()), COSTS["cold_start"]
    rows = dict(sorted(rows.items(), key=lambda row: row[1].get(first, inf)))
    rows |= {system_name(record): {first: "absent"} for record in absent}
    return _with_gaps(rows, columns)


def on_card(records):
    """Those of systems that are no sequential baseline: where they ran on a GPU, it had all their work."""
    return [record for record in records if record["system"] not in HOST]


def over_batches(records):
    """Those of the systems and forms that were measured at two batches at least."""
    batches = {}
    for record in records:
        batches.setdefault(system_name(record), set()).add(record["batch_size"])
    return [record for record in records if len(batches[system_name(record)]) > 1]


def with_baseline(records, baseline):
    """`records`, or [] where the (system, form) that is to be their baseline is not among them."""
    return records if baseline in [(record["system"], record["form"]) for record in records] else []


def with_work(records):
    """Those that hold the work of an epoch: of systems on the card, measured at two batches at least."""
    return [record for record in over_batches(records) if "flops" in record]


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
            "one step": show_time(seconds(record) / steps, "s"),
            "images a second": round(steps * record["batch_size"] / seconds(record)),
            "time, ours = 1": show_ratio(record["median"] / ours) if ours else None,
            "images lie on": "host" if record["system"] in HOST or record.get("data") == "host-fed" else "card",
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
    reduced = [record for record in records if record["precision"] != "fp32"]
    if not reduced:
        print("No table: lower precisions have not been measured on any card yet.")
        return None
    say_proof(reduced)
    rows, names = {}, {system_name(record) for record in reduced}
    shown = [record for record in records if system_name(record) in names or record["system"] in OURS]
    say("{network} on {dataset}, batch {batch_size:,}, {gpu} ({origin}). {marks}", records[0], marks=marks_of(shown))
    for record in sorted(shown, key=lambda record: -record["median"]):
        rows.setdefault(system_name(record), {})[record["precision"]] = time_of(record)
    columns = [p for p in ("fp32", "tf32", "bf16") if any(p in row for row in rows.values())]
    return _with_gaps(rows, columns)


def memory_table(records):
    """Most memory of the card that each system takes, a column for each network, and the data sets' share of it.

    Parameters
    ----------
    records : list of dict
        Of experiment "peak_memory", of one batch and card.

    Returns
    -------
    pandas.DataFrame or None
        None, with a sentence, where nothing was measured.
    """
    if not records:
        print("No table: the memory of a process has not been measured on any card yet.")
        return None
    works = " and ".join(dict.fromkeys("{network} on {dataset}".format(**record) for record in records))
    say("{works}, batch {batch_size:,}, {gpu} ({origin}).", records[0], works=works)
    rows = {}
    for record in records:
        row = rows.setdefault(system_name(record), {"a tiny network, MB": round(record["tiny_network"])})
        row[f"{record['network']}, MB"] = round(record["median"])
        row[f"of it {record['network']}'s images, MB"] = round(record["data_set"]) or None
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    rows = dict(sorted(rows.items(), key=lambda row: row[1].get(columns[-2], inf)))
    return _with_gaps(rows, columns)


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
    return _with_gaps(rows, list(columns))


def _with_gaps(rows, columns):
    """A table of {system and form: {column: text}}; what a row lacks is None."""
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.astype(object).where(frame.notna(), None).rename_axis("system, form")
