"""The losses of many engines over each other: one curve where all of them train alike.

Knows arrays and the frame in charts.py; must not learn where losses come from.
"""

import numpy as np

from helpers.drawing.charts import MARGIN, SEPARATOR, WIDTH, new_chart, place, text_width
from helpers.drawing.figure_style import FAINT, MUTED
from helpers.drawing.system_lines import LABEL, OURS, SYSTEM_COLOURS, short_share

ROW = 0.2  # inches of a name
PIECE, THICK = 6.0, 2.4  # points: length of a line's pieces, and its width
FILLED = 0.85  # of a piece is drawn: pieces of one colour after each other are told apart
ALIKE = 1e-4  # share of a loss: what nobody sees in a chart of losses


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
        Its title says how far the losses lie from float64's, as a share of the loss: the most of all steps, and up to
        which step it is a ten-thousandth at most. All lines are one where they agree: each is drawn in short pieces
        that take turns with those of the others, and a dot marks the end of one that ends early.
    """
    if not losses or not all(np.isfinite(run).all() and len(run) <= len(reference) for run in losses.values()):
        raise ValueError(f"expected finite losses of one engine at least, of {len(reference)} steps at most")
    names, (claim, where) = [", ".join(key) for key in losses], _gap(losses, reference)
    height = max(3.0, ROW * (len(names) + 1) + 0.6)
    turns = "lines in pieces that take turns: one line where all agree" * (len(losses) > 1)
    note = SEPARATOR.join(part for part in (note, where, turns) if part)
    chart = new_chart(height, f"{len(names)} forms, one curve: {claim}", note)
    order = sorted(losses, key=lambda key: key[0] in OURS)
    rows = [("float64, the oracle", MUTED), *((_row(key, losses, reference), _colour(key)) for key in order)]
    room = 0.3 + max(text_width(name, LABEL, "bold") for name, _ in rows)
    axes = place(chart, 0.75, 0.5, WIDTH - 0.75 - room - MARGIN, height - 0.6)
    axes.plot(np.arange(1, len(reference) + 1), reference, color=FAINT, lw=9, solid_capstyle="round")
    for turn, key in enumerate(order):
        _draw_pieces(axes, losses[key], len(reference), _colour(key), turn, len(order))
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


def _colour(key):
    return SYSTEM_COLOURS.get(key[0], MUTED)


def _row(key, losses, reference):
    """The name of a line, with its last step where it ends early."""
    steps = len(losses[key])
    return ", ".join(key) + f", to step {steps}" * (steps < len(reference))


def _draw_pieces(axes, run, most, colour, turn, turns):
    """Draw a line in pieces, the first one behind those of the lines before it; a dot at the end of an early one."""
    piece = PIECE / THICK  # matplotlib counts in widths of the line
    pieces = ((turns - turn) * piece, (FILLED * piece, (turns - FILLED) * piece)) if turns > 1 else "-"
    early = len(run) < most
    style = {"lw": THICK, "ls": pieces, "dash_capstyle": "butt", "marker": "o", "ms": 7, "mec": "white", "mew": 1}
    at, above = ([len(run) - 1], 3) if early else ([], 2)
    axes.plot(np.arange(1, len(run) + 1), run, color=colour, markevery=at, zorder=above, **style)


def _gap(losses, reference):
    """For the title, how far the losses lie from float64's as a share of the loss; for the note, where most.

    A share alone says little: rounding grows from step to step, and losses fall. So the title also says up to which
    step it is tiny.
    """
    gaps = {key: np.abs((run - reference[: len(run)]) / reference[: len(run)]) for key, run in losses.items()}
    key = max(gaps, key=lambda key: gaps[key].max())
    step, largest = int(gaps[key].argmax()), gaps[key].max()
    if largest == 0:
        return "all losses are float64's to the last bit", ""
    apart = abs(losses[key][step] - reference[step])
    where = f"largest gap: {', '.join(key)} at step {step + 1}, {apart:.2g} of a loss of {reference[step]:.2g}"
    alike = min((int(np.argmax(gap > ALIKE)) for gap in gaps.values() if gap.max() > ALIKE), default=0)
    if alike:
        return f"within {_share(ALIKE)} of float64 up to step {alike}, {_share(largest)} throughout", where
    return f"within {_share(largest)} of float64 throughout", where


def _share(share):
    """A share in per cent with two digits, however small."""
    return short_share(float(f"{share:.2g}"))
