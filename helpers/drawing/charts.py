"""The frame of every chart: sizes, title, labels, alternative text, small PNG files.

Knows matplotlib, figure_style and what all records share; must not learn what is drawn. No pyplot: nothing here
changes global state.
"""

import io
import os
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from PIL import Image

from helpers.atomic import write_atomically
from helpers.drawing.figure_style import FAINT, INK, MUTED, STYLE
from helpers.report import origin

FIGURES = Path(os.environ.get("CNN_FIGURES", Path(__file__).resolve().parents[2] / "figures"))
SEPARATOR = " \u00b7 "  # between the parts of a note
WIDTH, DPI, LARGEST_FILE = 8.0, 144, 80_000  # inches, dots an inch, bytes
MARGIN = 0.1  # inches at the left and right


class Chart:
    """A matplotlib `figure` with its alternative text, `alt`; a notebook shows both.

    No subclass of Figure: notebooks draw those themselves and drop the text.
    """

    def __init__(self, figure, alt):
        self.figure, self.alt = figure, alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/png": png_bytes(self.figure)}, {"image/png": {"alt": self.alt, "width": int(WIDTH * 100)}}


def png_bytes(figure):
    """PNG of a figure in 256 colours, or in 64 where it is large; the same figure gives the same bytes.

    Raises
    ------
    ValueError
        If it is larger than 80 KB: then it holds too much for one claim.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    whole = Image.open(buffer).convert("RGB")
    for colours in (256, 64):
        small = io.BytesIO()
        whole.quantize(colours, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        if small.tell() <= LARGEST_FILE:
            return small.getvalue()
    raise ValueError(f"the figure takes {small.tell()} bytes, more than {LARGEST_FILE}; show less in it")


def save_figure(figure, name, folder=FIGURES):
    """Write a figure to figures/<name>.png, at most 80 KB.

    Parameters
    ----------
    figure : Chart, or matplotlib Figure with the attribute `alt`
    name : str
    folder : path

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the figure has no alternative text, or does not get small enough.
    """
    if not getattr(figure, "alt", ""):
        raise ValueError(f"figure {name!r} has no alternative text; set its attribute alt to one sentence")
    path, data = Path(folder) / f"{name}.png", png_bytes(getattr(figure, "figure", None) or figure)
    write_atomically(path, data)
    return path


def text_width(text, size, weight="normal"):
    """Inches that `text` takes at `size` points."""
    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)
    return TextPath((0, 0), text.replace("$", ""), prop=font).get_extents().width / 72 if text.strip() else 0.0


def wrap(text, separator, size, weight="normal"):
    """Lines of `text` that fit a chart's width, broken only at `separator`."""
    lines = []
    for part in text.split(separator) if text else ():
        longer = f"{lines[-1]}{separator}{part}" if lines else part
        if lines and text_width(longer, size, weight) <= WIDTH - 2 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def new_chart(height, title, note=""):
    """An empty chart with its title and a line of conditions.

    Parameters
    ----------
    height : float
        Inches below the title.
    title, note : str
        The claim, and what held when it was measured; wrapped to the width.

    Returns
    -------
    Chart
        Free from the bottom up to `height`; its `alt` says title and note.
    """
    titles, notes = wrap(title, " ", 12.5, "bold"), wrap(note, SEPARATOR, 8.8)
    head = 0.14 + 0.235 * len(titles) + 0.17 * len(notes) + 0.12
    whole = height + head
    with matplotlib.rc_context(STYLE):
        figure, left = Figure(figsize=(WIDTH, whole)), MARGIN / WIDTH
        figure.text(left, 1 - 0.12 / whole, "\n".join(titles), fontsize=12.5, fontweight="bold", va="top", color=INK)
        below = 1 - (0.17 + 0.235 * len(titles)) / whole
        figure.text(left, below, "\n".join(notes), fontsize=8.8, va="top", color=MUTED)
    return Chart(figure, ". ".join(part for part in (title, note) if part) + ".")


def place(chart, left, bottom, width, height):
    """Axes at a place given in inches from the lower left corner, without a frame."""
    total = chart.figure.get_figheight()
    with matplotlib.rc_context(STYLE):
        axes = chart.figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="both", which="both", length=0)
    return axes


def bar_chart(names, title, note, row=0.4, size=10.0, scale=False):
    """A chart of horizontal bars, first name on top, and its axes; `scale` leaves room for a scale below."""
    foot, left = 0.34 if scale else 0.1, MARGIN + 0.08 + max(text_width(name, size) for name in names)
    chart = new_chart(foot + row * len(names), title, note)
    axes = place(chart, left, foot, WIDTH - left - MARGIN, row * len(names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, color=INK, fontsize=size)
    if scale:
        axes.tick_params(axis="x", labelsize=8.5)
        axes.grid(axis="x", color=FAINT, lw=0.8)
        axes.set_axisbelow(True)
    else:
        axes.set_xticks([])
    return chart, axes


def label_bar(axes, end, row, strong, weak="", size=10.0):
    """Write a value in bold and a remark beside the end of a bar."""
    text = axes.annotate(strong, (end, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=size,
                         fontweight="bold", color=INK)  # fmt: skip
    if weak:
        axes.annotate(weak, (1, 0.5), xycoords=text, xytext=(7, 0), textcoords="offset points", va="center",
                      fontsize=size - 1, color=MUTED)  # fmt: skip


def label_bars(axes, labels, size=10.0):
    """Label every bar, and scale the axes so that the longest bar with its label fits.

    Parameters
    ----------
    axes : Axes
        Linear from 0; its scale is set here.
    labels : list of (end, strong, weak)
        By row, as `label_bar` takes them.
    """
    width, limits = axes.get_position().width * WIDTH, []
    for row, (end, strong, weak) in enumerate(labels):
        label_bar(axes, end, row, strong, weak, size)
        gaps = (6 + 7 * bool(weak)) / 72 + MARGIN
        limits.append(end * width / (width - gaps - text_width(strong, size, "bold") - text_width(weak, size - 1)))
    axes.set_xlim(0, max(limits))


def name_ends(axes, ends, weight="normal", size=9.5):
    """Write each line's name beside its last point; names of lines that end together are moved apart.

    Parameters
    ----------
    axes : Axes
        With its lines and limits set: distances between names are measured on it.
    ends : iterable of (name, x, y, colour)
        Last point of each line; a name may have several lines.
    """
    axes.autoscale_view()
    scale, taken, line = 72 / axes.figure.dpi, {}, 13  # points a dot; height used up at each x; points a line of text
    for name, x, y, colour in sorted(ends, key=lambda end: end[2]):
        height, half = axes.transData.transform((x, y))[1] * scale, line * (name.count("\n") + 1) / 2
        middle = max(height, taken.get(x, -np.inf) + half)
        taken[x] = middle + half
        text = axes.annotate(name, (x, y), xytext=(7, middle - height), textcoords="offset points", va="center",
                             fontsize=size, fontweight=weight, color=colour, annotation_clip=False)  # fmt: skip
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])  # readable where a longer line passes


def checked(records, experiment):
    """`records` as a list; raises ValueError where there are none or a number is not finite."""
    records = list(records)
    if not records:
        raise ValueError(f"no records of {experiment}; measure them first: python -m helpers.benchmark")
    for record in records:
        for key in ("median", "min", "max"):
            if not np.isfinite(record[key]):
                raise ValueError(f"{key} of {record.get('form', experiment)} is {record[key]}; measure it again")
    return records


def conditions(records, *more, runs=True):
    """What held for all records: card, batch, precision, number of runs, `more`, and where they come from; one line."""
    parts = [records[0].get("gpu")]
    for key, words in (("batch_size", "batch {}"), ("precision", "{}")):
        values = {record[key] for record in records if key in record}
        parts += [words.format(values.pop())] if len(values) == 1 else []
    counts = sorted({record["runs"] for record in records})
    if runs and counts[-1] > 1:
        parts.append(f"median of {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} runs")
    return SEPARATOR.join(part for part in (*parts, *more, origin(records[0])) if part)


def add_list(chart, names, texts):
    """Add what the bars say to the alternative text; returns the chart."""
    chart.alt += " " + "; ".join(f"{name}: {text}" for name, text in zip(names, texts)) + "."
    return chart
