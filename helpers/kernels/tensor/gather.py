"""Fragments of transposed matrices: for the weight gradient a row is a channel, but memory has channels side by side.

Values of 16 bits are transposed while they are loaded; those of 32 bits are loaded one by one. A fragment here is a
line of 16 outputs by 32 channels. Must not learn what is multiplied.
"""

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.intrinsics import load_transposed
from helpers.unroll import registers, unroll, unrolled


def gatherer(packed, cell):
    """Device functions to load fragments, by the `packed` values of a word.

    Parameters
    ----------
    packed : int
    cell : device function
        (image, row, column of the block's first output of this warp, output of the line) -> word of shared memory.

    Returns
    -------
    places(image, row, column, of_rows) -> four words
        Where this lane reads; `of_rows`: a fragment whose rows are channels (A), else whose columns are (B).
    rows(words, places, offset) -> 16 x steps words
        A: for each half of the channels, for each step, four words.
    columns(words, places, offset) -> 8 x steps words
        B: for each eight channels, for each step, two words.
    steps : int
        Multiplications that take the line's 16 outputs.
    """
    return (*_transposed(cell), 1) if packed == 2 else (*_one_by_one(cell), 2)


def _transposed(cell):
    @device_function
    def places(image, row, column, of_rows):
        lane = remainder(cuda.threadIdx.x, WARP)
        matrix, line = quotient(lane, 8), remainder(lane, 8)
        first, second = remainder(matrix, 2), quotient(matrix, 2)
        output, channels = (second, first) if of_rows else (first, second)
        place = cell(image, row, column, line + 8 * output) + 4 * channels
        return place, place, place, place

    @device_function
    @unrolled
    def rows(words, places, offset):
        a = registers(8)
        for i in unroll(0, 8, 4):
            a[i], a[i + 1], a[i + 2], a[i + 3] = load_transposed(words, places[0] + offset + 2 * i)
        return a

    return places, rows, rows


def _one_by_one(cell):
    @device_function
    def places(image, row, column, of_rows):
        lane = remainder(cuda.threadIdx.x, WARP)
        output, channel = remainder(lane, 4), quotient(lane, 4)
        return (
            cell(image, row, column, output) + channel,
            cell(image, row, column, output + 4) + channel,
            cell(image, row, column, output + 8) + channel,
            cell(image, row, column, output + 12) + channel,
        )

    @device_function
    @unrolled
    def rows(words, places, offset):
        a = registers(16)
        for half in unroll(2):
            for i in unroll(8):
                a[8 * half + i] = words[places[i // 2] + offset + 16 * half + 8 * (i % 2)]
        return a

    @device_function
    @unrolled
    def columns(words, places, offset):
        b = registers(16)
        for j in unroll(4):
            for i in unroll(4):
                b[4 * j + i] = words[places[i] + offset + 8 * j]
        return b

    return places, rows, columns
