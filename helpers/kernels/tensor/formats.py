"""Number formats of tensor cores: how float32 values become words, and what multiplies eight words of every row.

Must not learn where the words lie.
"""

from dataclasses import dataclass

from helpers.device import device_function
from helpers.kernels.tensor import intrinsics
from helpers.kernels.tensor.fragments import SHAPES
from helpers.kernels.tensor.intrinsics import round_tf32

STARTS = {"tf32": (8, 0), "bf16": (8, 0), "fp16": (7, 5)}  # compute capability from which on a format is there
WHOLE_FP16 = (8, 0)  # from here on an instruction takes 16 terms of fp16, eight words of a row; before, half of them


@dataclass(frozen=True)
class Format:
    """One format on one card: `packed` values of a word, and two device functions.

    encode(low, high) -> word: of two float32 that follow each other; only the first where a word holds one value.
    multiply(a, low, high, c0, c1, c2, c3) -> four sums: `a` are four words of A, rows l // 4 and l // 4 + 8 of its
    first and of its last four words (l: the lane); `low` and `high` the words of B, of its column l // 4.
    """

    packed: int
    encode: object
    multiply: object


def format_of(precision, capability):
    """The `Format` of a precision on a card.

    Parameters
    ----------
    precision : {"tf32", "bf16", "fp16"}
    capability : (int, int)

    Raises
    ------
    ValueError
        For another precision, or a card whose tensor cores do not have it.
    """
    if precision not in STARTS:
        raise ValueError(f"precision is {precision!r}; tensor cores offer {', '.join(map(repr, STARTS))}")
    if capability < STARTS[precision]:
        least, has = (".".join(map(str, c)) for c in (STARTS[precision], capability))
        raise ValueError(f"{precision} needs a card of compute capability {least}; this one has {has}: choose 'fp16'")
    halves = precision == "fp16" and capability < WHOLE_FP16
    name = "mma_fp16_short" if halves else f"mma_{precision}"
    multiply = (_in_halves if halves else _at_once)(getattr(intrinsics, name))
    encode = {"tf32": _first_of_two, "bf16": intrinsics.pack_bf16, "fp16": intrinsics.pack_fp16}[precision]
    return Format(SHAPES[name].packed, encode, multiply)


@device_function
def _first_of_two(low, high):
    return round_tf32(low)


def _at_once(mma):
    @device_function
    def multiply(a, low, high, c0, c1, c2, c3):
        return mma(a[0], a[1], a[2], a[3], low, high, c0, c1, c2, c3)

    return multiply


def _in_halves(mma):
    @device_function
    def multiply(a, low, high, c0, c1, c2, c3):
        c0, c1, c2, c3 = mma(a[0], a[1], low, c0, c1, c2, c3)
        return mma(a[2], a[3], high, c0, c1, c2, c3)

    return multiply
