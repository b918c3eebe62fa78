"""The chart of all losses says how far they lie apart and refuses what is no loss."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from helpers.drawing.charts import LARGEST_FILE, png_bytes
from helpers.drawing.figure_style import ORANGE
from helpers.drawing.loss_charts import plot_losses
from helpers.drawing.system_lines import SYSTEM_COLOURS

REFERENCE = np.linspace(2, 1, 50)


def test_one_curve():
    losses = {("layerwise", "epoch graph"): REFERENCE.copy(), ("loops", "njit, one core"): REFERENCE[:20] * (1 + 1e-6)}
    chart = plot_losses(losses, REFERENCE, "batch 8")
    assert "2 forms, one curve: within 0.0001\u00a0% of float64 throughout" in chart.alt
    assert "layerwise, epoch graph; loops, njit, one core" in chart.alt and "batch 8" in chart.alt
    (axes,) = chart.figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [50, 20, 50]
    assert axes.lines[-1].get_color() == ORANGE, "ours lies on top"
    assert len(png_bytes(chart.figure)) <= LARGEST_FILE


def test_the_largest_gap_has_its_form_step_and_loss():
    late = REFERENCE.copy()
    late[30] *= 1.001
    late[44] *= 0.98
    chart = plot_losses({("jax", "scan"): REFERENCE * (1 - 3e-7), ("keras", "fit"): late}, REFERENCE)
    assert "within 0.01\u00a0% of float64 up to step 30, 2\u00a0% throughout" in chart.alt
    assert f"keras, fit at step 45, {0.02 * REFERENCE[44]:.2g} of a loss of {REFERENCE[44]:.2g}" in chart.alt
    assert "within 3\u00a0% of float64 throughout" in plot_losses({("jax", "scan"): REFERENCE * 0.97}, REFERENCE).alt


def test_equal_bits_are_told_as_such():
    assert "all losses are float64's to the last bit" in plot_losses({("jax", "scan"): REFERENCE}, REFERENCE).alt


@pytest.mark.parametrize("count", [1, 2, 11])
def test_lines_over_each_other_are_all_seen(count):
    """Every form's colour covers about its part of one straight curve."""
    keys = [("pytorch", "eager"), *((system, "x") for system in ("jax", "keras", "tensorflow", "loops", "layerwise"))]
    keys = [*keys, *((system, "y") for system in ("pytorch", "jax", "keras", "tensorflow", "loops"))][:count]
    chart = plot_losses(dict.fromkeys(keys, REFERENCE), REFERENCE)
    for line in chart.figure.axes[0].lines:  # names and the oracle's colour would be counted too
        line.set_visible(line.get_lw() < 5)
    for text in (*chart.figure.texts, *chart.figure.axes[0].texts):
        text.set_visible(False)
    whole = np.asarray(Image.open(io.BytesIO(png_bytes(chart.figure))).convert("RGB")).astype(int)
    seen = {}
    for system in dict.fromkeys(system for system, _ in keys):
        colour = np.array(to_rgb(SYSTEM_COLOURS[system])) * 255
        seen[system] = (np.abs(whole - colour).max(axis=-1) < 12).sum() / sum(key[0] == system for key in keys)
    assert min(seen.values()) > 0.5 * max(seen.values()) > 0, seen


def test_an_early_end_has_a_dot_and_its_step():
    losses = {("jax", "scan"): REFERENCE, ("loops", "njit"): REFERENCE[:20]}
    (axes,) = plot_losses(losses, REFERENCE).figure.axes
    dots = {len(line.get_xdata()): line.get_markevery() for line in axes.lines[1:]}
    assert dots == {50: [], 20: [19]}
    assert [text.get_text() for text in axes.texts if "step" in text.get_text()] == ["loops, njit, to step 20"]


@pytest.mark.parametrize("losses", [{}, {("jax", "scan"): np.full(50, np.nan)}, {("jax", "scan"): np.ones(51)}])
def test_what_is_no_loss_is_refused(losses):
    with pytest.raises(ValueError, match="expected finite losses of one engine at least, of 50 steps at most"):
        plot_losses(losses, REFERENCE)
