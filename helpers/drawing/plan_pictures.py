"""A block's shared memory under a plan of the fused kernel, to scale: on one card with its work area magnified, or on
several cards below each other.

Knows the parts of a plan and the frame in charts.py; must not learn how a plan is made.
"""

from matplotlib.patches import Polygon

from helpers.drawing.charts import SEPARATOR, new_chart, text_width
from helpers.drawing.figure_style import BLUE, DEEP_BLUE, FAINT, GREEN, INK, MUTED, ORANGE
from helpers.drawing.plan_parts import CELL_BYTES, memory_parts, streamed_parts, work_parts
from helpers.drawing.plan_tables import card_text, fill_text, rounds_text
from helpers.drawing.stacked_bars import LEADERS, ROOM, SIZE, Segment, draw_bar, fits, inch_axes, lead_out
from helpers.number_text import show_bytes, show_share

LOOKS = {
    "convolutions": {"colour": DEEP_BLUE, "ink": "white"},
    "dense": {"colour": BLUE},
    "tensors": {"colour": GREEN},
    "work": {"colour": ORANGE},
    "free": {"colour": "white", "edge": MUTED},
    "gradients": {"colour": ORANGE},
    "scratch": {"colour": "#f8c497"},
}
STREAMED = {"colour": "white", "edge": BLUE, "hatch": "////"}
HATCHED = " (hatched: every image reads them from L2)"
BAR, LANE, GAP = 0.48, 0.26, 0.3  # inches: height of a bar and of a lane of the work area; between bar and lanes
AWAY = 0.25  # inches between shared memory and what streams
BESIDE = 0.08  # inches between a lane and what is written beside it
HEAD, FOOT = 0.28, 0.06


def draw_plan(plan, note=""):
    """What fills a block's shared memory, and what takes turns in its work area.

    Parameters
    ----------
    plan : Plan
    note : str
        More conditions, e.g. the card's name.

    Returns
    -------
    Chart
    """
    height = FOOT + 3 * LANE + GAP + BAR + LEADERS + 0.05
    chart = new_chart(height, _fills(plan), _joined(note, *_card(plan), *_block(plan), _colours([plan])))
    axes, bottom = inch_axes(chart, height), FOOT + 3 * LANE + GAP
    _draw_memory(axes, plan, bottom, _inches_a_byte([plan]))
    _draw_work(axes, plan, bottom, _inches_a_byte([plan]))
    lanes = [f"{when}: {_list(parts)}" for when, parts in work_parts(plan).items()]
    chart.alt += f" {_told(plan)} The work area, {'; '.join(lanes)}."
    return chart


def draw_plans(plans, note=""):
    """The same network's plans on several cards, all to one scale, and beside each what streams from L2.

    Parameters
    ----------
    plans : dict of str to Plan
        By the card's name.
    note : str

    Returns
    -------
    Chart
    """
    networks, blocks = {plan.network.name for plan in plans.values()}, {_block(plan) for plan in plans.values()}
    if len(networks) != 1 or len(blocks) != 1:
        found = ", ".join(sorted([*networks, *(_joined(*block) for block in blocks)])) or "nothing"
        raise ValueError(f"the plans are of {found}; expected one network, batch and number of threads")
    row = HEAD + LEADERS + BAR + 0.12
    title = f"{networks.pop()}: " + "; ".join(f"{name} {_holds(plan)}" for name, plan in plans.items())
    chart = new_chart(row * len(plans) + FOOT, title, _joined(note, *blocks.pop(), _colours(plans.values())))
    axes, scale = inch_axes(chart, row * len(plans) + FOOT), _inches_a_byte(plans.values())
    for index, (name, plan) in enumerate(plans.items()):
        bottom = FOOT + row * (len(plans) - 1 - index)
        _draw_memory(axes, plan, bottom, scale)
        top, beside = bottom + BAR + LEADERS + 0.08, text_width(name, SIZE + 0.7, "bold") + 0.12
        axes.text(0, top, name, fontsize=SIZE + 0.7, fontweight="bold", color=INK)
        axes.text(beside, top, _joined(*_card(plan)), fontsize=SIZE, color=MUTED)
        chart.alt += f" {name}: {_told(plan)}"
    return chart


def _fills(plan):
    """Title of one plan."""
    card, parts = plan.card.shared_bytes, memory_parts(plan)
    weights = sum(part.bytes for part in parts if part.kind in ("convolutions", "dense"))
    claim = f"{plan.network.name} fills {fill_text(plan)} of a block's shared memory"
    claim += f"; parameters alone take {show_share(weights / card)}"
    shared, streamed = _elsewhere(plan)
    claim += f"; groups of {plan.members} blocks share {_and(shared)}" if shared else ""
    return claim + (f"; {_and(streamed)} {_verb('stream', streamed)} from L2" if streamed else "")


def _holds(plan):
    shared, streamed = _elsewhere(plan)
    parts = [f"shares {_and(shared)} by {plan.members} blocks"] if shared else []
    parts += [f"streams {_and(streamed)}"] if streamed else []
    return _and(parts) if parts else "holds all parameters"


def _elsewhere(plan):
    """Names of the layers whose weights a group shares, and of those that stream."""
    return [layer.name for layer in plan.dense if layer.shard], [part.name for part in streamed_parts(plan)]


def _and(names):
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _verb(verb, names):
    return verb + "s" * (len(names) == 1)


def _joined(*parts):
    return SEPARATOR.join(part for part in parts if part)


def _colours(plans):
    hatched = HATCHED if any(map(streamed_parts, plans)) else ""
    return f"blue: parameters{hatched}, green: tensors of one image, orange: work area"


def _block(plan):
    return f"batch {plan.batch:,}", f"{plan.threads:,} threads a block"


def _card(plan):
    return card_text(plan.card), rounds_text(plan), f"{plan.shared_bytes:,} of {plan.card.shared_bytes:,} bytes"


def _list(parts):
    return ", ".join(f"{part.name} {show_bytes(part.bytes)}" for part in parts) or "nothing"


def _told(plan):
    """The bar in words."""
    streamed = streamed_parts(plan)
    return f"{_list(memory_parts(plan))}." + (f" From L2: {_list(streamed)}." if streamed else "")


def _inches_a_byte(plans):
    """The largest scale at which every plan's bar fits."""
    scales = []
    for plan in plans:
        streamed = sum(part.bytes for part in streamed_parts(plan))
        scales.append((ROOM - AWAY * bool(streamed)) / (plan.card.shared_bytes + streamed))
    return min(scales)


def _segments(parts, left, scale, from_l2=False):
    """Segments side by side from `left` on."""
    found = []
    for part in parts:
        value, looks = show_bytes(part.bytes), LOOKS[part.kind]
        value, looks = (f"{value} from L2", STREAMED) if from_l2 else (value, looks)
        found.append(Segment(part.name, value, left, part.bytes * scale, **looks))
        left += part.bytes * scale
    return found


def _draw_memory(axes, plan, bottom, scale):
    """A bar of shared memory, and behind it what streams."""
    segments, streamed = _segments(memory_parts(plan), 0, scale), streamed_parts(plan)
    segments += _segments(streamed, plan.card.shared_bytes * scale + AWAY, scale, from_l2=True)
    lead_out(axes, draw_bar(axes, segments, bottom, BAR), bottom + BAR)


def _draw_work(axes, plan, bar_bottom, scale):
    """The work area magnified below the bar: a lane for each of its uses."""
    (area,), uses = [part for part in memory_parts(plan) if part.kind == "work"], work_parts(plan)
    left, right, top = max(text_width(when, SIZE) for when in uses) + 0.12, ROOM, FOOT + len(uses) * LANE
    for _ in range(2):  # what makes room for labels beside lanes may push a few more out of them
        lanes = {when: _segments(parts, left, (right - left) / area.bytes) for when, parts in uses.items()}
        shrink = min(1, *((ROOM - _width_beside(lane) - left) / (_end(lane) - left) for lane in lanes.values() if lane))
        right = min(right, left + (right - left) * shrink)
    lanes = {when: _segments(parts, left, (right - left) / area.bytes) for when, parts in uses.items()}
    first, last = CELL_BYTES * area.begin * scale, CELL_BYTES * area.end * scale
    corners = [(first, bar_bottom), (last, bar_bottom), (right, top), (left, top)]
    axes.add_patch(Polygon(corners, facecolor=FAINT, alpha=0.6, linewidth=0))
    for row, (when, lane) in enumerate(lanes.items()):
        bottom, middle = top - (row + 1) * LANE, top - (row + 0.5) * LANE
        axes.text(0, middle, when, va="center", fontsize=SIZE, color=INK)
        outside = draw_bar(axes, lane, bottom + 0.02, LANE - 0.04)
        if not lane:
            axes.text(left, middle, "nothing", va="center", fontsize=SIZE, color=MUTED)
        if outside:
            axes.text(_end(lane) + BESIDE, middle, _beside(lane, outside), va="center", fontsize=SIZE, color=INK)


def _end(lane):
    return lane[-1].left + lane[-1].width


def _beside(lane, outside):
    """What is written to the right of a lane: labels that do not fit inside, from right to left."""
    return "; ".join(f"{'' if part is lane[-1] else 'before it: '}{part.line}" for part in reversed(outside))


def _width_beside(lane):
    text = _beside(lane, [part for part in lane if not fits(part, LANE)])
    return BESIDE + text_width(text, SIZE) + 0.04 if text else 0
