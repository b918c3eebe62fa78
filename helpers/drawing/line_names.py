"""Names of many lines: a column beside the axes, tied to the lines' ends, or a number at each end and a list.

Knows axes, places and text; must not learn what a line stands for.
"""

import numpy as np
from matplotlib.patheffects import withStroke

from helpers.drawing.figure_style import MUTED

# a leader must not look like a part of the line that it names: it is grey and dotted, and lies below all data
LEADER = {"color": MUTED, "lw": 0.7, "linestyle": (0, (1, 2.5)), "zorder": 1}
ASIDE = 10  # points from a point of the data to a name that is tied to it
NUMBER_HEIGHT, DIGIT_WIDTH = 9.5, 6.5  # points that a number takes at a line's end


def spread(wanted, sizes, low, high):
    """Heights at which labels of given sizes do not overlap, as near to the wanted ones as that allows.

    Parameters
    ----------
    wanted, sizes : sequence of float, shape (labels,)
        Middles in rising order, and heights.
    low, high : float
        Where labels may stand; they leave it at the top where they take more room than that.

    Returns
    -------
    ndarray of float, shape (labels,)
        Middles in the same order.
    """
    sizes = np.asarray(sizes, float)
    stacked = np.cumsum(sizes) - sizes / 2  # middles, were all labels stacked on 0
    blocks = []  # labels that touch: [sum of the wanted bottoms of their stack, labels]
    for bottom in np.asarray(wanted, float) - stacked:
        blocks.append([bottom, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    bottoms = np.concatenate([np.full(count, total / count) for total, count in blocks])
    return np.clip(bottoms, low, max(low, high - sizes.sum())) + stacked


def name_column(axes, ends, weight="normal", size=9.5):
    """Write names below each other beside the axes, each tied to its line's last point by a leader.

    Parameters
    ----------
    axes : Axes
        With its lines and limits set, and room for the longest name and 0.3 inches at its right.
    ends : iterable of (name, x, y, colour) or (name, x, y, colour, shift)
        Last point of each line, and by how many points to the right it is drawn; a name may have several lines.
    """
    axes.autoscale_view()
    line, ends = 1.38 * size, sorted(ends, key=lambda end: end[2])
    width, height = _points(axes)
    places = [_place(axes, x, y) + (sum(shift), 0) for _, x, y, _, *shift in ends]
    sizes = [line * (name.count("\n") + 1) for name, *_ in ends]
    middles = spread([up for _, up in places], sizes, -line / 2, height + line / 2)
    for (name, _, _, colour, *_), place, middle in zip(ends, places, middles):
        _tie(axes, place, (width + 9, middle))
        axes.annotate(name, (width + 12, middle), xycoords="axes points", va="center", fontsize=size,
                      fontweight=weight, color=colour, annotation_clip=False)  # fmt: skip


def tie_names(axes, points, colour, size):
    """Write names at the left of points; where these lie too close, below each other and tied to them.

    Parameters
    ----------
    axes : Axes
        With its lines and limits set.
    points : iterable of (name, x, y)
    """
    points = sorted(points, key=lambda point: point[2])
    places = np.array([_place(axes, x, y) for _, x, y in points])
    middles = spread(places[:, 1], np.full(len(points), 1.25 * size), 0, _points(axes)[1])
    edge = places[:, 0].min() - ASIDE
    for (name, *_), (across, up), middle in zip(points, places, middles):
        moved = abs(middle - up) > size / 2
        end = min(edge, across - ASIDE) if moved else across - ASIDE / 2
        if moved:
            _tie(axes, (across, up), (end, middle))
        axes.annotate(name, (end - 2, middle), xycoords="axes points", ha="right", va="center", fontsize=size,
                      color=colour, annotation_clip=False)  # fmt: skip


def number_ends(axes, ends, size=8):
    """Write a number above each line's last point; where another one stands there, farther up and tied to it.

    Parameters
    ----------
    axes : Axes
        With its lines and limits set.
    ends : iterable of (number, x, y, colour)
        A number is text of a few digits.
    """
    groups, taken, height = {}, [], _points(axes)[1]
    for end in sorted(ends, key=lambda end: end[1:3]):
        groups.setdefault(end[1], []).append(end)
    for alike in sorted(groups.values(), key=len, reverse=True):  # what ends together stands in the order of its ends
        places = np.array([_place(axes, x, y) for _, x, y, _ in alike])
        middles = spread(places[:, 1] + 9, np.full(len(alike), NUMBER_HEIGHT), 5, height - 5)
        for (number, _, _, colour), (across, up), middle in zip(alike, places, middles):
            half = DIGIT_WIDTH * len(number) / 2
            rivals = [other for left, right, other in taken if left < across + half and across - half < right]
            if len(alike) == 1:
                middle = _free(middle, rivals, height)
            taken.append((across - half, across + half, middle))
            if abs(middle - up) > 1.5 * NUMBER_HEIGHT:
                _tie(axes, (across, up), (across, middle))
            text = axes.annotate(number, (across, middle), xycoords="axes points", ha="center", va="center",
                                 fontsize=size, fontweight="bold", color=colour, annotation_clip=False)  # fmt: skip
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _free(middle, rivals, height):
    """The first height from `middle` on, or else below it, at which a number meets none of its `rivals`."""
    above = np.arange(middle, height, NUMBER_HEIGHT / 4)
    below = np.arange(middle, 0, -NUMBER_HEIGHT / 4)
    free = (place for place in (*above, *below) if all(abs(place - other) >= NUMBER_HEIGHT for other in rivals))
    return next(free, middle)


def _tie(axes, point, label):
    """A leader between two places, given in points from the axes' corner."""
    line = {"arrowstyle": "-", "shrinkA": 0, "shrinkB": 2, "patchA": None, **LEADER}
    axes.annotate("", point, label, xycoords="axes points", textcoords="axes points", annotation_clip=False,
                  arrowprops=line)  # fmt: skip


def _place(axes, x, y):
    """Where a point of the data lies, in points from the axes' lower left corner."""
    return (axes.transData.transform((x, y)) - axes.bbox.min) * 72 / axes.figure.dpi


def _points(axes):
    """Width and height of axes in points."""
    return axes.bbox.width * 72 / axes.figure.dpi, axes.bbox.height * 72 / axes.figure.dpi
