"""Drawings made from traces: which cells a block and a thread touch, which sectors a warp fetches.

Every number in them is counted in the trace. Must not learn what a kernel computes.
"""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from helpers.drawing.charts import MARGIN, SEPARATOR, WIDTH, new_chart, place, text_width
from helpers.drawing.figure_style import BLUE, DEEP_BLUE, DEEP_ORANGE, FAINT, INK, MUTED, ORANGE
from helpers.trace import TraceError
from helpers.tracing.cuda_stand_in import WARP, index_at
from helpers.tracing.warp_costs import SECTOR_BYTES, warp_accesses

UNTOUCHED, BLOCK, THREAD = 0, 1, 2
CELL_COLORS = ListedColormap(["white", BLUE, ORANGE])
GAP, LABEL, LEGEND = 0.3, 0.24, 0.32  # inches between panels, above a panel for its name, for the colours' meaning
SIZE = 8.8
# what a colour means in an access of each kind: touched, and in the same sector
MEANING = {"read": ("used", "fetched, not used"), "write": ("written", "in the same sector, not written")}


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
    Chart
    """
    panels = [panel for name, shape in shapes.items() for panel in _panels(trace, name, shape, block, thread, channels)]
    sentences = [_sentence(trace, name, shape, block, thread) for name, shape in shapes.items()]
    who = f"thread {_index(thread, trace.kernel.block)} of block {_index(block, trace.kernel.grid)}"
    rows, columns = np.array([codes.shape for _, codes in panels]).T
    cell = (WIDTH - 2 * MARGIN - GAP * (len(panels) - 1)) / sum(np.maximum(columns, 0.25 * max(rows)))
    cell = min(cell, 2.6 / max(rows))
    top = cell * max(rows) + 0.08
    chart = new_chart(top + LABEL + LEGEND, title or f"What {who} touches", SEPARATOR.join(sentences))
    _explain_colours(chart, top + LABEL + 0.1, who)
    left = MARGIN
    for label, codes in panels:
        height, width = (cell * size for size in codes.shape)
        _draw_cells(place(chart, left, top - height, width, height), label, codes)
        left += max(width, text_width(label, SIZE)) + GAP
    chart.alt += f" Blue: the block; orange: {who}."
    return chart


def _index(number, size):
    return number if isinstance(number, tuple) else tuple(map(int, index_at(number, size)))


def _sentence(trace, name, shape, block, thread):
    """How many cells of array `name` the block and the thread access."""
    parts = []
    for kind, verb in (("read", "reads"), ("write", "writes"), ("atomic", "updates")):
        of_block = trace.select(name, kind, block)
        if len(of_block):
            cells = np.unique(of_block.spread().index).size
            mine = int(trace.select(name, kind, block, thread).cells.sum())
            parts.append(f"block {verb} {cells:,} cells, thread {mine:,}")
    return f"{name} ({' x '.join(map(str, shape))}): {', '.join(parts) or 'untouched'}"


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
        (f"{which}, channel {channel}" if shape[-1] > 1 else which, images[image][..., channel])
        for channel in range(first, first + shown)
    ]


def _draw_cells(axes, label, codes):
    rows, columns = codes.shape
    axes.imshow(codes, cmap=CELL_COLORS, vmin=UNTOUCHED, vmax=THREAD, interpolation="nearest", aspect="auto")
    axes.set_title(label, color=INK, pad=4, fontsize=SIZE, loc="left")
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=FAINT if max(rows, columns) > 12 else "#cfd6dd", linewidth=0.5)
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set(visible=True, color=MUTED, linewidth=0.8)


def _explain_colours(chart, bottom, who):
    """What the colours mean, as coloured words beside a cell of each."""
    axes = place(chart, MARGIN, bottom, WIDTH - 2 * MARGIN, 0.16)
    axes.set(xlim=(0, WIDTH - 2 * MARGIN), ylim=(0, 0.16), xticks=[], yticks=[])
    left = 0.01
    for mark, words, color in ((BLUE, "the block", DEEP_BLUE), (ORANGE, who, DEEP_ORANGE), ("white", "neither", MUTED)):
        axes.add_patch(Rectangle((left, 0.01), 0.13, 0.13, facecolor=mark, edgecolor=MUTED, linewidth=0.5))
        axes.text(left + 0.2, 0.075, words, va="center", color=color, weight="bold", fontsize=SIZE)
        left += 0.55 + text_width(words, SIZE, "bold")


def draw_warp(trace, array, kind="read", block=0, warp=0, access=0):
    """Addresses of one warp-wide access to a global `array`, and the 32-byte sectors in which they lie.

    Parameters
    ----------
    trace : Trace
    array : str
    kind : {"read", "write"}
    block, warp, access : int
        Which warp of which block, and which of its accesses of that kind, counted from 0.

    Returns
    -------
    Chart
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
    a_sector = SECTOR_BYTES // trace.arrays[array].data.itemsize
    cells = part.spread()
    sectors = np.unique(cells.index // a_sector)
    least = -(-np.unique(cells.index).size // a_sector)
    verb = {"read": "reads", "write": "writes"}[kind]
    claim = f"A warp {verb} {np.unique(cells.index).size} cells of {array} in {_plural(len(sectors), 'sector')}"
    claim += ": the fewest possible" if len(sectors) == least else f" where {least} would do"
    note = f"one {kind} of 32 threads, the lanes; a sector is the {SECTOR_BYTES} bytes that memory moves at once"
    chart = new_chart(1.75, claim, note)
    _draw_sectors(place(chart, MARGIN, 0.02, WIDTH - 2 * MARGIN, 1.7), part, cells, sectors, a_sector, MEANING[kind])
    chart.alt += f" {_plural(len(part), 'lane')} above the sectors of {SECTOR_BYTES} bytes in which their cells lie."
    return chart


def _plural(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _draw_sectors(axis, part, cells, sectors, a_sector, meaning):
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
        axis.text(left[sector], -0.25, f"{sector * SECTOR_BYTES:,}", va="top", fontsize=SIZE, color=MUTED)
    axis.text(0, 5.15, "lanes 0 to 31", color=INK, weight="bold", va="bottom", fontsize=SIZE)
    used, unused = meaning
    axis.text(length, 5.15, used, color=DEEP_ORANGE, weight="bold", ha="right", va="bottom", fontsize=SIZE)
    if len(touched) < len(sectors) * a_sector:
        before = length * (1 - (text_width(used, SIZE, "bold") + 0.25) / (WIDTH - 2 * MARGIN))
        axis.text(before, 5.15, unused, color=DEEP_BLUE, weight="bold", ha="right", va="bottom", fontsize=SIZE)
    axis.text(length, -1.25, "byte address of the sector", color=MUTED, fontsize=SIZE, ha="right", va="top")
    axis.set(xlim=(-0.01 * length, 1.01 * length), ylim=(-2.2, 6.2))
    axis.axis("off")
