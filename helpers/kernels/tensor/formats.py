"""Number formats of tensor cores: how float32 values become words, and what multiplies eight words of every row.

Must not learn where the words lie.
"""

from dataclasses import dataclass

import numpy as np

from helpers.device import device_function
from helpers.kernels.tensor import intrinsics
from helpers.kernels.tensor.fragments import SHAPES
from helpers.kernels.tensor.intrinsics import follow, mma_tf32, put_half, round_tf32

# compute capability from which on a format is there
STARTS = {"3xtf32": (8, 0), "tf32": (8, 0), "bf16": (8, 0), "fp16": (7, 5)}
WHOLE_FP16 = (8, 0)  # from here on an instruction takes 16 terms of fp16, eight words of a row; before, half of them
ZERO = np.float32(0.0)
CHAINS = (9, 0)  # from here on a kernel may start before the one in front of it has ended
COPIES = (8, 0)  # from here on copies to shared memory run on while the thread computes


@dataclass(frozen=True)
class Format:
    """One format on one card: `packed` values of a word, and device functions.

    encode(low, high) -> word: of two float32 that follow each other; only the first where a word holds one value.
    multiply(a, left, right, sums) -> sixteen sums: of a line by four times eight columns, see intrinsics.py.
    parts(word) -> two float32: a word's values; of one value, that and 0.
    put(array, index, value): a float32, rounded, to an array of `storage`, in which each value has a cell.

    `copies` tells whether the card copies to shared memory while its threads compute, `chains` whether a kernel may
    start before the one that it follows has ended.
    """

    name: str
    packed: int
    encode: object
    multiply: object
    parts: object
    put: object
    copies: bool
    chains: bool

    @property
    def storage(self):
        """Type of an array with a cell for each value."""
        return "float32" if self.packed == 1 else "uint16"

    @property
    def scaled(self):
        """Whether the loss is scaled: values below 2**-24 vanish in fp16; the others reach as far down as float32."""
        return self.name == "fp16"


def format_of(precision, capability):
    """The `Format` of a precision on a card.

    Parameters
    ----------
    precision : {"3xtf32", "tf32", "bf16", "fp16"}
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
    on_card = capability >= COPIES, capability >= CHAINS
    if precision == "3xtf32":
        return Format(precision, 1, _first_of_two, _in_three, _alone, _put_value, *on_card)
    if precision == "tf32":
        return Format(precision, 1, _rounded_first, mma_tf32, _alone, _put_tf32, *on_card)
    name = "mma_fp16_short" if precision == "fp16" and capability < WHOLE_FP16 else f"mma_{precision}"
    multiply = getattr(intrinsics, name)
    pack, low, high = (getattr(intrinsics, f"{verb}_{precision}") for verb in ("pack", "low", "high"))
    return Format(precision, SHAPES[name].packed, pack, multiply, _both(low, high), _put_packed(pack), *on_card)


@device_function
def _first_of_two(low, high):
    return low


@device_function
def _rounded_first(low, high):
    return round_tf32(low)


@device_function
def _alone(word):
    return word, ZERO


@device_function
def _put_value(array, index, value):
    array[index] = value


@device_function
def _put_tf32(array, index, value):
    array[index] = round_tf32(value)


def follower(form):
    """Device function without arguments: what a chained kernel calls before it reads what the one in front of it wrote.

    What it read before may be of earlier kernels only.
    """

    @device_function
    def nothing():
        pass

    return follow if form.chains else nothing


def _both(low, high):
    @device_function
    def parts(word):
        return low(word), high(word)

    return parts


def _put_packed(pack):
    @device_function
    def put(array, index, value):
        put_half(array, index, pack(value, value))

    return put


@device_function
def _in_three(a, left, right, sums):
    """Of float32 words, by three products of tf32: each operand is its nearest tf32 and what that leaves.

    The product of what both leave is too small to count (Ootomo and Yokota, Int. J. High Perform. Comput. Appl. 36,
    2022). The small products come first.
    """
    x, y, z = _nearest(a), _nearest(left), _nearest(right)
    sums = mma_tf32(x, _rest(left, y), _rest(right, z), sums)
    sums = mma_tf32(_rest(a, x), y, z, sums)
    return mma_tf32(x, y, z, sums)


@device_function
def _nearest(words):
    return round_tf32(words[0]), round_tf32(words[1]), round_tf32(words[2]), round_tf32(words[3])


@device_function
def _rest(words, nearest):
    return (
        round_tf32(words[0] - nearest[0]),
        round_tf32(words[1] - nearest[1]),
        round_tf32(words[2] - nearest[2]),
        round_tf32(words[3] - nearest[3]),
    )
