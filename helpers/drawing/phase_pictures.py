"""The time of a step of the fused kernel by phase, as one bar.

Knows the names of phases and the frame in charts.py; must not learn how cycles are counted or what a phase does.
"""

import math
from dataclasses import dataclass

from helpers.drawing.charts import SEPARATOR, add_list, new_chart, text_width
from helpers.drawing.figure_style import BLUE, FAINT, GREEN, INK, MUTED, ORANGE
from helpers.drawing.stacked_bars import (
    LEADERS,
    LINE,
    ROOM,
    SIZE,
    SPACE,
    Segment,
    draw_bar,
    fits,
    inch_axes,
    lead_out,
    spread,
    that_fit,
)
from helpers.number_text import show_share, show_time

BAR, FLOOR, HEADS, FOOT = 0.55, 0.34, 0.32, 0.06  # inches: the bar, the floor's row, names of kinds, below them


@dataclass(frozen=True)
class Kind:
    """Phases that belong together: how a title begins, their label and colour, and how their names end, if alike."""

    title: str
    label: str
    colour: str
    ending: str = ""


KINDS = {
    "load": Kind("Loading takes", "load", FAINT),
    "forward": Kind("The forward pass takes", "forward", BLUE, " forward"),
    "loss": Kind("The loss takes", "loss", MUTED),
    "backward": Kind("The backward pass takes", "backward", ORANGE, " backward"),
    "exchange": Kind("Exchange and update take", "exchange and update", GREEN),
}  # in the order of a step
NAMES = {
    "load": "load",
    "copies": "load",
    "loss": "loss",
    "publish": "exchange",
    "wait for the images": "exchange",
    "sum gradients": "exchange",
    "update": "exchange",
    "wait for the update": "exchange",
}


def kind_of(name):
    """The key in KINDS of a phase.

    Raises
    ------
    ValueError
        For a name that is none of NAMES and says neither forward nor backward.
    """
    for key, kind in KINDS.items():
        if NAMES.get(name) == key or kind.ending and name.endswith(kind.ending):
            return key
    raise ValueError(f"phase {name!r} is neither forward nor backward nor one of {', '.join(NAMES)}")


def draw_phases(names, cycles, clock_hz, note="", floor_cycles=None):
    """A step of the fused kernel from its first phase to its last one; phases of one name are added.

    Parameters
    ----------
    names : sequence of str
        As `epoch_kernel` returns them.
    cycles : sequence of float
        Of one step, in the order of `names`.
    clock_hz : float
        Cycles a second.
    note : str
        What held for the measurement.
    floor_cycles : float, optional
        What a step's arithmetic alone would take at the card's rate; drawn as a mark.

    Returns
    -------
    Chart
    """
    phases = _in_order(names, cycles)
    total, floor = sum(phases.values()), FLOOR if floor_cycles is not None else 0
    segments = _segments(phases, total, clock_hz)
    outside = [segment for segment in segments if not fits(segment, BAR)]
    crowded = that_fit(outside)[1]
    left_out = f"phases too short for a name: {len(crowded)}" if crowded else ""
    height = FOOT + HEADS + floor + BAR + LEADERS + LINE
    chart = new_chart(height, _claim(phases, clock_hz), SEPARATOR.join(part for part in (note, left_out) if part))
    axes, bottom = inch_axes(chart, height), FOOT + HEADS + floor
    lead_out(axes, draw_bar(axes, segments, bottom, BAR), bottom + BAR)
    _head_kinds(axes, phases, total, clock_hz)
    if floor_cycles is not None:
        text = f"arithmetic alone: {_time(floor_cycles, clock_hz)}, {show_share(floor_cycles / total)}"
        _mark_floor(axes, floor_cycles / total * ROOM, text, bottom)
        chart.alt += f" {text[0].upper()}{text[1:]}."
    return add_list(chart, phases, [_time(count, clock_hz) for count in phases.values()])


def _in_order(names, cycles):
    """{name: cycles} of a step, one entry a name, kinds in the order of a step."""
    if len(names) != len(cycles) or not len(names):
        raise ValueError(f"{len(names)} names and {len(cycles)} numbers of cycles; expected one for each of some names")
    if not all(0 <= count < math.inf for count in cycles) or not sum(cycles):
        raise ValueError(f"cycles are {list(cycles)}; expected counts, not all of them 0")
    order, phases = list(KINDS), {}
    for name, count in sorted(zip(names, cycles), key=lambda phase: order.index(kind_of(phase[0]))):
        phases[name] = phases.get(name, 0) + count
    return phases


def _by_kind(phases):
    """{key of a kind: its phases}, of kinds that occur."""
    found = {}
    for name, count in phases.items():
        found.setdefault(kind_of(name), {})[name] = count
    return found


def _claim(phases, clock_hz):
    """Title: the kind that takes the most."""
    total, sums = sum(phases.values()), {key: sum(part.values()) for key, part in _by_kind(phases).items()}
    largest = max(sums, key=sums.get)
    share = show_share(sums[largest] / total)
    return f"{KINDS[largest].title} {share} of a step's {_time(total, clock_hz)}"


def _time(cycles, clock_hz):
    return show_time(1e6 * cycles / clock_hz, "us")


def _segments(phases, total, clock_hz):
    """A segment a phase; its name without what its kind's heading says."""
    left, segments = 0, []
    for name, count in phases.items():
        kind, width = KINDS[kind_of(name)], count / total * ROOM
        short = name.removesuffix(kind.ending).replace("wait for ", "wait for\n").replace("sum ", "sum\n")
        segments.append(Segment(short, _time(count, clock_hz), left, width, kind.colour))
        left += width
    return segments


def _head_kinds(axes, phases, total, clock_hz):
    """Below the bar a line and a heading for each kind of several phases; a single one has its own label."""
    left, heads = 0, []
    for key, part in _by_kind(phases).items():
        width = sum(part.values()) / total * ROOM
        if len(part) > 1 or KINDS[key].ending:
            time, share = _time(sum(part.values()), clock_hz), show_share(sum(part.values()) / total)
            heads.append((f"{KINDS[key].label} {time}, {share}", left, width))
        left += width
    texts = [text for text, _, _ in heads]
    middles = [left + width / 2 for _, left, width in heads]
    places = spread(middles, [text_width(text, SIZE, "bold") + 0.1 for text in texts], 3 * SPACE, ROOM)
    for (text, left, width), x in zip(heads, places):
        axes.plot([left + 0.05, left + width - 0.05], [FOOT + HEADS - 0.08] * 2, color=INK, lw=1)
        axes.text(x, FOOT, text, ha="center", va="bottom", fontsize=SIZE, fontweight="bold", color=INK)


def _mark_floor(axes, length, text, top):
    """A bar of its own, as long as the arithmetic takes, in a row below the step's."""
    y, high = top - 0.19, 0.13
    axes.barh(y, length, high, color=INK)
    fits_beside = length + 0.16 + text_width(text, SIZE) <= ROOM
    axes.text(length + (0.08 if fits_beside else -0.12), y, text, ha="left" if fits_beside else "right", va="center",
              fontsize=SIZE, color=INK, bbox={"facecolor": "white", "pad": 1, "linewidth": 0})  # fmt: skip
