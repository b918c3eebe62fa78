"""How numbers are written for a reader: times, bytes, ratios, shares, powers of ten.

Knows numbers and units; must not learn what they measure.
"""

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def show_time(value, unit):
    """A time with three digits and a unit that fits, e.g. 31.4 ms, 2.05 s, 1.40 h."""
    seconds = value * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    for limit, factor, name in ((1e-3, 1e6, "\u00b5s"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
        if seconds < limit:
            return f"{_digits(seconds * factor)} {name}"
    return f"{_digits(seconds / 3600)} h"


def show_bytes(count):
    """Bytes with three digits and a unit that fits, of 1000 each: 624 bytes, 13.3 KB, 5.24 MB."""
    for limit, factor, name in ((1e3, 1, None), (999.5e3, 1e3, "KB"), (999.5e6, 1e6, "MB")):
        if count < limit:
            return f"{_digits(count / factor)} {name}" if name else f"{count:,.0f} bytes"
    return f"{_digits(count / 1e9)} GB"


def _digits(value):
    """Three significant digits, thousands with a comma."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def show_ratio(ratio):
    """A ratio with its cross; small ones with a digit more, those next to 1 with two, those below as a fraction.

    Of thousands two digits: what is so much slower spreads by more than the third one.
    """
    ratio = float(f"{ratio:.2g}") if ratio >= 999.5 else ratio
    if 0.95 <= ratio < 1.05 and f"{ratio:.2f}" != "1.00":
        return f"{ratio:.2f}\u00d7"
    if ratio < 0.95:
        return f"1/{show_ratio(1 / ratio)}"[:-1]
    return f"{ratio:,.0f}\u00d7" if ratio >= 19.5 else f"{ratio:.1f}\u00d7"


def show_spread(least, most):
    """Between which ratios single runs lie."""
    first, last = show_ratio(least), show_ratio(most)
    return f"{first} in every run" if first == last else f"{first} to {last} from run to run"


def show_share(share, digits=0):
    """A share of 1 in per cent."""
    if digits == 0 and 0 < share < 0.005:
        return "<1\u00a0%"
    return f"{100 * share:.{digits}f}\u00a0%"


def show_power(value, _=None):
    """A power of ten as 10 with its exponent raised, in the font of all other text; for ticks of logarithmic axes."""
    return f"10{str(round(math.log10(value))).translate(SUPERSCRIPTS)}"
