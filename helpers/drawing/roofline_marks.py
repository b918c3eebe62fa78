"""What a roofline chart shows beside its lines: the card's two limits around their bend, and batches at points.

Knows axes and places; must not learn what a system is or how anything is measured.
"""

import numpy as np
from matplotlib.patheffects import withStroke

from helpers.drawing.figure_style import INK
from helpers.drawing.line_names import tie_names

AROUND = 2.4  # the axis goes on by this factor beyond its outermost point or the bend
HEAD = 1.6  # room for a name above the flat part
SIZE = 8.5  # points


def draw_limits(axes, peak, bandwidth, points):
    """Draw the card's limits with their names, and set the x axis so that their bend lies within it.

    Parameters
    ----------
    axes : Axes
        Both scales logarithmic.
    peak, bandwidth : float
        FLOP/s and bytes a second of the card; the limits bend at `peak / bandwidth` FLOP a byte.
    points : ndarray of float, shape (points, 2)
        FLOP a byte and FLOP/s of everything that is to be drawn.
    """
    bend, across = peak / bandwidth, points[:, 0]
    low, high = min(across.min(), bend) / AROUND, max(across.max(), bend) * AROUND
    axes.plot([low, bend, high], [low * bandwidth, peak, peak], color=INK, lw=1.2, zorder=1.5)
    axes.set_xlim(low, high)
    axes.set_ylim(min(points[:, 1].min(), low * bandwidth) / 1.4, max(points[:, 1].max(), peak) * HEAD)
    style = {"textcoords": "offset points", "fontsize": SIZE, "color": INK, "va": "bottom"}
    style["path_effects"] = [withStroke(linewidth=2, foreground="white")]  # readable where a line of the grid passes
    flat = f"arithmetic: {_amount(peak)}FLOP/s in fp32"
    axes.annotate(flat, (high, peak), xytext=(0, 3), ha="right", **style)
    middle = np.sqrt(low * bend)
    start, end = axes.transData.transform([(low, low * bandwidth), (bend, peak)])
    angle = np.degrees(np.arctan2(*(end - start)[::-1]))
    axes.annotate(f"memory: {_amount(bandwidth)}B/s", (middle, middle * bandwidth), xytext=(-3, 3), ha="center",
                  rotation=angle, rotation_mode="anchor", **style)  # fmt: skip


def _amount(value):
    """A number of thousands of millions, or of a thousand times as many, in three digits with the unit's first letter.

    >>> _amount(3.35e12), _amount(3e11)
    ('3.35 T', '300 G')
    """
    factor, letter = (1e12, "T") if value >= 1e12 else (1e9, "G")
    return f"{value / factor:.3g} {letter}"


def write_batches(axes, line, names):
    """Write what each point of a line is beside it, at the left; below each other where points lie close."""
    tie_names(axes, zip(names, line.x, line.y), line.colour, SIZE - 1)
