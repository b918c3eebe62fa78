"""Copies of boxes of an image to shared memory, for tensor cores: row by row, in pieces of four words.

A group of threads takes a row at a time and steps along it by constants, so that a piece costs few instructions. On
cards that can, copies run on while the threads multiply what came before. Must not learn what is multiplied.
"""

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


def row_copier(copy, threads, lines, columns, pitch, pieces, width, words, locate, find_column=None):
    """Device function copy_rows(shared, source, image, z, row, column, channel): a box of `lines` x `columns` cells.

    Parameters
    ----------
    copy : device function
        Of a piece.
    threads, lines, columns : int
        Threads of the block; rows of all images of the box together, and their cells.
    pitch, pieces : int
        Words from a cell to the next in shared memory, and pieces that are copied of each.
    width, words : int
        Cells of a row of the source, and words of each.
    locate : device function
        (line, image, z, row, channel) -> (begin, real): the word of the source where the row of that line begins, for
        its cell 0 and the first channel; whether there is such a row.
    find_column : device function, optional
        column -> (column of the source, whether it exists), where that is no step by a constant.

    Returns
    -------
    device function
        `column` is the box's first in the source; cells outside of it become zeros.
    """
    lanes = _lanes(threads, lines, columns * pieces, pieces)
    count, workers, step = columns * pieces, threads // lanes, lanes // pieces
    turns, even = -(-count // lanes), count % lanes == 0

    @device_function
    def copy_rows(shared, source, image, z, row, column, channel):
        thread = np.int64(cuda.threadIdx.x)
        lane = remainder(thread, lanes)
        cell, part = quotient(lane, pieces), PIECE * remainder(lane, pieces)
        for line in range(quotient(thread, lanes), lines, workers):
            begin, real = locate(line, image, z, row, channel)
            to, place = (line * columns + cell) * pitch + part, column + cell
            at = begin + place * words + part
            for turn in range(turns):
                if even or lane + turn * lanes < count:
                    copy(shared, to, source, at, real & (place >= 0) & (place < width))
                to, at, place = to + step * pitch, at + step * words, place + step

    @device_function
    def copy_spread(shared, source, image, z, row, column, channel):
        thread = np.int64(cuda.threadIdx.x)
        lane = remainder(thread, lanes)
        for line in range(quotient(thread, lanes), lines, workers):
            begin, real = locate(line, image, z, row, channel)
            for piece in range(lane, count, lanes):
                cell, part = quotient(piece, pieces), PIECE * remainder(piece, pieces)
                place, inside = find_column(column + cell)
                at = begin + place * words + part
                copy(shared, (line * columns + cell) * pitch + part, source, at, real & inside)

    return copy_spread if find_column else copy_rows


def _lanes(threads, lines, count, pieces):
    """Threads that share a row of `count` pieces: a power of 2, by the instructions that it costs."""

    def cost(lanes):
        rows = -(-lines * lanes // threads)
        return rows * (ROW_COST + PIECE_COST * -(-count // lanes))

    return min((lanes for lanes in (4, 8, 16, 32) if lanes >= pieces), key=cost)
