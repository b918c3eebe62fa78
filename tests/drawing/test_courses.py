"""Charts of courses of losses draw every one, name it where it can be read, and refuse what is broken."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from helpers.drawing.charts import LARGEST_FILE, png_bytes
from helpers.drawing.comparison_charts import plot_shares_of_bound
from helpers.drawing.line_names import spread
from helpers.drawing.training_charts import plot_agreement

STEPS = 20
REFERENCE, BOUND = np.linspace(2, 1, STEPS), np.geomspace(1e-7, 4e-6, STEPS)


def courses(count, apart=0.01):
    """Losses of `count` engines that end at nearly the same gap."""
    return {("engine", f"form {n}"): REFERENCE + BOUND * (0.3 + apart * n) for n in range(count)}


def named(losses):
    return {", ".join(key): run for key, run in losses.items()}


def check_labels(chart):
    """Raise where a label leaves the chart or covers another one."""
    canvas = FigureCanvasAgg(chart.figure)
    canvas.draw()
    boxes = {}
    for text in (text for text in chart.figure.axes[0].texts if text.get_text()):
        box = Text.get_window_extent(text, canvas.get_renderer())  # an Annotation's own one counts its line too
        whole = chart.figure.bbox
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= whole.x1 and box.y1 <= whole.y1, text.get_text()
        boxes[text.get_text()] = box
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0 or up <= 3, f"{one!r} covers {other!r}"
    return boxes


@pytest.mark.parametrize("count", [1, 3, 4, 6, 9, 12, 18])
def test_every_course_is_drawn_and_named(count):
    losses = named(courses(count))
    chart = plot_agreement(losses, REFERENCE, BOUND)
    assert len(png_bytes(chart.figure)) <= LARGEST_FILE
    boxes = check_labels(chart)
    assert set(losses) <= set(boxes)
    drawn = [line for line in chart.figure.axes[0].lines if line.get_marker() not in ("None", None, "")]
    np.testing.assert_allclose([line.get_ydata() for line in drawn], [abs(run - REFERENCE) for run in losses.values()])
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == count, "told apart"


def test_courses_of_the_same_bits_share_a_line_however_many():
    chart = plot_agreement(dict.fromkeys(named(courses(12)), REFERENCE + BOUND / 3), REFERENCE, BOUND)
    check_labels(chart)
    assert "the same bits on every rung" in chart.alt


@pytest.mark.parametrize("draw, of", [(plot_agreement, named), (plot_shares_of_bound, lambda losses: losses)])
def test_broken_courses_are_refused(draw, of):
    losses = courses(5)
    key = ("engine", "form 4")
    for broken in (np.nan, np.inf):
        run = losses[key].copy()
        run[3] = broken
        with pytest.raises(ValueError, match=f"the loss of engine, form 4 is {broken} at step 3, expected the finite"):
            draw(of({**losses, key: run}), REFERENCE, BOUND)
    for run in (np.append(losses[key], 1.0), np.array([])):
        with pytest.raises(ValueError, match=f"the course of engine, form 4 has {len(run)} steps, expected"):
            draw(of({**losses, key: run}), REFERENCE, BOUND)
    with pytest.raises(ValueError, match="the course of the reference has 19 steps, expected 20"):
        draw(of(losses), REFERENCE[1:], BOUND)
    with pytest.raises(ValueError, match="there is no course of losses, expected"):
        draw({}, REFERENCE, BOUND)


def test_a_shorter_course_has_shares_but_no_agreement():
    losses = {**courses(2), ("loops", "njit"): REFERENCE[:5] + BOUND[:5] / 2}
    assert "loops, njit: 50" in plot_shares_of_bound(losses, REFERENCE, BOUND).alt
    with pytest.raises(ValueError, match="the course of loops, njit has 5 steps, expected 20"):
        plot_agreement(named(losses), REFERENCE, BOUND)


def test_what_leaves_the_bound_is_seen_and_named():
    losses = {**courses(2), ("keras", "fit"): REFERENCE + 3.5 * BOUND}
    chart = plot_shares_of_bound(losses, REFERENCE, BOUND)
    assert chart.alt.startswith("keras, fit lies beyond the bound: up to 350\u00a0% of the gap that rounding allows")
    assert chart.figure.axes[0].get_ylim()[1] > 3.5
    chart = plot_shares_of_bound(losses, REFERENCE, BOUND, title="All agree")
    assert chart.alt.startswith("All agree; but keras, fit lies beyond the bound")
    many = {key: REFERENCE + 2 * (run - REFERENCE) * 1.7 for key, run in courses(5).items()}
    assert "form 2 and 2 more lie beyond" in plot_shares_of_bound(many, REFERENCE, BOUND).alt
    barely = {("jax", "scan"): REFERENCE + 1.004 * BOUND}
    assert "up to 100.4" in plot_shares_of_bound(barely, REFERENCE, BOUND).alt
    within = plot_shares_of_bound(courses(2), REFERENCE, BOUND)
    assert within.figure.axes[0].get_ylim()[1] > 1 and "beyond" not in within.alt


@pytest.mark.parametrize("apart", [0.0005, 0.03])
def test_names_at_the_ends_of_lines_do_not_cover_each_other(apart):
    check_labels(plot_shares_of_bound(courses(16, apart), REFERENCE, BOUND))


def test_labels_move_as_little_as_they_must():
    np.testing.assert_allclose(spread([0, 50, 100], [10, 10, 10], -5, 105), [0, 50, 100])
    np.testing.assert_allclose(spread([50, 50, 50], [10, 20, 10], 0, 100), [35, 50, 65])
    np.testing.assert_allclose(spread([96, 98], [10, 10], 0, 100), [85, 95])
    np.testing.assert_allclose(spread([1, 2], [10, 10], 0, 100), [5, 15])
