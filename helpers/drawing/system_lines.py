"""Lines of systems: one for each system and form, in the colour that the system has in every chart.

Knows measurement records and the frame in charts.py; must not learn what an axis stands for.
"""

from dataclasses import dataclass, replace

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from helpers.drawing.charts import MARGIN, WIDTH, new_chart, place, text_width
from helpers.drawing.figure_style import DEEP_BLUE, FAINT, INK, MUTED, ORANGE
from helpers.drawing.form_markers import MARKERS, form_markers
from helpers.drawing.line_names import name_column, number_ends
from helpers.drawing.log_ticks import RoundLogLocator, round_values
from helpers.number_text import show_time

# fixed for every chart of the project; ours is the colour of what a title claims
SYSTEM_COLOURS = {
    **{"layerwise": ORANGE, "fused": ORANGE, "pytorch": DEEP_BLUE, "jax": "#3f8f73", "keras": "#8a63b8"},
    **{"tensorflow": "#a8841c", "vectorized": MUTED, "loops": INK},
}
OURS = ("layerwise", "fused")
HOST = ("loops", "vectorized")  # they leave the card alone
LABEL, MARKER = 9.0, 5.5  # points
STEP, WIDEST = 3.2, 0.4  # points from a line to the next at one x, and all of them as a share of the way to the next x
SLICE, SMALLER = "*", "\u2020"  # at a time that is not that of a whole epoch
MARKS = {SLICE: "scaled from a slice of the epoch", SMALLER: "scaled from steps of a smaller batch"}
UNIT_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
# what the records of one chart share, unless the chart draws it; with the word that a refusal uses
CONDITIONS = {
    **{"gpu": "cards", "network": "networks", "dataset": "data sets", "precision": "precisions"},
    **{"batch_size": "batches", "goal": "goals"},
}
# what a "growth" record's `by` is called
GROWN = {
    **{"batch": "batch", "size": "side of an image", "channels": "filters of a layer"},
    **{"depth": "convolutions", "samples": "images"},
}


@dataclass(frozen=True)
class Line:
    """One form's points: times in seconds, or accuracies; `low` and `high` are the fastest and the slowest run."""

    name: str
    system: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    form: str = ""
    marker: str = "o"

    @property
    def ours(self):
        return self.system in OURS

    @property
    def colour(self):
        return SYSTEM_COLOURS.get(self.system, MUTED)

    @property
    def label(self):
        """The name behind the line's marker."""
        return f"{MARKERS[self.marker]} {self.name}"


def marked(lines):
    """`lines`, each with the marker of its form."""
    markers = form_markers((line.system, line.form) for line in lines)
    return [replace(line, marker=markers[line.system, line.form]) for line in lines]


def system_name(record):
    """What a record's system and form are called in charts and tables."""
    return f"{record['system']}, {record['form']}"


def seconds(record):
    """The median of a record's time in seconds, whatever its unit."""
    return record["median"] * UNIT_SECONDS[record["unit"]]


def time_of(record):
    """A record's median as text, with its mark."""
    return f"{show_time(record['median'], record['unit'])} {_mark(record)}".rstrip()


def _mark(record):
    """The one of MARKS that a record's time carries, or ""."""
    return SMALLER if is_smaller(record) else SLICE if record.get("scaled") else ""


def is_smaller(record):
    """Whether a record's time is that of steps of a smaller batch than it stands for."""
    return "slice_batch" in record and record["slice_batch"] != record["batch_size"]


def marks_of(records):
    """What the marks at the times of records mean, a sentence for each that is there; "" without any."""
    shown = set(map(_mark, records))
    return " ".join(f"{mark} marks times {words}." for mark, words in MARKS.items() if mark in shown)


def scaled_note(records):
    """What the conditions of a chart of lines say where a time is scaled; () where all are whole epochs."""
    return ("epochs beyond a second are scaled from a slice",) * any(record.get("scaled") for record in records)


def refuse_mixtures(records, place, free=()):
    """Raise ValueError where records would merge into one line or cell although they were measured differently.

    Parameters
    ----------
    records : list of dict
        A key that is missing, such as "gpu" without a card, is a value like any other.
    place : tuple of str
        Keys that say where a chart puts a record of a system and form: two at one place are refused.
    free : tuple of str
        Keys of CONDITIONS that may differ beside those in `place`.
    """
    for key, words in CONDITIONS.items():
        values = {record.get(key) for record in records}
        if len(values) > 1 and key not in (*place, *free):
            shown = ", ".join(sorted("none" if value is None else str(value) for value in values))
            raise ValueError(f"the records are of {len(values)} {words} ({shown}), expected one; draw each by itself")
    taken = set()
    for record in records:
        where = (record["system"], record["form"], *(record[key] for key in place))
        if where in taken:
            at = " at " * bool(place) + ", ".join(f"{key} {record[key]}" for key in place)
            raise ValueError(f"{system_name(record)} has two records{at}, expected one; keep the newer one")
        taken.add(where)


def list_beside(axes, lines):
    """The names of lines below each other at the right; the number that a name begins with stands at its line's end."""
    number_ends(axes, [(line.name.split()[0], line.x[-1], line.y[-1], line.colour) for line in lines], LABEL - 1)
    for row, line in enumerate(lines):
        axes.annotate(line.label, (1, 1), xycoords="axes fraction", xytext=(8, -6 - 15 * row), va="center",
                      textcoords="offset points", fontsize=LABEL, fontweight="bold", color=line.colour)  # fmt: skip


def lines_over(records, key, free=()):
    """A `Line` for each system and form, over `key`; the slowest at its last point comes first.

    Raises ValueError where records differ in anything else but what `free` names; see `refuse_mixtures`.
    """
    refuse_mixtures(records, (key,), free)
    points = {}
    for record in sorted(records, key=lambda record: record[key]):
        points.setdefault(system_name(record), []).append(record)
    lines = []
    for name, found in points.items():
        x = np.array([record[key] for record in found], float)
        scale = np.array([UNIT_SECONDS[record["unit"]] for record in found])
        y, low, high = (scale * [record[part] for record in found] for part in ("median", "min", "max"))
        lines.append(Line(name, found[0]["system"], x, y, low, high, found[0]["form"]))
    return marked(sorted(lines, key=lambda line: -line.y[-1]))


def log_axes(lines, title, note, x_label, y_label, log_y=True, height=None, tick=None):
    """A chart and its axes with room for the names of `lines` at the right; `tick` writes a value, or else a time."""
    room = 0.3 + 1.04 * max(text_width(line.label, LABEL, "bold") for line in lines)  # drawn text is a little wider
    height, tick, left = height or max(3.0, 0.21 * len(lines) + 1.0), tick or short_time, 0.75
    if log_y:
        low, high = (extreme([extreme(line.y) for line in lines]) for extreme in (np.min, np.max))
        left = max(left, 0.36 + max(text_width(tick(value), 8.8) for value in round_values(low / 1.1, high * 1.1)))
    chart = new_chart(height, title, note)
    axes = place(chart, left, 0.5, WIDTH - left - room - MARGIN, height - 0.6)
    axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis)[: 1 + log_y]:
        axis.set_major_locator(RoundLogLocator())
        axis.set_minor_locator(NullLocator())
    if log_y:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, color=MUTED)
    axes.set_ylabel(y_label, color=MUTED)
    return chart, axes


def mark_values(axes, values):
    """Ticks of the x axis at the values that were measured, written whole; a single one stands in the middle."""
    values = sorted(set(values))
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(values) == 1:
        axes.set_xlim(values[0] / 2, values[0] * 2)


def short_time(seconds):
    """A time for a tick, as it is and in as few digits as that takes, e.g. 10 ms, 1.5 s, 1,000 s."""
    seconds = float(f"{seconds:.9g}")  # 1 ms is not 1,000 us for an error in the last bit
    factor, unit = (1e6, "\u00b5s") if seconds < 1e-3 else (1e3, "ms") if seconds < 1 else (1, "s")
    return f"{_plain(seconds * factor)} {unit}"


def short_share(share):
    """A share of 1 in per cent for a tick, as it is and in as few digits as that takes, e.g. 98 %, 98.75 %."""
    return f"{_plain(100 * share)}\u00a0%"


def _plain(number):
    """Six significant digits less the zeros at their end, thousands with a comma."""
    text = f"{float(f'{number:.6g}'):,.9f}"
    return text.rstrip("0").rstrip(".")


def draw_lines(axes, lines, named=True):
    """Draw lines with their spread, ours thicker; `named` writes each one's name at its end.

    Lines with a spread stand side by side: at one x, each is moved by a few points, or their spreads would cover each
    other. Only the drawing moves; the data of the axes are as measured.
    """
    shifts = _shifts(axes, lines)
    if (outermost := np.max(np.abs(shifts), initial=0)) > 0:
        edge = outermost + MARKER
        axes.margins(x=edge / (_width(axes) - 2 * edge))
    for line, shift in zip(lines, shifts):
        drawn = axes.plot(line.x, line.y, color=line.colour, lw=2.6 if line.ours else 1.2, marker=line.marker,
                          ms=MARKER, mec="white", mew=0.5, zorder=3 if line.ours else 2)  # fmt: skip
        if line.low is not None:
            drawn.append(axes.vlines(line.x, line.low, line.high, color=line.colour, lw=1))
        for artist in drawn:  # only now: the limits of the axes come from the data as they are
            artist.set_transform(axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans))
    if named:
        name_lines(axes, lines, shifts)


def name_lines(axes, lines, shifts=None):
    """Write each line's marker and name beside the axes, at the height of its end where there is room."""
    shifts = np.zeros(len(lines)) if shifts is None else shifts
    ends = [(line.label, line.x[-1], line.y[-1], line.colour, shift) for line, shift in zip(lines, shifts)]
    name_column(axes, ends, "bold", LABEL)


def _shifts(axes, lines):
    """Points to the right by which each line is moved: equal steps around 0, the first line at the left."""
    if not lines or any(line.low is None for line in lines):
        return np.zeros(len(lines))
    places = np.log(np.unique(np.concatenate([line.x for line in lines])))
    least = _width(axes) * (np.diff(places).min() / np.ptp(places) if len(places) > 1 else 1.0)
    step = min(STEP, WIDEST * least / len(lines))
    return step * (np.arange(len(lines)) - (len(lines) - 1) / 2)


def _width(axes):
    """Width of axes in points."""
    return axes.bbox.width * 72 / axes.figure.dpi


def described(chart, lines, x_name):
    """`chart` with the times of all lines in its alternative text."""
    parts = []
    for line in lines:
        times = ", ".join(f"{show_time(time, 's')} at {value:,.0f}" for value, time in zip(line.x, line.y))
        parts.append(f"{line.name}: {times}")
    chart.alt += f" Time of an epoch by {x_name}. {'; '.join(parts)}."
    return chart
