"""Ticks of logarithmic axes: two to seven round values, whether an axis spans a twentieth or nine powers of ten.

Knows matplotlib's locators; must not learn what an axis stands for.
"""

from math import ceil, floor, log10

from matplotlib.ticker import LogLocator

FEW, MOST = 3, 7
APART = 0.12  # least distance of two ticks as a share of the axis: their labels stand beside each other
DECADES = (1, 2, 3, 4, 6, 12)  # powers of ten from a tick to the next
DIGITS = (1, 2, 5)  # of steps
SERIES = ((1, 3), DIGITS, (1, 1.5, 2, 3, 5, 7))  # first digits of the values in a power of ten


def round_values(low, high):
    """Round values from `low` to `high`, as few digits as possible: powers of ten, parts of them, equal steps.

    Parameters
    ----------
    low, high : float
        Positive; `high` is larger by a thousandth at least.

    Returns
    -------
    list of float
        Two to seven; on a wider axis three at least.
    """
    choices = [_within(low, high, values) for values in _families(low, high)]
    choices = [values for values in choices if 2 <= len(values) <= MOST]
    for least in (FEW, 2):
        for values in choices:
            if len(values) >= least and _closest(values) >= APART * log10(high / low):
                return values
    return max(choices, key=_closest, default=[low, high])


def _families(low, high):
    """Ever finer series of round values that cover an axis."""
    first, last = floor(log10(low)), ceil(log10(high))
    for step in DECADES:
        yield [10.0**power for power in range(step * (first // step), last + 1, step)]
    for digits in SERIES:
        yield [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
    width = high - low
    for power in range(ceil(log10(width)), floor(log10(width)) - 3, -1):
        for digit in reversed(DIGITS):
            step = digit * 10.0**power
            if width / step < 50:
                yield [count * step for count in range(max(1, floor(low / step)), ceil(high / step) + 1)]


def _within(low, high, values):
    slack = 1e-9  # a limit that is a round value itself has its tick
    return [value for value in values if low * (1 - slack) <= value <= high * (1 + slack)]


def _closest(values):
    """Powers of ten between the two values that are closest to each other."""
    return min(log10(after / before) for before, after in zip(values, values[1:]))


class RoundLogLocator(LogLocator):
    """Major ticks of a logarithmic axis at `round_values` of its limits."""

    def tick_values(self, vmin, vmax):
        """Ticks between two limits, in any order of the two."""
        low, high = sorted((vmin, vmax))
        return round_values(low, high) if 0 < low < high else []
