"""Charts of growth: an epoch's time against one size of the work, with a fitted power and the card's limit.

Knows measurement records and the frame in charts.py; must not learn how anything is measured.
"""

from dataclasses import replace

import numpy as np

from helpers.drawing.charts import checked, conditions
from helpers.drawing.figure_style import INK
from helpers.drawing.system_lines import (
    GROWN,
    HOST,
    UNIT_SECONDS,
    described,
    draw_lines,
    lines_over,
    log_axes,
    mark_values,
    scaled_note,
)


def plot_growth(records, title=None):
    """Time of an epoch against what grows, with a fitted power and the card's limit.

    Parameters
    ----------
    records : list of dict
        Experiment "growth" of one `by`, network, data set, precision and card, and of one batch unless that grows:
        value, median, min, max, unit, and "floor" in that unit where a card was.
    title : str, optional

    Returns
    -------
    Chart
        Names carry the exponent p of time ~ value^p, fitted by least squares in logarithms to the upper half.
    """
    records = checked(records, "growth")
    if len(by := {record["by"] for record in records}) > 1:
        raise ValueError(f"records grow by {', '.join(sorted(by))}; draw one of them at a time")
    free = ("batch_size",) if "batch" in by else ()
    grown, lines, powers = GROWN[by.pop()], [], {}
    for line in lines_over(records, "value", free):
        power = fitted_power(line.x, line.y)
        shown = f"{power:.2f}".replace("-", "\u2212")
        lines.append(replace(line, name=f"{line.name} (power {shown})"))
        if line.system not in HOST:
            powers.setdefault(line.ours, []).append(power)
    limit = "dashed: the card's limit" * ("floor" in records[0])
    spread = "upright lines: fastest to slowest, side by side at each value"
    note = conditions(
        records, records[0]["dataset"], *scaled_note(records), spread, "power fitted to the upper half", limit
    )
    chart, axes = log_axes(lines, title or _doubled(grown, powers), note, grown, "one epoch")
    floors = {
        record["value"]: record["floor"] * UNIT_SECONDS[record["unit"]] for record in records if "floor" in record
    }
    if floors:
        axes.plot(*zip(*sorted(floors.items())), color=INK, lw=1.2, ls=(0, (4, 3)))
    draw_lines(axes, lines)
    mark_values(axes, (record["value"] for record in records))
    return described(chart, lines, grown)


def _doubled(grown, powers):
    """Title: what twice the size costs ours and the frameworks; `powers` are lists by whether they are ours."""
    if True not in powers:
        return f"An epoch over the {grown}"
    ends = {ours: (min(found), max(found)) for ours, found in powers.items()}
    shown = {ours: " to ".join(dict.fromkeys(f"{2**power:.2g}\u00d7" for power in both)) for ours, both in ends.items()}
    others = f", {shown[False]} for the frameworks" if False in shown else ""
    return f"Twice the {grown}: {shown[True]} the time for ours{others}"


def fitted_power(x, y):
    """Exponent p of y ~ x^p by least squares in logarithms, from the upper half of the points, two at least."""
    order = np.argsort(x)[-max(2, -(-len(x) // 2)) :]
    if len(order) < 2:
        raise ValueError(f"a power needs two points at least; there are {len(x)}")
    return float(np.polyfit(np.log(np.asarray(x, float)[order]), np.log(np.asarray(y, float)[order]), 1)[0])
