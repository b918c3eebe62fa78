"""Stacked bars whose segments carry their names: inside where they fit, else above, at the end of a line.

Works in inches on axes without a scale. Knows the frame in charts.py; must not learn what a segment stands for.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from helpers.drawing.charts import MARGIN, WIDTH, place, text_width
from helpers.drawing.figure_style import INK, MUTED

SIZE = 8.8  # points of labels
LINE = 0.145  # inches of a line of them
SPACE = 0.08  # inches at least between labels
ROOM = WIDTH - 2 * MARGIN  # inches that a bar may be long
LEADERS = 2 * LINE + 0.17  # inches above a bar that labels and their lines take


@dataclass(frozen=True)
class Segment:
    """A piece of a bar from `left`, `width` inches long, with `name` and `value`, and how it looks."""

    name: str
    value: str
    left: float
    width: float
    colour: str
    ink: str = INK
    hatch: str = ""
    edge: str = "white"

    @property
    def middle(self):
        return self.left + self.width / 2

    @cached_property
    def label_width(self):
        return max(text_width(text, SIZE) for text in (*self.name.splitlines(), self.value)) + 0.02

    @property
    def line(self):
        """The label on one line."""
        return f"{self.name}, {self.value}"


def inch_axes(chart, height):
    """Axes as wide as a chart without its margins, from the bottom up to `height`, measured in inches."""
    axes = place(chart, MARGIN, 0, ROOM, height)
    axes.set(xlim=(0, ROOM), ylim=(0, height), xticks=[], yticks=[])
    return axes


def draw_bar(axes, segments, bottom, height):
    """Draw segments, with labels inside where they fit, on two lines or, in a low bar, on one.

    Returns
    -------
    list of Segment
        Those whose labels do not fit.
    """
    outside = []
    for segment in segments:
        axes.add_patch(
            Rectangle((segment.left, bottom), segment.width, height, facecolor=segment.colour, edgecolor=segment.edge,
                      linewidth=0.8, hatch=segment.hatch)
        )  # fmt: skip
        if not fits(segment, height):
            outside.append(segment)
            continue
        text = f"{segment.name}\n{segment.value}" if height > 2 * LINE else segment.line
        label = axes.text(segment.middle, bottom + height / 2, text, ha="center", va="center", fontsize=SIZE,
                          color=segment.ink, linespacing=1.15)  # fmt: skip
        if segment.hatch:
            label.set_path_effects([withStroke(linewidth=4, foreground=segment.colour)])
    return outside


def fits(segment, height):
    """Whether a segment of a bar of that height can hold its label."""
    return (segment.label_width if height > 2 * LINE else text_width(segment.line, SIZE)) + 0.06 <= segment.width


def lead_out(axes, segments, top, length=ROOM):
    """Write labels above a bar that ends at the height `top`, each with a line to its segment.

    The labels of the narrowest segments are left out where not all fit side by side.

    Parameters
    ----------
    axes : Axes
    segments : list of Segment
        From left to right.
    top : float
    length : float
        Inches from the left that labels may take.

    Returns
    -------
    list of Segment
        Those left out.
    """
    kept, dropped = that_fit(segments, length)
    places = spread([s.middle for s in kept], [s.label_width for s in kept], SPACE, length)
    foot = top + LEADERS - 2 * LINE
    for segment, x in zip(kept, places):
        axes.plot([segment.middle, segment.middle, x], [top, top + 0.03, foot - 0.03], color=MUTED, lw=0.7)
        axes.text(x, foot, f"{segment.name}\n{segment.value}", ha="center", va="bottom", fontsize=SIZE, color=INK,
                  linespacing=1.15)  # fmt: skip
    return dropped


def that_fit(segments, length=ROOM):
    """(segments whose labels fit side by side, those that do not: the narrowest)."""
    kept, dropped = list(segments), []
    while kept and sum(segment.label_width + SPACE for segment in kept) > length + SPACE:
        dropped.append(kept.pop(min(range(len(kept)), key=lambda i: kept[i].width)))
    return kept, dropped


def spread(wanted, widths, space, length):
    """Middles of labels close to the `wanted` ones, in their order, none over another or outside [0, length].

    Labels that would meet move apart by the same distance, as one group (isotonic regression).

    Parameters
    ----------
    wanted, widths : sequences of float
        Ascending; together the widths and spaces take at most `length`.

    Returns
    -------
    ndarray of float
    """
    widths = np.asarray(widths, float)
    if not len(widths):
        return widths
    apart = np.concatenate([[0.0], np.cumsum((widths[:-1] + widths[1:]) / 2 + space)])
    groups = []  # sum and number of the members, whose distances to the first label are given by `apart`
    for value in wanted - apart:
        groups.append((value, 1))
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            (first, many), (second, more) = groups[-2:]
            groups[-2:] = [(first + second, many + more)]
    free = np.concatenate([np.full(count, total / count) for total, count in groups])
    return apart + np.clip(free, widths[0] / 2, length - widths[-1] / 2 - apart[-1])
