"""Charts: every one is drawn from measurement records, a training history or arrays, in one style.

Knows records and the frame in charts.py; must not learn how anything is measured, and holds no number of its own.
"""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from helpers.drawing.charts import (
    WIDTH,
    add_list,
    bar_chart,
    checked,
    conditions,
    label_bar,
    label_bars,
    new_chart,
    place,
    save_figure,
)
from helpers.drawing.figure_style import BLUE, DEEP_BLUE, DEEP_ORANGE, FAINT, GREEN, INK, MUTED, ORANGE
from helpers.drawing.system_lines import marks_of, system_name, time_of
from helpers.number_text import show_ratio, show_share, show_time

__all__ = ["plot_confusion", "plot_digits", "plot_kernels", "plot_ladder", "plot_learning_curve", "plot_speedup",
           "plot_time_shares", "save_figure"]  # fmt: skip
PASS_COLOURS = {"forward": "#6b9fd2", "input gradient": GREEN, "weight gradient": ORANGE}
SPREAD = "line: fastest to slowest"
MANY = 10  # bars that need lower rows


def plot_speedup(records, baseline=("loops", "njit, one core"), colours=None, title=None):
    """Speed-up of every system over the baseline, one epoch of one network, on a log scale.

    Parameters
    ----------
    records : list of dict
        epoch_time records of one network, data set and card, the baseline's among them.
    baseline : (system, form)
    colours : dict of system to colour, optional
        Where many systems are compared; by default the fastest alone stands out.
    title : str, optional
        Instead of the one that tells how many times as fast the fastest is.

    Returns
    -------
    Chart
    """
    records = sorted(checked(records, "epoch_time"), key=lambda record: -record["median"])
    base = next((r for r in records if (r["system"], r["form"]) == baseline), None)
    if base is None:
        raise ValueError(f"no record of {', '.join(baseline)}, the baseline: python -m helpers.benchmark epoch")
    best, ratios = records[-1], [base["median"] / record["median"] for record in records]
    names = [system_name(record) for record in records]
    whom = f"{show_ratio(ratios[-1])} as fast as {base['system']} ({base['form']})"
    title = title or f"{best['system']} ({best['form']}) trains {best['network']} {whom}"
    held = conditions(records, SPREAD, f"one epoch of {best['dataset']}", marks_of(records).rstrip("."))
    chart, axes = bar_chart(names, title, held, row=0.4 if len(names) < MANY else 0.29, scale=True)
    axes.set_xscale("log")
    spreads = [(base["median"] / record["max"], base["median"] / record["min"]) for record in records]
    for row, (record, ratio, spread) in enumerate(zip(records, ratios, spreads)):
        colour = (colours or {}).get(record["system"], ORANGE if record is best else BLUE)
        axes.barh(row, ratio - 1, left=1, height=0.62, color=colour)
        axes.plot(spread, [row, row], color=INK, lw=1.2)
        text = "baseline" if record is base else show_ratio(ratio)
        label_bar(axes, max(spread[1], 1), row, text, time_of(record))
    low, high = min(1, *(slowest for slowest, _ in spreads)) / 1.15, max(1, *(fastest for _, fastest in spreads))
    span = (high / low) ** 1.34  # room for the labels
    axes.set_xlim(low, low * span)
    last = np.log10(low * span**0.95)  # a tick at the very edge would have its label cut
    axes.set_xticks([10.0**power for power in range(int(np.ceil(np.log10(low))), int(last) + 1) if power <= last])
    axes.axvline(1, color=INK, lw=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"1/{1 / v:,.0f}" if v < 1 else f"{v:,.0f}\u00d7"))
    axes.xaxis.set_minor_locator(NullLocator())
    return add_list(chart, names, list(map(time_of, records)))


def plot_ladder(records, title=None):
    """Time of each rung of a ladder, in the order given; the last rung is the one reached.

    Parameters
    ----------
    records : list of dict
        With form (the rung's name), median, min, max, unit; "floor" (same unit) is drawn as the card's limit.
    title : str, optional
        Instead of the one made from the first and last rung.

    Returns
    -------
    Chart
    """
    records = checked(records, "a ladder")
    first, last, names = records[0], records[-1], [record["form"] for record in records]
    times = [show_time(record["median"], record["unit"]) for record in records]
    what = ", ".join(str(last[key]) for key in ("network", "layer", "pass") if key in last)
    claim = (
        f"{last['form']}\u201d is {show_ratio(first['median'] / last['median'])} as fast as \u201c{first['form']}\u201d"
    )
    has_floor = all("floor" in record for record in records)
    chart, axes = bar_chart(names, title or f"{what}: \u201c{claim}", conditions(records, SPREAD), scale=has_floor)
    labels = []
    for row, (record, text) in enumerate(zip(records, times)):
        axes.barh(row, record["median"], height=0.62, color=ORANGE if record is last else BLUE)
        axes.plot([record["min"], record["max"]], [row, row], color=INK, lw=1.2)
        before = records[row - 1]["median"] / record["median"]
        labels.append((record["max"], text, f"{show_ratio(before)} as fast as the rung above" if row else ""))
    label_bars(axes, labels)
    axes.set_xticks([])
    if has_floor:
        _mark(axes, last["floor"], f"the card's limit: {show_time(last['floor'], last['unit'])}")
    return add_list(chart, names, times)


def _mark(axes, value, text):
    """A dashed vertical line, named below the axes."""
    axes.axvline(value, color=INK, lw=1, ls=(0, (4, 3)))
    axes.annotate(text, (value, 0), xycoords=("data", "axes fraction"), xytext=(0, -11), textcoords="offset points",
                  fontsize=8.8, color=INK, va="center", annotation_clip=False)  # fmt: skip


def plot_kernels(records):
    """Time of every kernel of a step, and the part of it that the card's limits ask for.

    Parameters
    ----------
    records : list of dict
        kernel_time records of one network in the order of the step.

    Returns
    -------
    Chart
    """
    records = checked(records, "kernel_time")
    total, floor = sum(record["median"] for record in records), sum(record["floor"] for record in records)
    names = [r["pass"] if r["layer"] in r["pass"] or r["pass"] not in PASS_COLOURS else f"{r['layer']} {r['pass']}"
             for r in records]  # fmt: skip
    title = f"{records[0]['network']}: the card's limits ask for {show_share(floor / total)} of the "
    title += f"{show_time(total, records[0]['unit'])} of a step's kernels"
    colours = "blue: forward, green: input gradient, orange: weight gradient"
    dark = "dark, in per cent: the least time at the card's rates of arithmetic and memory; its cache can be faster"
    chart, axes = bar_chart(names, title, conditions(records, colours, dark), row=0.225, size=8.8)
    labels = []
    for row, record in enumerate(records):
        colour = PASS_COLOURS.get(record["pass"], MUTED)
        axes.barh(row, record["median"], height=0.74, color=colour, alpha=0.4)
        axes.barh(row, record["floor"], height=0.74, color=colour)
        share = f"{show_share(record['roofline_share'])} \u00b7 {record['limit']}"
        end = max(record["median"], record["floor"])  # a kernel served by caches can beat the memory's bandwidth
        labels.append((end, show_time(record["median"], record["unit"]), share))
    label_bars(axes, labels, size=8.5)
    texts = [f"{show_time(r['median'], r['unit'])}, {show_share(r['roofline_share'])}" for r in records]
    return add_list(chart, names, texts)


def plot_time_shares(times, title=None, note=""):
    """Shares of a whole, largest first.

    Parameters
    ----------
    times : dict of name to seconds
    title : str, optional
        Instead of the one that names the largest share.
    note : str
        What held for the measurement.

    Returns
    -------
    Chart
    """
    if not times or not 0 < sum(times.values()) < np.inf:
        raise ValueError(f"times are {times}; expected names with positive seconds")
    ordered, total = sorted(times.items(), key=lambda item: -item[1]), sum(times.values())
    names, shares = [name for name, _ in ordered], [show_share(seconds / total, 1) for _, seconds in ordered]
    chart, axes = bar_chart(names, title or f"{names[0]}: {show_share(ordered[0][1] / total)} of the time", note)
    for row, (_, seconds) in enumerate(ordered):
        axes.barh(row, seconds, height=0.62, color=BLUE if row else ORANGE)
    label_bars(axes, [(seconds, shares[row], show_time(seconds, "s")) for row, (_, seconds) in enumerate(ordered)])
    return add_list(chart, names, shares)


def plot_learning_curve(curves, goal=None, title=None, note=""):
    """Accuracy after each epoch: one line a run, and their mean where there are several.

    Parameters
    ----------
    curves : dict of name to sequence of float, or list of test_accuracy records
        Accuracies, 0 to 1, epoch by epoch; records bring their own goal and seeds.
    goal : float, optional
        Drawn as a line.

    Returns
    -------
    Chart
    """
    if not isinstance(curves, dict):
        records = [record for record in checked(curves, "test_accuracy") if "seed" in record]
        goal = goal or records[0].get("goal")
        below = sum(record["curve"][-1] < (goal or 0) for record in records)
        missed = f"{below} of {len(records)} end below the goal" if below else ""
        note = note or conditions(records, "thin: one run each", missed, runs=False)
        curves = {f"seed {record['seed']}": record["curve"] for record in records}
    runs = np.array(list(curves.values()), float)
    if runs.ndim != 2 or not runs.size or not np.isfinite(runs).all():
        raise ValueError("expected runs of the same number of epochs, with finite accuracies")
    mean, epochs = runs.mean(axis=0), np.arange(1, runs.shape[1] + 1)
    of = f"mean of {len(runs)} runs" if len(runs) > 1 else ""
    made = f"{show_share(mean[-1], 2)} of the test images are right after {len(mean)} epochs" + (of and f" ({of})")
    chart = new_chart(3.2, title or made, note)
    axes = place(chart, 0.75, 0.5, WIDTH - 2.3, 2.6)
    for run in runs if len(runs) > 1 else ():
        axes.plot(epochs, run, color=DEEP_BLUE, lw=1, alpha=0.45)
    axes.plot(epochs, mean, color=ORANGE, lw=2.4, marker="o", ms=4)
    _name_end(axes, epochs[-1], mean[-1], show_share(mean[-1], 2) + (" mean" if of else ""))
    if goal is not None:
        axes.axhline(goal, color=INK, lw=1, ls=(0, (4, 3)))
        _name_start(axes, epochs[0], goal, f"goal {show_share(goal, 1)}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show_share(value, 1)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_xlabel("epoch", color=MUTED)
    chart.alt += f" After each epoch: {', '.join(show_share(value, 2) for value in mean)}."
    return chart


def _name_end(axes, x, y, text):
    axes.annotate(text, (x, y), xytext=(9, 0), textcoords="offset points", va="center", fontsize=10,
                  fontweight="bold", color=DEEP_ORANGE, annotation_clip=False)  # fmt: skip


def _name_start(axes, x, y, text):
    axes.annotate(text, (x, y), xytext=(0, 4), textcoords="offset points", fontsize=8.8, color=INK)


def plot_confusion(matrix, title=None, note=""):
    """Confusion matrix with the mistakes coloured; the right answers stand on the diagonal in grey.

    Parameters
    ----------
    matrix : ndarray of int, shape (classes, classes)
        Row: the label; column: the prediction.

    Returns
    -------
    Chart
    """
    matrix = np.asarray(matrix)
    mistakes = matrix - np.diag(np.diag(matrix))
    label, guess = np.unravel_index(mistakes.argmax(), matrix.shape)
    made = f"{mistakes.sum():,} of {matrix.sum():,} are wrong; most often a {label} is taken for a {guess} "
    chart = new_chart(4.6, title or f"{made}({mistakes.max()} of {matrix[label].sum():,})", note)
    axes = place(chart, 0.75, 0.1, 5.6, 4.0)
    axes.imshow(mistakes, cmap=LinearSegmentedColormap.from_list("mistakes", ["white", ORANGE]), aspect="auto")
    for row, column in np.argwhere(matrix):
        right = row == column
        axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", fontsize=8.8 if right else 10,
                  color=MUTED if right else INK)  # fmt: skip
    axes.set_xticks(range(len(matrix)))
    axes.set_yticks(range(len(matrix)))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("label", color=MUTED)
    return chart


def plot_digits(images, labels, predictions, title=None, note="", columns=12):
    """Images with "label \u2192 prediction" below each; wrong ones in colour. At most three rows are shown.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, C)
    labels, predictions : sequences of int, length N

    Returns
    -------
    Chart
    """
    images, labels, predictions = np.asarray(images), np.asarray(labels), np.asarray(predictions)
    if not len(images) == len(labels) == len(predictions) > 0:
        found = f"{len(images)} images, {len(labels)} labels and {len(predictions)} predictions"
        raise ValueError(f"{found}; expected one label and one prediction for each of at least one image")
    count, wrong = min(len(images), 3 * columns), int((labels != predictions).sum())
    title = title or f"{wrong} of these {len(images)} images are classified wrongly" + (
        f"; the first {count} are shown" if count < len(images) else ""
    )
    size, rows = (WIDTH - 0.2) / columns, -(-count // columns)
    top = rows * (size + 0.24) + 0.05
    chart = new_chart(top, title, note)
    for index in range(count):
        row, column = divmod(index, columns)
        axes = place(chart, 0.1 + column * size, top - (row + 1) * (size + 0.24) + 0.24, size - 0.08, size - 0.08)
        axes.imshow(images[index].squeeze(), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        colour = INK if labels[index] == predictions[index] else DEEP_ORANGE
        axes.set_xlabel(f"{labels[index]} \u2192 {predictions[index]}", fontsize=9.5, color=colour, labelpad=2)
    return chart
