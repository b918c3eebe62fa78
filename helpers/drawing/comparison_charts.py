"""Charts that compare systems: times over batches, places on the roofline, accuracy over time.

Knows measurement records and the frame in charts.py; must not learn how anything is measured.
"""

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from helpers.drawing.charts import checked, conditions
from helpers.drawing.courses import gaps_of
from helpers.drawing.figure_style import INK
from helpers.drawing.roofline_marks import draw_limits, write_batches
from helpers.drawing.system_lines import (
    HOST,
    LABEL,
    MARKER,
    OURS,
    Line,
    described,
    draw_lines,
    lines_over,
    list_beside,
    log_axes,
    mark_values,
    marked,
    name_lines,
    refuse_mixtures,
    scaled_note,
    seconds,
    short_share,
    short_time,
    system_name,
)
from helpers.number_text import show_ratio, show_share, show_time


def plot_batches(records, title=None):
    """Time of an epoch against the batch, a line for each system and form, both scales logarithmic.

    Parameters
    ----------
    records : list of dict
        Of one network, data set, precision and card: system, form, batch_size, median, min, max, unit.
    title : str, optional
        Instead of the one made from the fastest framework and ours at the largest batch.

    Returns
    -------
    Chart
    """
    records = checked(records, "compared_epoch_time")
    lines = lines_over(records, "batch_size")
    spread = "upright lines: fastest to slowest, side by side at each batch"
    note = conditions(records, f"one epoch of {records[0]['dataset']}", *scaled_note(records), spread)
    chart, axes = log_axes(lines, title or _ahead(records), note, "batch", "one epoch")
    draw_lines(axes, lines)
    mark_values(axes, (record["batch_size"] for record in records))
    return described(chart, lines, "batch")


def _ahead(records):
    """Title: how far ours is ahead of, or behind, the fastest other at each end of the batches."""
    batches, parts, rivals = sorted({record["batch_size"] for record in records}), [], []
    for batch in dict.fromkeys((batches[0], batches[-1])):
        here = [record for record in records if record["batch_size"] == batch]
        ours = [record for record in here if record["system"] in OURS]
        others = [record for record in here if record["system"] not in (*OURS, *HOST)]
        if not ours or not others:
            return f"One epoch of {records[0]['network']} by each system"
        best, rival = (min(group, key=seconds) for group in (ours, others))
        ratio = show_ratio(seconds(rival) / seconds(best))
        whom = "" if rival["system"] in rivals else f" as fast as {rival['system']}"
        rivals.append(rival["system"])
        parts.append(f"{ratio}{whom} at batch {batch:,}")
    return f"{records[0]['network']}: {best['system']} is " + ", ".join(parts)


def plot_systems_roofline(records, title=None):
    """Achieved FLOP/s of every system over the FLOP a byte that its epoch must move, under the card's two limits.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of systems on one card in fp32, of any networks and batches: flops and bytes of
        an epoch, fp32_flops and bandwidth of the card.

    Returns
    -------
    Chart
    """
    records = [record for record in checked(records, "compared_epoch_time") if "flops" in record]
    if not records:
        raise ValueError(
            "no record holds the work of an epoch; measure on a card: python -m helpers.benchmark frameworks"
        )
    refuse_mixtures(records, ("network", "batch_size"), free=("dataset",))
    if (precision := records[0]["precision"]) != "fp32":
        raise ValueError(f"the records are of {precision}, expected fp32: the card's limit drawn here is that of fp32")
    peak, bandwidth = records[0]["fp32_flops"], records[0]["bandwidth"]
    lines, batches = _rate_lines(records)
    best = max((line for line in lines if line.ours), key=lambda line: line.y.max(), default=lines[-1])
    batch = max((record for record in records if system_name(record) == best.name), key=_rate)["batch_size"]
    made = f"At batch {batch:,} {best.system} reaches {show_share(best.y.max() / peak)} of the card's fp32 limit"
    networks = " and ".join(dict.fromkeys(record["network"] for record in records))
    note = conditions(records, networks, "an epoch's least traffic", f"numbers: batches of {best.name}")
    height = 3.0 + 0.1 * len(lines)
    chart, axes = log_axes(lines, title or made, note, "FLOP a byte", "FLOP/s", height=height, tick=_in_tera)
    draw_limits(axes, peak, bandwidth, np.concatenate([np.stack([line.x, line.y], axis=1) for line in lines]))
    draw_lines(axes, lines)
    write_batches(axes, best, batches[best.name])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ends = [f"{line.name}: {show_share(line.y.max() / peak, 1)}" for line in lines]
    chart.alt += f" The limits bend at {peak / bandwidth:.3g} FLOP a byte. Largest share of the fp32 limit. "
    chart.alt += f"{'; '.join(ends)}."
    return chart


def _rate_lines(records):
    """A `Line` of FLOP/s over FLOP a byte for each system and form, and {its name: what to call its points}."""
    points, several = {}, len({record["network"] for record in records}) > 1
    for record in records:
        batch = f"{record['network']}, " * several + f"{record['batch_size']:,}"
        points.setdefault(system_name(record), []).append(
            (record["flops"] / record["bytes"], _rate(record), batch, record)
        )
    lines = []
    for name, found in points.items():
        found.sort(key=lambda point: point[:2])
        x, y, _, (record, *_) = zip(*found)
        lines.append(Line(name, record["system"], np.array(x), np.array(y), form=record["form"]))
    batches = {name: [batch for _, _, batch, _ in found] for name, found in points.items()}
    return marked(sorted(lines, key=lambda line: line.y[-1])), batches


def _in_tera(value):
    return f"{value / 1e12:g} T"


def _rate(record):
    """FLOP/s that a record's epoch achieved."""
    return record["flops"] / seconds(record)


def plot_accuracy_over_time(records, title=None):
    """Test accuracy over the seconds of training, a line for each system and form, a point for each epoch.

    Parameters
    ----------
    records : list of dict
        Experiment "time_to_accuracy", one for each system and form, of one network, data set, batch, precision and
        card: seconds and curve (accuracies, 0 to 1), lists of equal length; goal.

    Returns
    -------
    Chart
    """
    records = sorted(checked(records, "time_to_accuracy"), key=lambda r: (not r["reached"], r["median"]))
    refuse_mixtures(records, ())
    goal, lines, first = records[0]["goal"], [], records[0]
    for place_in_list, record in enumerate(records, 1):
        curve = np.array(record["curve"], float)
        if len(curve) != len(record["seconds"]) or not np.isfinite(curve).all():
            raise ValueError(f"the curve of {system_name(record)} is broken; measure it again")
        when = show_time(record["median"], "s") if record["reached"] else "not reached"
        name = f"{place_in_list}  {system_name(record)}: {when}"
        lines.append(Line(name, record["system"], np.array(record["seconds"]), curve, form=record["form"]))
    made = f"{system_name(first)} is the first with {show_share(goal)} of the test images right"
    what = f"{first['network']} on {first['dataset']}"
    note = conditions(records, what, "one run each", "compiled before", "a point for each epoch", runs=False)
    made = made if first["reached"] else "Accuracy over time"
    lines = marked(lines)
    chart, axes = log_axes(lines, title or made, note, "time of training", "test accuracy", log_y=False, height=4.2)
    draw_lines(axes, lines, named=False)
    axes.axhline(goal, color=INK, lw=1, ls=(0, (4, 3)))
    lowest, end = (min(part(line.y) for line in lines) for part in (np.min, lambda curve: curve[-1]))
    axes.set_ylim(bottom=1.03 * lowest - 0.03 if end < 0.9 else max(0.9, lowest), top=1.0)  # first epochs may lie below
    list_beside(axes, lines)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_share(value)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_time(value)))
    ends = [f"{line.name}; {show_share(line.y[-1], 2)} after {show_time(line.x[-1], 's')}" for line in lines]
    chart.alt += f" Goal {show_share(goal)}. {'. '.join(ends)}."
    return chart


LEAST_SHARE = 1e-4  # of the bound: what is less is drawn there


def plot_shares_of_bound(losses, reference, bound, title=None, note=""):
    """The largest share of the allowed gap to float64 that each engine's loss has used up to a step.

    Parameters
    ----------
    losses : dict of (system, form) to ndarray of float, shape (steps,) or shorter
        One that leaves the bound is named in the title.
    reference, bound : ndarray of float, shape (steps,)
        As `agreement.agreement_bound` returns them.
    title, note : str, optional

    Returns
    -------
    Chart
    """
    gaps = gaps_of(losses, reference, bound, shorter=True)
    shares = {key: gap / bound[: len(gap)] for key, gap in gaps.items()}
    lines = []
    for key, share in shares.items():
        name = f"{', '.join(key)}: {_share_of_bound(share.max())}"
        y = np.maximum(np.maximum.accumulate(share), LEAST_SHARE)
        lines.append(Line(name, key[0], np.arange(1, len(share) + 1), y, form=key[1]))
    lines = marked(lines)
    largest = max(line.y.max() for line in lines)
    made = (
        f"{len(lines)} forms, one course: losses use at most {_share_of_bound(largest)} of the gap that rounding allows"
    )
    if beyond := [", ".join(key) for key, share in shares.items() if share.max() > 1]:
        made = f"{_listed(beyond)} beyond the bound: up to {_share_of_bound(largest)} of the gap that rounding allows"
        title = title and f"{title}; but {made}"  # it must not hide what the chart shows
    height = max(3.0, 0.21 * len(lines) + 1.0)
    y_label = "largest share of the allowed gap so far"
    chart, axes = log_axes(lines, title or made, note, "step", y_label, height=height, tick=short_share)
    axes.set_xscale("linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for number, line in enumerate(lines):  # markers take turns: lines that lie over each other are seen by them
        at = _turns(len(line.x), number / len(lines), max(len(other.x) for other in lines))
        axes.plot(line.x, line.y, color=line.colour, lw=2.0 if line.ours else 1.0, zorder=3 if line.ours else 2,
                  marker=line.marker, markevery=at, ms=MARKER, mec="white", mew=0.5)  # fmt: skip
    axes.axhline(1, color=INK, lw=1, ls=(0, (4, 3)))
    axes.annotate("the bound", (0.02, 1), xycoords=("axes fraction", "data"), va="bottom", fontsize=LABEL, color=INK)
    axes.set_ylim(0.7 * min(line.y.min() for line in lines), 1.5 * max(1, largest))
    name_lines(axes, lines)
    chart.alt += f" Largest share of each: {'; '.join(line.name for line in lines)}."
    return chart


def _turns(steps, phase, most, count=6):
    """Which of `steps` points carry a marker: `count` of `most`, begun at a phase of 0 to 1, and an early last one."""
    every = max(1, most // count)
    return [*range(int(phase * every), steps, every)] + [steps - 1] * (steps < most)


def _share_of_bound(share):
    """A share in per cent; a small one with a digit more, and one just beyond 1, so that it does not read as 100 %."""
    return show_share(share, digits=int(share < 0.1 or 1 < share < 1.1))


def _listed(names, most=3):
    """Names for a title, with their verb: the first few of many."""
    shown = names[:most] + [f"{len(names) - most} more"] * (len(names) > most)
    return f"{' and '.join(shown)} {'lies' if len(names) == 1 else 'lie'}"
