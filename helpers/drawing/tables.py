"""Tables as notebooks show them: thousands separated, numbers right-aligned, no cell cut off or broken into two lines.

Knows data frames; must not learn what a table is about.
"""

import html
from numbers import Integral, Real

import pandas as pd

EMPTY = "\u2013"


class Table:
    """A table that a notebook shows whole, made by `show_table`.

    Attributes
    ----------
    frame : pandas.DataFrame
        Every cell as the text that is shown.
    """

    def __init__(self, frame, numeric):
        self.frame, self._numeric = frame, numeric

    def _repr_html_(self):
        sides = ["right" if numeric else "left" for numeric in (False, *self._numeric)]
        head = _row("th", [self.frame.index.name or "", *self.frame.columns], sides)
        body = "\n".join(_row("td", row, sides) for row in self.frame.itertuples(name=None))
        return f"<table>\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def __repr__(self):
        return self.frame.to_string()


def _row(tag, texts, sides):
    cells = zip(texts, sides)
    return "<tr>" + "".join(
        f'<{tag} style="text-align: {side}; white-space: nowrap">{html.escape(str(text))}</{tag}>'
        for text, side in cells
    ) + "</tr>"  # fmt: skip


def show_table(frame, digits=2):
    """A data frame for the reader's eye.

    Parameters
    ----------
    frame : pandas.DataFrame
    digits : int
        Of numbers that are not whole, behind the point.

    Returns
    -------
    Table
        None where `frame` is None: its maker has said why.
    """
    if frame is None:
        return None
    numeric = [any(isinstance(value, Real) and value == value for value in frame[name]) for name in frame]
    whole = {name: all(_is_whole(value) for value in frame[name]) for name in frame}
    texts = {name: [_text(value, 0 if whole[name] else digits) for value in frame[name]] for name in frame}
    return Table(pd.DataFrame(texts, index=frame.index), numeric)


def _is_whole(value):
    return not isinstance(value, Real) or value != value or isinstance(value, Integral) or float(value).is_integer()


def _text(value, digits):
    if isinstance(value, Real):
        return f"{value:,.{digits}f}" if value == value else EMPTY
    return EMPTY if value is None else str(value)
