"""How blocks and threads share the parameters of layers and their partial sums, and how these are added.

All sums run in a fixed order. Must not learn what becomes of a sum.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, narrow, pointer, store4
from helpers.kernels.tensor.packing import QUAD
from helpers.kernels.update import LEAST_COLUMNS
from helpers.unroll import registers, tile_of, unroll, unrolled

ZERO = np.float32(0.0)


def share_out(layers, begin, ahead, threads):
    """Rows of all that a block must know of its layer, and the block behind the last.

    A row: first block, block behind, offset, size, splits, source, log2 of the columns, turns, rounds, and step, floats
    from a thread's split to its next.

    A parameter gets the fewest shares, a power of two, that have at most `ahead`
    splits each; a thread makes two of them in turn, so that half as many threads read as much. A block keeps at least
    `LEAST_COLUMNS` columns, each of one thread's parameters.

    Parameters
    ----------
    layers : tuple of LayerUpdate
    begin : int
        The first block of all.
    ahead, threads : int
    """
    table = []
    for layer in layers:
        shares = 1
        while shares * ahead < layer.splits and threads // shares >= LEAST_COLUMNS:
            shares *= 2
        turns = min(2, shares)
        columns, rounds = threads * turns // shares, -(-layer.splits // (shares * ahead))
        end = begin - -layer.size // (columns * layer.together)
        place = layer.offset, layer.size, layer.splits, layer.source
        table.append((begin, end, *place, columns.bit_length() - 1, turns, rounds, shares * layer.size))
        begin = end
    return tuple(table), begin


def share_out_all(layers, begin, ahead, threads):
    """(quads, rows of these, singles, rows of these, blocks): layers that take four parameters a thread, then others.

    Parameters and rows as in `share_out`.
    """
    quads, singles = (tuple(layer for layer in layers if layer.together == n) for n in (QUAD, 1))
    table, first = share_out(quads, begin, ahead, threads)
    rest, blocks = share_out(singles, first, ahead, threads)
    return quads, table, singles, rest, blocks


def finder(threads, together):
    """Device function find(block, thread, row) -> the thread's first parameter in the layer, its lane and log2 of the
    lanes, which share the splits.

    Parameters
    ----------
    threads : int
        Of a block.
    together : int
        Parameters of a thread.
    """
    log = threads.bit_length() - 1

    @device_function
    def find(block, thread, row):
        begin, shift = row[0], row[6]
        i = (((block - begin) << shift) + (thread & ((1 << shift) - 1))) * together
        return i, thread >> shift, log - shift

    return find


def splits_summer(ahead, width):
    """Device function sum_splits(gradient, at, size, left, share, turns, rounds, step) -> sums of `width` parameters.

    `share` is the row's lanes as a power of two: a thread adds splits from the one at `at` on, of the `left` that there
    are, in each turn every (lanes * turns)-th; `size` floats are between two splits. The turns' sums are added.

    Parameters
    ----------
    ahead : int
        Splits that are read before the first is added.
    width : {1, 4}
        Four are read by one load, from a multiple of 4 on.
    """

    @device_function
    @unrolled
    def sum_splits(gradient, at, size, left, share, turns, rounds, step):
        part = registers(ahead, width)
        total = registers(width)
        turn_sum = registers(width)
        for c in unroll(width):
            total[c] = ZERO
        shift = share + turns - 1  # turns are 1 or 2
        step = narrow(step)
        for turn in range(turns):
            for c in unroll(width):
                turn_sum[c] = ZERO
            first, behind = at + (turn * size << share), left - (turn << share)
            for _ in range(rounds):
                splits = pointer(gradient, first if behind > 0 else 0)
                there = np.int32((behind + (1 << shift) - 1) >> shift)
                for k in unroll(ahead):  # all reads are in flight before the first is added
                    for c in unroll(width):
                        part[k, c] = ZERO
                    if k < there:
                        if width == 1:
                            part[k, 0] = splits[k * step]
                        else:
                            part[k, 0], part[k, 1], part[k, 2], part[k, 3] = load4(splits, k * step)
                for k in unroll(ahead):
                    for c in unroll(width):
                        turn_sum[c] += part[k, c]
                first, behind = first + ahead * step, behind - (ahead << shift)
            for c in unroll(width):
                total[c] += turn_sum[c]
        return total

    return sum_splits


def lanes_adder(threads):
    """Device function add_lanes(values, sums, thread, shift) -> in lane 0 the sums of all lanes' four.

    By halves through shared memory, at `values`; a lane has 1 << shift threads. A half's place is its own, so that it
    is written once.
    """

    @device_function
    @unrolled
    def add_lanes(values, sums, thread, shift):
        own = tile_of(sums, QUAD)
        half = threads >> 1
        while half >= 1 << shift:
            if (thread >= half) & (thread < 2 * half):
                store4(values, thread * QUAD, own[0], own[1], own[2], own[3])
            cuda.syncthreads()
            if thread < half:
                a, b, c, d = load4(values, (thread + half) * QUAD)
                own[0], own[1], own[2], own[3] = own[0] + a, own[1] + b, own[2] + c, own[3] + d
            half >>= 1
        return own

    return add_lanes
