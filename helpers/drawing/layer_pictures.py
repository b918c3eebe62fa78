"""Pictures of what layers do to an image, and curves of how a network learns; each is a Chart of charts.py.

Knows arrays and the frame in charts.py; must not learn how a layer is computed or where the numbers come from.
"""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from helpers.drawing.charts import (
    MARGIN,
    SEPARATOR,
    WIDTH,
    name_ends,
    new_chart,
    place,
    text_width,
)
from helpers.drawing.figure_style import BLUE, DEEP_BLUE, DEEP_ORANGE, FAINT, INK, MUTED, ORANGE
from helpers.number_text import show_power, show_share

SIGNED = LinearSegmentedColormap.from_list("signed", [DEEP_BLUE, "white", DEEP_ORANGE])
COLOURS = (ORANGE, DEEP_BLUE, INK, MUTED)
COLOUR_WORDS = "orange above zero, blue below"  # what SIGNED means
LABEL_SIZE = 9.5


def draw_images(images, labels, title, note=""):
    """One row of images with their labels.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W, 1)
    labels : sequence of int

    Returns
    -------
    Chart
    """
    size = (WIDTH - 2 * MARGIN) / len(images)
    chart = new_chart(size + 0.25, title, note)
    for index, (image, label) in enumerate(zip(images, labels)):
        axes = _picture(chart, MARGIN + index * size, 0.25, size - 0.08, image[..., 0], cmap="gray_r", vmin=0, vmax=255)
        axes.set_xlabel(str(label), fontsize=LABEL_SIZE, color=INK, labelpad=2)
    chart.alt += f" Labels: {', '.join(map(str, labels))}."
    return chart


def draw_window(image, w, y, row, column, title):
    """One output of a convolution: its window in the image, window and filter as numbers, its cell in the output.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    w : ndarray, shape (R, S)
    y : ndarray, shape (H - R + 1, W - S + 1)
    row, column : int
        Of the output.

    Returns
    -------
    Chart
    """
    (R, S), side, top = w.shape, 1.75, 0.3
    window = image[row : row + R, column : column + S]
    chart = new_chart(side + top + 0.05, title, f"output: {COLOUR_WORDS}")
    lefts = MARGIN + np.arange(4) * (side + 0.2)
    axes = _picture(chart, lefts[0], top, side, image, cmap="gray_r")
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), S, R, fill=False, ec=ORANGE, lw=2))
    grids = [_numbers(chart, left, top, side, a) for left, a in ((lefts[1], window), (lefts[2], w))]
    result = _picture(chart, lefts[3], top, side, y, cmap=SIGNED, vmin=-np.abs(y).max(), vmax=np.abs(y).max())
    result.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2))
    names = (f"image x, {_size(image)}", f"window, {R} x {S}", f"filter w, {R} x {S}", f"output y, {_size(y)}")
    for each, name in zip((axes, *grids, result), names):
        each.set_xlabel(name, fontsize=LABEL_SIZE, color=MUTED, labelpad=4)
    chart.alt += f" Output ({row}, {column}) reads the {R} x {S} window that starts at the same row and column."
    return chart


def draw_pooling(x, y, dy, dx, chosen, title):
    """Pooling of one channel, forward and backward, with the cells that count in colour.

    Parameters
    ----------
    x, dx : ndarray, shape (H, W)
    y, dy : ndarray, shape (H', W')
    chosen : ndarray of bool, shape (H, W)
        Cells to colour in x and dx.

    Returns
    -------
    Chart
    """
    side, top = 1.7, 0.3
    chart = new_chart(side + top + 0.05, title)
    parts = (("input x", x, chosen), ("output y", y, None), ("gradient dy", dy, None), ("gradient dx", dx, chosen))
    for index, (name, values, marked) in enumerate(parts):
        axes = _numbers(chart, MARGIN + index * (side + 0.25), top, side, values, marked)
        axes.set_xlabel(name, fontsize=LABEL_SIZE, color=MUTED, labelpad=4)
        if marked is not None:
            step = len(x) // len(y)
            for edge in range(0, len(x) + 1, step):
                axes.axhline(edge - 0.5, color=INK, lw=1.4)
                axes.axvline(edge - 0.5, color=INK, lw=1.4)
    chart.alt += f" Input {x.tolist()}, output {y.tolist()}, gradient {dy.tolist()} becomes {dx.tolist()}."
    return chart


def draw_matrix_of_windows(image, matrix, window, row, title):
    """An image beside the matrix whose rows are its windows; one window is marked in both.

    Parameters
    ----------
    image : ndarray, shape (H, W)
    matrix : ndarray, shape (windows, R * S)
    window : (R, S)
    row : int
        Of the matrix, to mark.

    Returns
    -------
    Chart
    """
    height, top = 0.3 * len(matrix), 0.3
    chart = new_chart(height + top + 0.05, title)
    side = min(height, 1.9)
    marked = np.zeros(image.shape, bool)
    start = np.unravel_index(row, (image.shape[0] - window[0] + 1, image.shape[1] - window[1] + 1))
    marked[start[0] : start[0] + window[0], start[1] : start[1] + window[1]] = True
    axes = _numbers(chart, MARGIN, top + height - side, side, image, marked)
    axes.set_xlabel(f"image, {_size(image)}", fontsize=LABEL_SIZE, color=MUTED, labelpad=4)
    rows = np.zeros(matrix.shape, bool)
    rows[row] = True
    left = MARGIN + side + 0.5
    axes = _numbers(chart, left, top, min(WIDTH - left - MARGIN, 0.45 * matrix.shape[1]), matrix, rows, height)
    axes.set_xlabel(f"one window a row, {_size(matrix)}", fontsize=LABEL_SIZE, color=MUTED, labelpad=4)
    chart.alt += f" Row {row} of the matrix holds the window that starts at {tuple(map(int, start))}."
    return chart


def draw_filters(rows, title, note=""):
    """Rows of small pictures with signed values, each row on its own scale: orange above zero, blue below.

    Parameters
    ----------
    rows : dict of name to ndarray, shape (H, W, K)
        K pictures a row, the same K in all.

    Returns
    -------
    Chart
    """
    left = MARGIN + 0.15 + max(text_width(name, LABEL_SIZE) for name in rows)
    size = (WIDTH - left - MARGIN) / next(iter(rows.values())).shape[2]
    words = f"{COLOUR_WORDS}, each row on its own scale"
    chart = new_chart(size * len(rows), title, SEPARATOR.join(part for part in (note, words) if part))
    for index, (name, pictures) in enumerate(rows.items()):
        limit = np.abs(pictures).max()
        for k in range(pictures.shape[2]):
            place_left, bottom = left + k * size, size * (len(rows) - 1 - index) + 0.05
            axes = _picture(
                chart, place_left, bottom, size - 0.1, pictures[..., k], cmap=SIGNED, vmin=-limit, vmax=limit
            )
            axes.spines[:].set(visible=True, color=FAINT)
            if k == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=LABEL_SIZE, color=INK, labelpad=8)
    chart.alt += f" Rows: {', '.join(rows)}."
    return chart


def draw_lines(lines, title, x_label, y_label, note="", log="", percent=False):
    """Lines named at their right end.

    Parameters
    ----------
    lines : dict of name to (x, y)
    title, x_label, y_label, note : str
    log : {"", "x", "y", "xy"}
        Axes with a logarithmic scale.
    percent : bool
        Show y, 0 to 1, in per cent.

    Returns
    -------
    Chart
    """
    room = 0.2 + max(text_width(name, LABEL_SIZE, "bold") for name in lines)
    chart = new_chart(3.1, title, note)
    axes = place(chart, 0.85, 0.5, WIDTH - 0.85 - room - MARGIN, 2.5)
    axes.set_xscale("log" if "x" in log else "linear")
    axes.set_yscale("log" if "y" in log else "linear")
    for letter, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        axis.set_minor_formatter(NullFormatter())
        if letter in log:
            axis.set_major_formatter(FuncFormatter(show_power))
    for (_, (x, y)), colour in zip(lines.items(), COLOURS):
        axes.plot(x, y, color=colour, lw=2, marker="o" if len(x) < 25 else "", ms=3.5)
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, color=MUTED)
    axes.set_ylabel(y_label, color=MUTED)
    if "x" not in log:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if percent:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show_share(value, 1)))
    colours = zip(lines.items(), COLOURS)
    name_ends(axes, [(name, x[-1], y[-1], colour) for (name, (x, y)), colour in colours], "bold", LABEL_SIZE)
    ends = "; ".join(f"{name}: from {y[0]:.3g} to {y[-1]:.3g}" for name, (_, y) in lines.items())
    chart.alt += f" {y_label} over {x_label}. {ends}."
    return chart


def _picture(chart, left, bottom, side, image, **options):
    """Square axes with an image and no ticks."""
    axes = place(chart, left, bottom, side, side)
    axes.imshow(image, interpolation="nearest", **options)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _numbers(chart, left, bottom, width, values, marked=None, height=None):
    """A grid of numbers; cells of `marked` are coloured."""
    axes = place(chart, left, bottom, width, height or width)
    rows, columns = values.shape
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    whole = np.array_equal(values, np.round(values))
    cell = width / columns
    for row, column in np.ndindex(rows, columns):
        colour = ORANGE if marked is not None and marked[row, column] else "white"
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fc=colour, ec=BLUE, lw=0.8, alpha=0.85))
        text = f"{values[row, column]:.{0 if whole else 1}f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=min(11, 30 * cell), color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def _size(values):
    return " x ".join(map(str, values.shape))
