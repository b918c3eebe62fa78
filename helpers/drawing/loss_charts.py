"""The losses of many engines over each other: one curve where all of them train alike.

Knows arrays and the frame in charts.py; must not learn where losses come from.
"""

import numpy as np

from helpers.drawing.charts import MARGIN, WIDTH, new_chart, place, text_width
from helpers.drawing.figure_style import FAINT, MUTED
from helpers.drawing.system_lines import LABEL, OURS, SYSTEM_COLOURS

ROW = 0.2  # inches of a name


def plot_losses(losses, reference, note=""):
    """Loss after each step, a line for each engine over the float64 oracle's.

    Parameters
    ----------
    losses : dict of (system, form) to ndarray of float, shape (steps,) or shorter
        A slow engine proves fewer.
    reference : ndarray of float, shape (steps,)
    note : str, optional

    Returns
    -------
    Chart
        Its title says how far any two losses of a step lie apart, as a part of the loss.
    """
    if not losses or not all(np.isfinite(run).all() and len(run) <= len(reference) for run in losses.values()):
        raise ValueError(f"expected finite losses of one engine at least, of {len(reference)} steps at most")
    names = [", ".join(key) for key in losses]
    height = max(3.0, ROW * (len(names) + 1) + 0.6)
    chart = new_chart(height, f"{len(names)} forms, one curve: {_apart(losses, reference)}", note)
    room = 0.3 + max(text_width(name, LABEL, "bold") for name in names)
    axes = place(chart, 0.75, 0.5, WIDTH - 0.75 - room - MARGIN, height - 0.6)
    axes.plot(np.arange(1, len(reference) + 1), reference, color=FAINT, lw=9, solid_capstyle="round")
    rows = [("float64, the oracle", MUTED)]
    for key, run in sorted(losses.items(), key=lambda item: item[0][0] in OURS):
        colour = SYSTEM_COLOURS.get(key[0], MUTED)
        axes.plot(np.arange(1, len(run) + 1), run, color=colour, lw=2.2 if key[0] in OURS else 1.2)
        rows.append((", ".join(key), colour))
    for row, (name, colour) in enumerate(rows):
        axes.annotate(name, (1, 1), xycoords="axes fraction", xytext=(12, -6 - 72 * ROW * row), va="center",
                      textcoords="offset points", fontsize=LABEL, fontweight="bold", color=colour)  # fmt: skip
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("step", color=MUTED)
    axes.set_ylabel("loss", color=MUTED)
    chart.alt += f" Engines: {'; '.join(names)}. Loss of the first step {reference[0]:.4f}, "
    chart.alt += f"of step {len(reference)} {reference[-1]:.4f}."
    return chart


def _apart(losses, reference):
    """How far the farthest two losses of a step lie apart, the oracle's among them, as a part of the loss."""
    runs = np.full((len(losses) + 1, len(reference)), np.nan)
    for row, run in enumerate([reference, *losses.values()]):
        runs[row, : len(run)] = run
    part = np.max((np.nanmax(runs, axis=0) - np.nanmin(runs, axis=0)) / np.abs(reference))
    if part == 0:
        return "the losses of a step are equal to the last bit"
    return f"no two losses of a step differ by more than 1 part in {float(f'{1 / part:.2g}'):,.0f}"
