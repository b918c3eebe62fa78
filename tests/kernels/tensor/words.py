"""What the tests of tensor-core kernels share: the formats on a card each, and values read back from words."""

import numpy as np
import pytest

from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.fragments import SHAPES

FORMATS = [("3xtf32", (9, 0)), ("tf32", (9, 0)), ("bf16", (9, 0)), ("fp16", (7, 5))]
EVERY_FORMAT = pytest.mark.parametrize("precision, card", FORMATS, ids=[name for name, _ in FORMATS])
# of one value, relatively: half a step of the format, a little more of float32 arithmetic
ROUNDING = {"3xtf32": 2e-6, "tf32": 2.0**-11 + 2e-6, "bf16": 2.0**-8 + 2e-6, "fp16": 2.0**-11 + 2e-6}


def empty_words(precision, card, *shape):
    """Words for float32 values of `shape`, all of them NaN."""
    return np.full((*shape[:-1], shape[-1] // format_of(precision, card).packed), np.nan, np.float32)


def decode(words, precision):
    """float64 values of words, the last axis that of the values again."""
    if precision == "3xtf32":
        return words.astype(np.float64)
    values = SHAPES[f"mma_{precision}"].decode(words)
    return values.reshape(*words.shape[:-1], -1)
