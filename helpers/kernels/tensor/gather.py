"""Fragments of transposed matrices: for the weight gradient a row is a channel, but memory has channels side by side.

Values of 16 bits are transposed while they are loaded; those of 32 bits are loaded one by one. A fragment here is
16 channels by the outputs of a step: a line of 16, or half of one in 32 bits. Must not learn what is multiplied.
"""

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.intrinsics import load_transposed


def gatherer(packed, cell):
    """Device functions to load fragments, by the `packed` values of a word.

    Parameters
    ----------
    packed : int
    cell : device function
        (image, row, column, output) -> word of shared memory: of an output of the line that begins at image, row and
        column of the block.

    Returns
    -------
    places(image, row, column, of_rows) -> four words
        Where this lane reads; `of_rows`: a fragment whose rows are channels (A), else whose columns are (B).
    rows(words, places, offset, step) -> four words
        A: of sixteen channels, and of the outputs of one step.
    columns(words, places, offset, step) -> four words
        B: likewise, two for each eight channels.
    steps : int
        Multiplications that take the line's 16 outputs.
    half : int
        Words from sixteen channels to the next.
    """
    return (*_transposed(cell), 1, 8) if packed == 2 else (*_one_by_one(cell), 2, 16)


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
    def load(words, places, offset, step):
        return load_transposed(words, places[0] + offset)

    return places, load, load


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
    def pick(places, step):
        return (places[0], places[1]) if step == 0 else (places[2], places[3])

    @device_function
    def rows(words, places, offset, step):
        near, far = pick(places, step)
        near, far = near + offset, far + offset
        return words[near], words[near + 8], words[far], words[far + 8]

    @device_function
    def columns(words, places, offset, step):
        near, far = pick(places, step)
        near, far = near + offset, far + offset
        return words[near], words[far], words[near + 8], words[far + 8]

    return places, rows, columns
