"""Charts of training on the card: the sample order, what waits for what, and how closely losses agree.

Knows arrays, operations by their tensors, and the frame in charts.py; must not learn where numbers come from.
"""

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from helpers.drawing.charts import (
    SEPARATOR,
    WIDTH,
    add_list,
    conditions,
    name_ends,
    new_chart,
    place,
    text_width,
)
from helpers.drawing.courses import gaps_of
from helpers.drawing.figure_style import BLUE, DEEP_BLUE, DEEP_ORANGE, FAINT, INK, MUTED, ORANGE
from helpers.drawing.line_names import name_column
from helpers.number_text import show_power, show_share, show_time

COLOURS = (ORANGE, DEEP_BLUE, INK)
# of courses of losses, in the order in which they are given
COURSE_COLOURS = (DEEP_ORANGE, DEEP_BLUE, MUTED, "#3f8f73", "#8a63b8", "#a8841c")
COURSE_MARKERS = ("o", "s", "^", "x")


def plot_order(orders, samples):
    """Sample read at each position, one panel an epoch.

    Parameters
    ----------
    orders : dict of name to ndarray of int
        The samples at positions 0, 1, 2, ... of an epoch; equally many each.
    samples : int
        Size of the training split.

    Returns
    -------
    Chart
    """
    count = len(next(iter(orders.values())))
    title = f"{count} neighbouring positions read samples from all over the {samples:,}"
    chart = new_chart(2.75, title, "each dot: the sample that one position of the epoch reads")
    width = (WIDTH - 1.0) / len(orders)
    for index, (name, order) in enumerate(orders.items()):
        axes = place(chart, 0.75 + index * width, 0.5, width - 0.25, 2.0)
        axes.plot(order, ".", ms=3, color=COLOURS[index % 3], mew=0)
        axes.set_ylim(0, samples)
        axes.set_xlabel(f"position in {name}", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(axis="y", color=FAINT, lw=0.8)
        axes.tick_params(labelleft=index == 0)
        if index == 0:
            axes.set_ylabel("sample", color=MUTED)
    return chart


def lay_out(ops, seconds, streams=None):
    """Start and end of each operation on its stream, were every kernel alone on the card.

    An operation starts when its stream is free and every tensor it reads was written; the update waits for all.

    Parameters
    ----------
    ops : sequence of Op
        One training step.
    seconds : sequence of float
        Time of each.
    streams : sequence of int, optional
        Stream of each; by default the engine's: weight gradients on stream 1, everything else on stream 0.

    Returns
    -------
    list of (stream, start, end)
    """
    streams = [int(op.kind.endswith("_weight_gradient")) for op in ops] if streams is None else streams
    free, written, result = [0.0] * (max(streams) + 1), {}, []
    for op, time, stream in zip(ops, seconds, streams):
        start = max([free[stream], *(written.get(name, 0.0) for name in op.inputs)])
        if op.kind == "update":
            start = max(start, *free)
        free[stream] = start + time
        written |= dict.fromkeys(op.outputs, start + time)
        result.append((stream, start, start + time))
    return result


def kernel_times(ops, records):
    """Median of each operation's kernel_time record, in the order of `ops`; None where one has not been measured."""
    times = {(record["layer"], record["form"]): record["median"] for record in records}
    found = [times.get((op.layer, op.kind)) for op in ops]
    return None if None in found else found


def plot_streams(ops, records):
    """One step on two streams, drawn from the operations' tensors and the kernels' times.

    Parameters
    ----------
    ops : sequence of Op
    records : list of dict
        kernel_time records of the same step, in us; without them all bars are equally long.

    Returns
    -------
    Chart
    """
    times = kernel_times(ops, records)
    plan = lay_out(ops, times or [1.0] * len(ops))
    end = max(stop for _, _, stop in plan)
    legend = "dX input gradient, dW weight gradient"
    note = "all kernels drawn equally long: their times have not been measured on any card yet"
    if times:
        alone = f"were each kernel alone on the card: {show_time(end, 'us')} instead of {show_time(sum(times), 'us')}"
        note = conditions(records, alone, runs=False)
    chart = new_chart(2.9, "Weight gradients can run beside the input gradients", f"{note}{SEPARATOR}{legend}")
    axes = place(chart, 1.15, 0.4, WIDTH - 1.3, 2.45)
    for op, (stream, start, stop) in zip(ops, plan):
        axes.broken_barh([(start, stop - start)], (1.0 - stream, 0.7), color=_colour(op.kind), ec="white", lw=1)
        if stop - start > 0.028 * end:
            axes.text((start + stop) / 2, 1.35 - stream, f"{op.layer}  {_short(op.kind)}", rotation=90, ha="center",
                      va="center", fontsize=8, color=INK)  # fmt: skip
    axes.set_yticks((1.35, 0.35), ("main stream", "side stream"), color=INK, fontsize=10)
    axes.set_xlim(0, end)
    axes.set_ylim(-0.05, 1.75)
    if not times:
        axes.set_xticks([])
    axes.set_xlabel("\u00b5s since the start of the step" if times else "time", color=MUTED)
    return add_list(chart, ("main stream", "side stream"), [_names(ops, plan, stream) for stream in (0, 1)])


def _names(ops, plan, stream):
    return ", ".join(f"{op.layer} {_short(op.kind)}" for op, (on, _, _) in zip(ops, plan) if on == stream)


def _short(kind):
    """A few letters for an operation of a layer that is named beside it."""
    ends = {"_weight_gradient": "dW", "_input_gradient": "dX", "_forward": "forward"}
    return next((words for end, words in ends.items() if kind.endswith(end)), "")


def _colour(kind):
    return ORANGE if kind.endswith("_weight_gradient") else BLUE if kind.endswith("_input_gradient") else FAINT


def plot_agreement(losses, reference, bound):
    """Gap between each step's loss and the float64 oracle's, below the bound that rounding allows; log scale.

    Parameters
    ----------
    losses : dict of name to ndarray of float, shape (steps,)
        Any number of them; a dozen can be told apart by colour and marker.
    reference, bound : ndarray of float, shape (steps,)
        As `agreement.agreement_bound` returns them.

    Returns
    -------
    Chart
    """
    steps, gaps = np.arange(1, len(bound) + 1), gaps_of(losses, reference, bound)
    share = max(float(np.max(gap / bound)) for gap in gaps.values())
    names = {}  # the names whose losses are equal to the last bit share one line
    for name, gap in gaps.items():
        names.setdefault(gap.tobytes(), []).append(name)
    title = f"The losses use {show_share(share)} of the gap to float64 that rounding allows"
    title += ", the same bits on every rung" if len(names) == 1 < len(gaps) else ""
    few = len(gaps) <= 3
    room = max(2.35, (0.2 if few else 0.35) + 1.04 * max(text_width(name, 9.5) for name in gaps))
    high = 2.4 if few else max(2.4, 0.185 * (len(gaps) + 1))
    chart = new_chart(high + 0.6, title, "a gap of zero lies below the scale and leaves its line open")
    axes = place(chart, 0.85, 0.5, WIDTH - (0.85 + room), high)
    axes.set_yscale("log")
    axes.fill_between(steps, bound, bound.max() * 4, color=FAINT, lw=0)
    axes.plot(steps, bound, color=INK, lw=1, ls=(0, (4, 3)))
    ends = [("bound: 4 times float32's own gap", steps[-1], bound[-1], INK)]
    for number, alike in enumerate(names.values()):
        gap, colour = gaps[alike[0]], COURSE_COLOURS[number % len(COURSE_COLOURS)]
        marker = COURSE_MARKERS[number // len(COURSE_COLOURS) % len(COURSE_MARKERS)]
        axes.plot(steps, np.where(gap > 0, gap, np.nan), color=colour, marker=marker, ms=4, lw=1.6)
        height = gap[-1] if gap[-1] > 0 else gap[gap > 0].min(initial=bound[-1])
        ends.append((",\n".join(alike), steps[-1], height, colour))
    axes.set_ylim(top=bound.max() * 4)
    (name_ends if few else name_column)(axes, ends)
    _gap_axes(axes)
    chart.alt += f" Largest share of the bound: {show_share(share, 1)}."
    return chart


def _gap_axes(axes):
    """Ticks and names of the axes of gaps over steps."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(show_power))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("step", color=MUTED)
    axes.set_ylabel("gap of the loss", color=MUTED)
