"""Bars are to scale, every label lies inside the chart and over no other, and titles say what the plan says."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from helpers.drawing.charts import png_bytes
from helpers.drawing.phase_pictures import KINDS, draw_phases, kind_of
from helpers.drawing.plan_parts import memory_parts
from helpers.drawing.plan_pictures import draw_plan, draw_plans
from helpers.drawing.stacked_bars import ROOM, Segment, spread, that_fit
from helpers.kernels.fused.epoch import epoch_kernel
from helpers.kernels.fused.places import Card
from helpers.optimizers import SGD
from tests.drawing.plans import LARGE, MIDDLING, SMALL, lenet_on, many_plans

STEP = {"conv1 forward": 30, "dense1 forward": 10, "loss": 3, "dense1 backward": 10, "conv1 backward": 40, "load": 5,
        "publish": 8, "wait for the images": 6, "sum gradients": 9, "update": 7, "wait for the update": 2}  # fmt: skip


def labels_of(chart):
    return [text for axes in chart.figure.axes for text in axes.texts]


def shown(chart):
    return " | ".join(text.get_text() for text in (*chart.figure.texts, *labels_of(chart)))


def check_labels(chart):
    """Labels lie apart and within the chart; its file is small."""
    canvas = FigureCanvasAgg(chart.figure)
    canvas.draw()
    texts = [text for text in (*chart.figure.texts, *labels_of(chart)) if text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts]
    for text, box in boxes:
        assert chart.figure.bbox.x0 <= box.x0 and box.x1 <= chart.figure.bbox.x1, f"{text!r} is cut"
        assert chart.figure.bbox.y0 <= box.y0 and box.y1 <= chart.figure.bbox.y1, f"{text!r} is cut"
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{first!r} lies over {second!r}"
    assert png_bytes(chart.figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("which", range(len(many_plans())))
def test_labels_of_a_plan_lie_apart(which):
    plan = many_plans()[which]
    chart = draw_plan(plan)
    check_labels(chart)
    assert all(part.name in shown(chart) for part in memory_parts(plan))


def test_a_pass_that_needs_no_scratch_says_so():
    (plan,) = [plan for plan in many_plans() if not plan.convolutions]
    chart = draw_plan(plan)
    assert "forward: nothing" in chart.alt and "nothing" in [text.get_text() for text in labels_of(chart)]


def test_a_bar_is_to_scale():
    plan = lenet_on(LARGE)
    (axes,) = draw_plan(plan).figure.axes
    widths = [patch.get_width() for patch in axes.patches if hasattr(patch, "get_width")]
    parts = np.array([part.bytes for part in memory_parts(plan)])
    assert np.allclose(widths[: len(parts)], parts / plan.card.shared_bytes * ROOM)


def test_the_title_is_computed_from_the_plan():
    full = shown(draw_plan(lenet_on(LARGE), "a card's name"))
    used = lenet_on(LARGE)
    roomy = replace(used, card=Card(132, 2 * used.shared_bytes))
    assert "lenet5 fills 50\u00a0% of a block's shared memory" in shown(draw_plan(roomy))
    tight = replace(used, card=Card(132, used.shared_bytes + 400))
    assert "lenet5 fills 99.8\u00a0% of a block's shared memory" in shown(draw_plan(tight))
    assert f"parameters alone take {100 * 4 * used.resident / 232_448:.0f}\u00a0%" in full
    assert "a card's name" in full and "512 threads a block" in full and "L2" not in full
    small = draw_plan(lenet_on(SMALL))
    assert "dense1 and dense2 stream from L2" in small.alt and "hatched" in small.alt


def test_cards_are_drawn_to_one_scale():
    plans = {"large": lenet_on(LARGE), "middling": lenet_on(MIDDLING), "small": lenet_on(SMALL)}
    chart = draw_plans(plans)
    check_labels(chart)
    for claim in ("large holds all", "middling streams dense1;", "small streams dense1 and dense2"):
        assert claim in chart.alt
    patches = [patch for axes in chart.figure.axes for patch in axes.patches]
    ratios = [patch.get_width() / part.bytes for patch, part in zip(patches, memory_parts(plans["large"]))]
    hatched = [patch.get_width() for patch in patches if patch.get_hatch()]
    assert len(hatched) == 3 and hatched[0] == pytest.approx(ratios[0] * 4 * 257 * 124)
    assert np.allclose(ratios, ratios[0])


def test_plans_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="expected one network, batch"):
        draw_plans({"a": lenet_on(LARGE), "b": lenet_on(SMALL, 64)})
    with pytest.raises(ValueError, match="nothing"):
        draw_plans({})


def test_phases_are_merged_ordered_and_claimed():
    names = [*STEP, "conv1 backward"]
    chart = draw_phases(names, [*STEP.values(), 20], 1e6, "one block", floor_cycles=15)
    check_labels(chart)
    assert "The backward pass takes 47\u00a0% of a step's 150 \u00b5s" in shown(chart)
    assert "conv1 backward: 60.0 \u00b5s" in chart.alt and "one block" in chart.alt
    assert "arithmetic alone: 15.0 \u00b5s, 10\u00a0%" in shown(chart)
    assert chart.alt.index("load: ") < chart.alt.index("conv1 forward") < chart.alt.index("loss: ")
    (axes,) = chart.figure.axes
    assert [patch.get_width() for patch in axes.patches][:2] == pytest.approx([5 / 150 * ROOM, 30 / 150 * ROOM])
    assert axes.patches[-1].get_width() == pytest.approx(15 / 150 * ROOM), "the floor's bar, in the same scale"


def test_a_mark_near_the_end_and_many_short_phases():
    deep = {f"conv{i} {way}": 10 + i for way in ("forward", "backward") for i in range(12)}
    names, cycles = [*deep, *STEP], [*deep.values(), *STEP.values()]
    chart = draw_phases(names, cycles, 1e9, floor_cycles=0.95 * sum(cycles))
    check_labels(chart)
    named = sum("\n" in text.get_text() for text in labels_of(chart))
    assert f"phases too short for a name: {len({*names}) - named}" in shown(chart)


def test_every_phase_of_the_kernel_has_a_kind():
    for plan in (lenet_on(LARGE), lenet_on(SMALL)):
        _, names = epoch_kernel(plan, SGD(0.01, momentum=0.9), profiled=True)
        assert {kind_of(name) for name in names} == set(KINDS)


def test_unknown_phases_and_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="neither forward nor backward"):
        draw_phases(["rest"], [1], 1e9)
    with pytest.raises(ValueError, match="expected one for each"):
        draw_phases(["load"], [1, 2], 1e9)
    with pytest.raises(ValueError, match="expected counts"):
        draw_phases(["load"], [float("nan")], 1e9)


def test_labels_move_apart_as_little_as_they_can():
    assert np.allclose(spread([1, 1, 5], [1, 1, 1], 0, 10), [0.5, 1.5, 5])
    assert np.allclose(spread([9.9, 9.9], [1, 2], 0.5, 10), [7, 9])
    segments = [Segment("a name", "1 KB", 0, width, "white") for width in (0.1, 0.02, 0.3)]
    kept, dropped = that_fit(segments, 2.2 * segments[0].label_width)
    assert [s.width for s in kept] == [0.1, 0.3] and [s.width for s in dropped] == [0.02]
