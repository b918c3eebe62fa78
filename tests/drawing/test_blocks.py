"""Drawings count what the trace holds, say so in their title and alt text, and refuse what they cannot draw."""

import numpy as np
import pytest

from helpers.device import cuda
from helpers.drawing.blocks import draw_trace, draw_warp
from helpers.drawing.charts import save_figure
from helpers.kernels.base import Kernel
from helpers.trace import TraceError, trace


def spread_out(y, x):
    y[2 * cuda.grid(1)] = x[2 * cuda.grid(1)]


def strided(stride):
    def body(y, x):
        y[cuda.grid(1)] = x[cuda.grid(1) * stride]

    kernel = Kernel("strided", body, (2, 1, 1), (32, 1, 1))
    return trace(kernel, np.zeros(64, np.float32), np.zeros(64 * stride, np.float32))


def test_trace_drawing_counts_and_fits_a_notebook(tmp_path):
    chart = draw_trace(strided(2), {"x": (1, 8, 8, 2), "y": (8, 8)}, block=1, thread=(3, 0, 0))
    assert "thread (3, 0, 0) of block (1, 0, 0)" in chart.alt
    assert "x (1 x 8 x 8 x 2): block reads 32 cells, thread 1" in chart.alt
    titles = [axes.get_title("left") for axes in chart.figure.axes]
    assert [title for title in titles if title] == ["x, channel 0", "x, channel 1", "y"]
    assert save_figure(chart, "trace", tmp_path).stat().st_size < 80_000


@pytest.mark.parametrize("stride, claim", [(1, "4 sectors: the fewest possible"), (2, "8 sectors where 4 would do")])
def test_warp_drawing_names_its_sectors(stride, claim):
    assert claim in draw_warp(strided(stride), "x").alt


@pytest.mark.parametrize("kind, array, words", [("read", "x", "fetched, not used"), ("write", "y", "not written")])
def test_a_store_is_not_said_to_fetch(kind, array, words):
    kernel = Kernel("spread", spread_out, (1, 1, 1), (32, 1, 1))
    chart = draw_warp(trace(kernel, np.zeros(64, np.float32), np.zeros(64, np.float32)), array, kind)
    (axes,) = chart.figure.axes
    assert any(words in text.get_text() for text in axes.texts)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(TraceError, match="do not make the shape"):
        draw_trace(strided(1), {"x": (3, 3)})
    with pytest.raises(TraceError, match="never writes x"):
        draw_warp(strided(1), "x", "write")
    with pytest.raises(TraceError, match="only 1 times; access is 4"):
        draw_warp(strided(1), "x", access=4)
