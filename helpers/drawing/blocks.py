"""Drawings made from traces: which cells a block and a thread touch, which sectors a warp fetches.

Every number in them is counted in the trace. Must not learn what a kernel computes.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from helpers.drawing.figure_style import BLUE, DEEP_BLUE, DEEP_ORANGE, FAINT, INK, MUTED, ORANGE, STYLE, blank_figure
from helpers.trace import TraceError
from helpers.tracing.cuda_stand_in import WARP, index_at
from helpers.tracing.warp_costs import SECTOR_BYTES, warp_accesses

UNTOUCHED, BLOCK, THREAD = 0, 1, 2
CELL_COLORS = ListedColormap(["white", BLUE, ORANGE])
WIDTH = 7.5  # inches: a notebook's column


def draw_trace(trace, shapes, block=0, thread=0, title=None, channels=3):
    """Cells of arrays that one block and one of its threads touch.

    Parameters
    ----------
    trace : Trace
    shapes : dict of str to tuple of int
        Arrays in drawing order and their shapes: (rows, columns), or (..., H, W, C), of which the first image with a
        touched cell is drawn, a panel a channel.
    block, thread : int or (x, y, z)
    title : str, optional
        The claim; default: how many cells the thread touches.
    channels : int
        Panels an array at most.

    Returns
    -------
    Figure
        With the attribute `alt`.
    """
    panels = [panel for name, shape in shapes.items() for panel in _panels(trace, name, shape, block, thread, channels)]
    sentences = [_sentence(trace, name, block, thread) for name in shapes]
    who = f"thread {_index(thread, trace.kernel.block)} of block {_index(block, trace.kernel.grid)}"
    title = title or f"What {who} touches"
    top = 0.95 + 0.18 * len(shapes)  # inches for title, colours and counts
    rows = max(codes.shape[0] for _, codes in panels)
    columns = [max(codes.shape[1], 0.25 * rows) for _, codes in panels]
    height = top + np.clip((WIDTH - 0.5 * len(panels)) / sum(columns) * rows, 0.8, 3.0) + 0.1
    figure = blank_figure(WIDTH, height, title, f"{title}. {'; '.join(sentences)}.")
    with plt.rc_context(STYLE):
        box = {"left": 0.02, "right": 0.98, "bottom": 0.08 / height, "top": 1 - top / height, "wspace": 0.12}
        axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=columns, gridspec_kw=box)
        for axis, (label, codes) in zip(axes[0], panels):
            _draw_cells(axis, label, codes)
        _label(figure, height, sentences)
    return figure


def _index(number, size):
    return number if isinstance(number, tuple) else tuple(map(int, index_at(number, size)))


def _sentence(trace, name, block, thread):
    """How often the block and the thread access array `name`."""
    parts = []
    for kind, verb in (("read", "read"), ("write", "written"), ("atomic", "updated")):
        of_block = trace.select(name, kind, block)
        if len(of_block):
            cells = np.unique(of_block.spread().index).size
            mine = int(trace.select(name, kind, block, thread).cells.sum())
            parts.append(f"{cells} cells {verb} by the block, {mine} by the thread")
    return f"{name}: {', '.join(parts) or 'untouched'}"


def _panels(trace, name, shape, block, thread, channels):
    """(label, codes of cells (rows, columns)) of each channel to draw."""
    codes = trace.touched(name, None, None, block).astype(int)
    codes[trace.touched(name, None, None, block, thread)] = THREAD
    if np.prod(shape) != codes.size:
        raise TraceError(f"{name} has {codes.size} cells, which do not make the shape {tuple(shape)}")
    if len(shape) < 3:
        return [(name, codes.reshape(shape if len(shape) == 2 else (1, -1)))]
    images = codes.reshape(-1, *shape[-3:])
    image = int(np.argmax(images.reshape(len(images), -1).max(axis=1)))
    which = f"{name}[{image}]" if len(images) > 1 else name
    shown = min(shape[-1], channels)
    first = min(int(np.argmax(images[image].max(axis=(0, 1)))), shape[-1] - shown)
    return [
        (f"{which}, channel {channel} of {shape[-1]}" if shape[-1] > 1 else which, images[image][..., channel])
        for channel in range(first, first + shown)
    ]


def _draw_cells(axis, label, codes):
    rows, columns = codes.shape
    axis.imshow(codes, cmap=CELL_COLORS, vmin=UNTOUCHED, vmax=THREAD, interpolation="nearest")
    axis.set_anchor("NW")
    axis.set_title(label, color=INK, pad=4)
    axis.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axis.grid(which="minor", color=FAINT if max(rows, columns) > 12 else "#cfd6dd", linewidth=0.5)
    axis.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axis.spines[:].set(visible=True, color=MUTED, linewidth=0.8)


def _label(figure, height, sentences):
    """The meaning of the colours as coloured words, and what was counted, below the title."""
    y = 1 - 0.38 / height
    for x, mark, words, color in (
        (0.1, BLUE, "the block", DEEP_BLUE),
        (1.2, ORANGE, "one thread", DEEP_ORANGE),
    ):
        swatch = Rectangle((x / WIDTH, y - 0.13 / height), 0.13 / WIDTH, 0.13 / height, color=mark)
        figure.add_artist(swatch)
        figure.text((x + 0.2) / WIDTH, y, words, va="top", color=color, weight="bold")
    figure.text(0.1 / WIDTH, 1 - 0.6 / height, "\n".join(sentences), va="top", color=MUTED, fontsize=8, linespacing=1.4)


def draw_warp(trace, array, kind="read", block=0, warp=0, access=0):
    """Addresses of one warp-wide access to a global `array`, and the 32-byte sectors that it fetches.

    Parameters
    ----------
    trace : Trace
    array : str
    kind : {"read", "write"}
    block, warp, access : int
        Which warp of which block, and which of its accesses of that kind, counted from 0.

    Returns
    -------
    Figure
        With the attribute `alt`.
    """
    part = trace.select(array, kind, block)
    part = part[part.thread // WARP == warp]
    if not len(part):
        raise TraceError(f"warp {warp} of block {block} never {kind}s {array}")
    number = warp_accesses(part)
    wanted = list(dict.fromkeys(number.tolist()))  # in the order they happen
    if access >= len(wanted):
        raise TraceError(f"warp {warp} of block {block} {kind}s {array} only {len(wanted)} times; access is {access}")
    part = part[number == wanted[access]]
    cell_bytes = trace.arrays[array].data.itemsize
    cells = part.spread()
    a_sector = SECTOR_BYTES // cell_bytes
    sectors = np.unique(cells.index // a_sector)
    least = -(-np.unique(cells.index).size // a_sector)
    verb = {"read": "reads", "write": "writes"}[kind]
    claim = f"A warp {verb} {np.unique(cells.index).size} cells of {array} in {_plural(len(sectors), 'sector')}"
    claim += ": the fewest possible" if len(sectors) == least else f" where {least} would do"
    alt = f"{claim}. {_plural(len(part), 'lane')} above the sectors of {SECTOR_BYTES} bytes in which their cells lie."
    figure = blank_figure(WIDTH, 2.4, claim, alt)
    with plt.rc_context(STYLE):
        _draw_sectors(figure.add_axes((0.02, 0.03, 0.96, 0.76)), part, cells, sectors, a_sector)
    return figure


def _plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _draw_sectors(axis, part, cells, sectors, a_sector):
    """Lanes in a row above, the touched sectors in a row below, a line from each lane to its first cell."""
    gap = 0.25 * a_sector
    left = {sector: place * (a_sector + gap) for place, sector in enumerate(sectors)}
    length = len(sectors) * (a_sector + gap) - gap
    touched = set(cells.index.tolist())
    for sector, x in left.items():
        for cell in range(a_sector):
            color = ORANGE if sector * a_sector + cell in touched else BLUE
            axis.add_patch(Rectangle((x + cell, 0), 1, 1, facecolor=color, edgecolor="white", linewidth=0.4))
    step = length / WARP
    for lane, first, count in zip(part.thread % WARP, part.index, part.cells):
        middle = left[first // a_sector] + first % a_sector + count / 2
        axis.plot([(lane + 0.5) * step, middle], [4.0, 1.05], color=MUTED, linewidth=0.6)
        axis.add_patch(Rectangle(((lane + 0.1) * step, 4.0), 0.8 * step, 0.9, facecolor=INK))
    every = max(1, len(sectors) // 8)
    for sector in sectors[::every]:
        axis.text(left[sector], -0.25, f"{sector * SECTOR_BYTES}", va="top", fontsize=7.5, color=MUTED)
    axis.text(0, 5.15, "lanes 0 to 31", color=INK, weight="bold", va="bottom")
    axis.text(length, 5.15, "used", color=DEEP_ORANGE, weight="bold", ha="right", va="bottom")
    axis.text(0.93 * length, 5.15, "fetched and not used", color=DEEP_BLUE, weight="bold", ha="right", va="bottom")
    axis.text(length, -1.3, "byte address of the sector", color=MUTED, fontsize=7.5, ha="right", va="top")
    axis.set(xlim=(-0.01 * length, 1.01 * length), ylim=(-2.2, 6.2))
    axis.axis("off")
