"""The chart of all losses says how far they lie apart and refuses what is no loss."""

import numpy as np
import pytest

from helpers.drawing.charts import LARGEST_FILE, png_bytes
from helpers.drawing.figure_style import ORANGE
from helpers.drawing.loss_charts import plot_losses

REFERENCE = np.linspace(2, 1, 50)


def test_one_curve():
    losses = {("layerwise", "epoch graph"): REFERENCE.copy(), ("loops", "njit, one core"): REFERENCE[:20] * (1 + 1e-6)}
    chart = plot_losses(losses, REFERENCE, "batch 8")
    assert "2 forms, one curve: no two losses of a step differ by more than 1 part in 1,000,000" in chart.alt
    assert "layerwise, epoch graph; loops, njit, one core" in chart.alt and "batch 8" in chart.alt
    (axes,) = chart.figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [50, 20, 50]
    assert axes.lines[-1].get_color() == ORANGE, "ours lies on top"
    assert len(png_bytes(chart.figure)) <= LARGEST_FILE


def test_equal_bits_are_told_as_such():
    assert "equal to the last bit" in plot_losses({("jax", "scan"): REFERENCE}, REFERENCE).alt


@pytest.mark.parametrize("losses", [{}, {("jax", "scan"): np.full(50, np.nan)}, {("jax", "scan"): np.ones(51)}])
def test_what_is_no_loss_is_refused(losses):
    with pytest.raises(ValueError, match="expected finite losses of one engine at least, of 50 steps at most"):
        plot_losses(losses, REFERENCE)
