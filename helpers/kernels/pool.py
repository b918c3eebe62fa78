"""Pooling, maximum and average, forward and input gradient, for any window, stride and padding.

Knows one pooling's geometry; must not learn about its neighbours. A thread takes one cell of four neighbouring
channels (one channel where their number is no multiple of 4), so every output is written once, in a fixed order.
"""

from math import prod

import numpy as np

from helpers.device import cuda
from helpers.kernels import windows
from helpers.kernels.base import Kernel
from helpers.kernels.vectors import gater, vector_loader, vector_storer, vector_width
from helpers.unroll import registers, unroll, unrolled

ZERO, LOWEST = np.float32(0.0), np.float32(-np.inf)


def pool_forward(op, batch, threads=128):
    """Kernel of y and, for "max", of the index in its window of each winning cell (row-major, the first of ties).

    Average pooling divides by the number of real cells; it ignores `winner`. NaN wins over every number.

    Raises
    ------
    ValueError
        If a max window has more than 256 cells: the winner's index is one byte.
    """
    _check(op)
    width = vector_width(op.geometry.out_shape[3])
    cells = batch * prod(op.geometry.out_shape) // width
    return Kernel("pool_forward", _forward(op.geometry, width, cells), (-(-cells // threads), 1, 1), (threads, 1, 1))


def pool_input_gradient(op, batch, threads=128, tiles=None):
    """Kernel of dx. Max: a window's gradient goes to its winner; average: to all its real cells alike.

    The mask, where the op has one, has the shape of y for max (a window passes nothing where it is not positive)
    and the shape of x for average.

    Parameters
    ----------
    op : Op
    batch, threads : int
    tiles : bool, optional
        True: a thread writes all cells of one window. False: a thread writes one cell and visits the windows that
        cover it. None: True where windows neither overlap nor leave gaps nor have padding.

    Raises
    ------
    ValueError
        For tiles where there can be none, or a max window of more than 256 cells.
    """
    _check(op)
    g = op.geometry
    can_tile = g.window == g.stride and not windows.is_padded(g)
    tiles = can_tile if tiles is None else tiles
    if tiles and not can_tile:
        raise ValueError(f"{op.layer} has overlapping, spread or padded windows; tiles need none, use tiles=False")
    width = vector_width(g.in_shape[3])
    cells = batch * prod(_tile_shape(g) if tiles else g.in_shape) // width
    body = (_tiles if tiles else _gather)(g, width, cells, op.mask is not None)
    return Kernel("pool_input_gradient", body, (-(-cells // threads), 1, 1), (threads, 1, 1))


def production(op, batch):
    """Tiles where windows neither overlap nor leave gaps nor have padding, else gather; blocks of 128 threads."""
    return {"pool_forward": pool_forward, "pool_input_gradient": pool_input_gradient}[op.kind](op, batch)


def variants(op, batch):
    """Other tilings worth timing."""
    if op.kind == "pool_forward":
        return [pool_forward(op, batch, threads) for threads in (64, 256)]
    gather = [pool_input_gradient(op, batch, threads, False) for threads in (128, 256)]
    return gather + [pool_input_gradient(op, batch, threads) for threads in (64, 256)]


def _check(op):
    cells = prod(op.geometry.window)
    if op.geometry.mode == "max" and cells > 256:
        raise ValueError(f"{op.layer} has a max window of {cells} cells; expected at most 256, choose a smaller one")


def _tile_shape(g):
    """Windows along each axis, the cut-off ones at the end included; channels."""
    return (*(-(-size // window) for size, window in zip(g.in_shape, g.window)), g.in_shape[3])


def _forward(g, width, cells):
    """Body: a thread takes the maximum or the average of one window."""
    maximum, taps, load, store = g.mode == "max", prod(g.window), vector_loader(width), vector_storer(width)
    locate, find_cell = windows.cell_locator(g.out_shape, width), windows.cell_finder(g, windows.is_padded(g))
    count, start = windows.cell_counter(g), LOWEST if maximum else ZERO

    @unrolled
    def body(y, winner, x):
        cell = np.int64(cuda.grid(1))
        if cell < cells:
            n, d, h, w, c = locate(cell)
            result = registers(width)
            where = registers(width)
            for v in unroll(width):
                result[v], where[v] = start, 0
            for tap in unroll(taps):
                at, real = find_cell(n, d, h, w, c, tap)
                if real:
                    value = load(x, at)
                    for v in unroll(width):
                        if not maximum:
                            result[v] += value[v]
                        elif value[v] > result[v] or value[v] != value[v]:
                            result[v], where[v] = value[v], tap
            for v in unroll(width):
                if maximum:
                    winner[cell * width + v] = where[v]
                else:
                    result[v] /= np.float32(count(cell * width))
            store(y, cell * width, result)

    return body


def _tiles(g, width, cells, masked):
    """Body: a thread spreads the gradient of one window over all its cells."""
    maximum, taps, load, store = g.mode == "max", prod(g.window), vector_loader(width), vector_storer(width)
    (depth, height, breadth, channels), share = g.out_shape, np.float32(1.0 / taps)
    whole = _tile_shape(g) == g.out_shape
    locate, find_cell = windows.cell_locator(_tile_shape(g), width), windows.cell_finder(g, not whole)
    gate_window, gate_cell = gater(width, masked and maximum), gater(width, masked and not maximum)

    @unrolled
    def body(dx, dy, winner, mask):
        tile = np.int64(cuda.grid(1))
        if tile < cells:
            n, d, h, w, c = locate(tile)
            gradient = registers(width)
            where = registers(width)
            cell = registers(width)
            for v in unroll(width):
                gradient[v], where[v] = ZERO, 0
            if whole or (d < depth and h < height and w < breadth):  # a cut-off tile is no window: zeros
                at = (((n * depth + d) * height + h) * breadth + w) * channels + c
                value = gate_window(load(dy, at), mask, at)
                for v in unroll(width):
                    if maximum:
                        gradient[v], where[v] = value[v], np.int64(winner[at + v])
                    else:
                        gradient[v] = value[v] * share
            for tap in unroll(taps):
                to, real = find_cell(n, d, h, w, c, tap)
                if real:
                    for v in unroll(width):
                        cell[v] = gradient[v] if not maximum or where[v] == tap else ZERO
                    store(dx, to, gate_cell(cell, mask, to))

    return body


def _gather(g, width, cells, masked):
    """Body: a thread adds up what one cell gets from the windows that cover it."""
    maximum, load, store = g.mode == "max", vector_loader(width), vector_storer(width)
    covering, find_window, count = prod(windows.covering_windows(g)), windows.window_finder(g), windows.cell_counter(g)
    locate = windows.cell_locator(g.in_shape, width)
    gate_window, gate_cell = gater(width, masked and maximum), gater(width, masked and not maximum)

    @unrolled
    def body(dx, dy, winner, mask):
        cell = np.int64(cuda.grid(1))
        if cell < cells:
            n, d, h, w, c = locate(cell)
            total = registers(width)
            for v in unroll(width):
                total[v] = ZERO
            for number in unroll(covering):
                at, tap, real = find_window(n, d, h, w, c, number)
                if real:
                    value = gate_window(load(dy, at), mask, at)
                    for v in unroll(width):
                        if not maximum:
                            total[v] += value[v] / np.float32(count(at))
                        elif winner[at + v] == tap:
                            total[v] += value[v]
            store(dx, cell * width, gate_cell(total, mask, cell * width))

    return body
