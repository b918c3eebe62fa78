"""Tables keep every digit and every word."""

import numpy as np
import pandas as pd

from helpers.drawing.tables import show_table


def test_numbers_are_separated_and_words_are_whole():
    words = "larger tiles, double buffering, tiles chosen by layer, and more than pandas shows"
    frame = pd.DataFrame({"bytes": [188098560, 0], "time": [2.345, np.nan], "what": [words, None], "<b>": [1.0, 2.0]})
    table = show_table(frame.rename_axis("one epoch"))
    page = table._repr_html_()
    for text in ("188,098,560", ">2.35<", "\u2013", words, "&lt;b&gt;", "one epoch", "nowrap", ">2<"):
        assert text in page
    assert page.count("text-align: right") == 3 * 3 and "188,098,560" in repr(table)


def test_nothing_to_show():
    assert show_table(None) is None
