"""Copies of boxes of an image to shared memory, for tensor cores: row by row, in pieces of four words.

A group of threads takes a row at a time and steps along it by constants, so that a piece costs few instructions. On
cards that can, copies run on while the threads multiply what came before. Must not learn what is multiplied.
"""

from dataclasses import dataclass, replace

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.fused.intrinsics import wait_for_copies
from helpers.kernels.intrinsics import load4, quotient, remainder, store4
from helpers.kernels.tensor.intrinsics import copy_words

PIECE = 4  # words that one instruction copies
ROW_COST, PIECE_COST = 40, 6  # instructions that a thread spends on a row and on a piece, about
ZERO = np.float32(0.0)


def copier(asynchronous):
    """Device functions copy(target, index, source, begin, inside) of a piece, zeros if not `inside`, and arrived()."""

    @device_function
    def copy_now(target, index, source, begin, inside):
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        if inside:
            a, b, c, d = load4(source, begin)
        store4(target, index, a, b, c, d)

    @device_function
    def nothing():
        pass

    return (copy_words, wait_for_copies) if asynchronous else (copy_now, nothing)


@dataclass(frozen=True)
class Box:
    """What of an image is copied: `pictures` of `rows` x `columns` cells, `pieces` of each.

    `pitch` words from a cell to the next in shared memory; in the source a row has `width` cells of `words` words each.
    """

    pictures: int
    rows: int
    columns: int
    pieces: int
    pitch: int
    width: int
    words: int

    def joined(self, height):
        """The same as one row a picture, where whole rows of the source are copied and none hangs over its `height`."""
        whole = self.columns == self.width and height % self.rows == 0
        cells = self.rows * self.columns
        return replace(self, rows=1, columns=cells, width=cells) if whole else self


def row_copier(copy, threads, box, locate, find_column=None):
    """Device function copy_rows(shared, source, image, z, row, column, channel).

    Parameters
    ----------
    copy : device function
        Of a piece.
    threads : int
        Of the block.
    box : Box
    locate : device function
        (picture, r, image, z, row, channel) -> (begin, real): the word of the source where row r of that picture
        begins, for its cell 0 and the first channel; whether there is such a row.
    find_column : device function, optional
        column -> (column of the source, whether it exists), where that is no step by a constant.

    Returns
    -------
    device function
        `image`, `z`, `row` and `column` are the box's first in the source; cells outside of it become zeros.
    """
    lanes = _lanes(threads, box.pictures * box.rows, box.columns * box.pieces, box.pieces)
    pictures, rows, columns, pieces, pitch, words = (
        box.pictures, box.rows, box.columns, box.pieces, box.pitch, box.words
    )  # fmt: skip
    count, workers, step = columns * pieces, threads // lanes, lanes // pieces
    turns, even, width = -(-count // lanes), count % lanes == 0, box.width
    picture_step, row_step = workers // rows, workers % rows

    @device_function
    def start():
        thread = np.int64(cuda.threadIdx.x)
        worker, lane = quotient(thread, lanes), remainder(thread, lanes)
        return worker, quotient(worker, rows), remainder(worker, rows), lane

    @device_function
    def advance(line, picture, r):
        picture, r = picture + picture_step, r + row_step
        over = r >= rows
        return line + workers, picture + 1 if over else picture, r - rows if over else r

    @device_function
    def copy_rows(shared, source, image, z, row, column, channel):
        line, picture, r, lane = start()
        cell, part = quotient(lane, pieces), PIECE * remainder(lane, pieces)
        while picture < pictures:
            begin, real = locate(picture, r, image, z, row, channel)
            to, place = (line * columns + cell) * pitch + part, column + cell
            at = begin + place * words + part
            for turn in range(turns):
                if even or lane + turn * lanes < count:
                    copy(shared, to, source, at, real & (place >= 0) & (place < width))
                to, at, place = to + step * pitch, at + step * words, place + step
            line, picture, r = advance(line, picture, r)

    @device_function
    def copy_spread(shared, source, image, z, row, column, channel):
        line, picture, r, lane = start()
        while picture < pictures:
            begin, real = locate(picture, r, image, z, row, channel)
            for piece in range(lane, count, lanes):
                cell, part = quotient(piece, pieces), PIECE * remainder(piece, pieces)
                place, inside = find_column(column + cell)
                at = begin + place * words + part
                copy(shared, (line * columns + cell) * pitch + part, source, at, real & inside)
            line, picture, r = advance(line, picture, r)

    return copy_spread if find_column else copy_rows


def _lanes(threads, lines, count, pieces):
    """Threads that share a row of `count` pieces: a power of 2, by the instructions that it costs."""

    def cost(lanes):
        rows = -(-lines * lanes // threads)
        return rows * (ROW_COST + PIECE_COST * -(-count // lanes))

    return min((lanes for lanes in (4, 8, 16, 32) if lanes >= pieces), key=cost)
