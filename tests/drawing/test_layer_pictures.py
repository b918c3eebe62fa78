"""Pictures of layers: each holds what it is given, says it in words, and stays small."""

import numpy as np
import pytest

from helpers.drawing.charts import png_bytes
from helpers.drawing.layer_pictures import (
    draw_filters,
    draw_images,
    draw_lines,
    draw_matrix_of_windows,
    draw_pooling,
    draw_window,
)

RANDOM = np.random.default_rng(0)


def texts(chart):
    found = [text.get_text() for text in chart.figure.texts]
    for axes in chart.figure.axes:
        found += [text.get_text() for text in axes.texts] + [axes.get_xlabel(), axes.get_ylabel()]
    return found


@pytest.fixture(params=["images", "window", "pooling", "matrix", "filters", "lines"])
def chart(request):
    square = RANDOM.standard_normal((4, 4))
    return {
        "images": lambda: draw_images(RANDOM.integers(0, 255, (3, 8, 8, 1), np.uint8), [1, 2, 3], "A title"),
        "window": lambda: draw_window(square, square[:3, :3], square[:2, :2], 1, 0, "A title"),
        "pooling": lambda: draw_pooling(square, square[:2, :2], square[:2, :2], square, square > 0, "A title"),
        "matrix": lambda: draw_matrix_of_windows(square, RANDOM.standard_normal((4, 9)), (3, 3), 3, "A title"),
        "filters": lambda: draw_filters({"a": square[..., None], "b": square[..., None]}, "A title"),
        "lines": lambda: draw_lines({"a": ([1, 2], [0.1, 0.2])}, "A title", "x", "y", log="xy"),
    }[request.param]()


def test_title_alt_and_size(chart):
    assert "A title" in texts(chart)
    assert chart.alt.startswith("A title.") and len(chart.alt) > len("A title.") + 5
    assert png_bytes(chart.figure).startswith(b"\x89PNG")


def test_labels_of_images_are_shown():
    shown = texts(draw_images(np.zeros((2, 4, 4, 1), np.uint8), [7, 9], "A title"))
    assert "7" in shown and "9" in shown


def test_numbers_of_the_window_are_shown():
    image = np.arange(16).reshape(4, 4)
    shown = texts(draw_window(image, np.ones((2, 2)), image[:3, :3], 1, 2, "A title"))
    assert {"6", "7", "10", "11"} <= set(shown) and "window, 2 x 2" in shown


def test_lines_are_named_apart():
    chart = draw_lines({"first": ([0, 1], [1.0, 2.0]), "second": ([0, 1], [3.0, 2.0])}, "A title", "x", "y")
    names = {text.get_text(): text for axes in chart.figure.axes for text in axes.texts}
    assert abs(names["first"].xyann[1] - names["second"].xyann[1]) >= 12
