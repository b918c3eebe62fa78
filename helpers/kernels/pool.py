"""Pooling, maximum and average, forward and input gradient, for any window, stride and padding.

Knows one pooling's geometry; must not learn about its neighbours. A thread takes one cell of four neighbouring
channels (one channel where their number is no multiple of 4), so every output is written once, in a fixed order.
"""

from math import prod

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels import windows
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, store4
from helpers.unroll import registers, unroll, unrolled

ZERO, LOWEST = np.float32(0.0), np.float32(-np.inf)


@device_function
def load1(array, index):
    """One float32 of `array`, as a tuple: the scalar sibling of load4."""
    return (array[index],)


def pool_forward(op, batch, threads=128):
    """Kernel of y and, for "max", of the index in its window of each winning cell (row-major, the first of ties).

    Average pooling divides by the number of real cells; it ignores `winner`. NaN wins over every number.

    Raises
    ------
    ValueError
        If a max window has more than 256 cells: the winner's index is one byte.
    """
    _check(op)
    width = windows.vector_width(op.geometry.out_shape[3])
    cells = batch * prod(op.geometry.out_shape) // width
    make_body = _max_forward if op.geometry.mode == "max" else _average_forward
    return Kernel("pool_forward", make_body(op.geometry, width, cells), (-(-cells // threads), 1, 1), (threads, 1, 1))


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
    width = windows.vector_width(g.in_shape[3])
    cells = batch * prod(_tile_shape(g) if tiles else g.in_shape) // width
    body = (_tiles if tiles else _gather)(g, width, cells, op.mask is not None)
    return Kernel("pool_input_gradient", body, (-(-cells // threads), 1, 1), (threads, 1, 1))


def production(op, batch):
    """Tiles where windows neither overlap nor leave gaps nor have padding, else gather; blocks of 128 threads."""
    return {"pool_forward": pool_forward, "pool_input_gradient": pool_input_gradient}[op.kind](op, batch)


def VARIANTS(op, batch):
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


def _max_forward(g, width, cells):
    taps, load = prod(g.window), load4 if width == 4 else load1
    locate, read = windows.make_locate(g.out_shape, width), windows.make_read(g, windows.is_padded(g))

    @unrolled
    def body(y, winner, x):
        cell = np.int64(cuda.grid(1))
        if cell < cells:
            n, d, h, w, c = locate(cell)
            best = registers(width)
            where = registers(width)
            for v in unroll(width):
                best[v], where[v] = LOWEST, 0
            for tap in unroll(taps):
                at, real = read(n, d, h, w, c, tap)
                if real:
                    value = load(x, at)
                    for v in unroll(width):
                        if value[v] > best[v] or value[v] != value[v]:
                            best[v], where[v] = value[v], tap
            for v in unroll(width):
                winner[cell * width + v] = where[v]
            if width == 4:
                store4(y, cell * width, best[0], best[1], best[2], best[3])
            else:
                y[cell] = best[0]

    return body


def _average_forward(g, width, cells):
    taps, load, count = prod(g.window), load4 if width == 4 else load1, windows.make_count(g)
    locate, read = windows.make_locate(g.out_shape, width), windows.make_read(g, windows.is_padded(g))

    @unrolled
    def body(y, winner, x):
        cell = np.int64(cuda.grid(1))
        if cell < cells:
            n, d, h, w, c = locate(cell)
            total = registers(width)
            for v in unroll(width):
                total[v] = ZERO
            for tap in unroll(taps):
                at, real = read(n, d, h, w, c, tap)
                if real:
                    value = load(x, at)
                    for v in unroll(width):
                        total[v] += value[v]
            for v in unroll(width):
                total[v] /= np.float32(count(cell * width))
            if width == 4:
                store4(y, cell * width, total[0], total[1], total[2], total[3])
            else:
                y[cell] = total[0]

    return body


def _tiles(g, width, cells, masked):
    maximum, taps, load = g.mode == "max", prod(g.window), load4 if width == 4 else load1
    (depth, height, breadth, channels), share = g.out_shape, np.float32(1.0 / taps)
    whole = _tile_shape(g) == g.out_shape
    locate, read = windows.make_locate(_tile_shape(g), width), windows.make_read(g, not whole)

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
                value = load(dy, at)
                gate = load(mask, at) if masked and maximum else value
                for v in unroll(width):
                    if maximum:
                        where[v] = np.int64(winner[at + v])
                        gradient[v] = ZERO if masked and not gate[v] > ZERO else value[v]
                    else:
                        gradient[v] = value[v] * share
            for tap in unroll(taps):
                to, real = read(n, d, h, w, c, tap)
                if real:
                    for v in unroll(width):
                        if maximum:
                            cell[v] = gradient[v] if where[v] == tap else ZERO
                        else:
                            cell[v] = ZERO if masked and not mask[to + v] > ZERO else gradient[v]
                    if width == 4:
                        store4(dx, to, cell[0], cell[1], cell[2], cell[3])
                    else:
                        dx[to] = cell[0]

    return body


def _gather(g, width, cells, masked):
    maximum, load = g.mode == "max", load4 if width == 4 else load1
    covering, reader, count = prod(windows.covering_windows(g)), windows.make_reader(g), windows.make_count(g)
    locate = windows.make_locate(g.in_shape, width)

    @unrolled
    def body(dx, dy, winner, mask):
        cell = np.int64(cuda.grid(1))
        if cell < cells:
            n, d, h, w, c = locate(cell)
            total = registers(width)
            for v in unroll(width):
                total[v] = ZERO
            for number in unroll(covering):
                at, tap, real = reader(n, d, h, w, c, number)
                if real:
                    value = load(dy, at)
                    gate = load(mask, at) if masked and maximum else value
                    for v in unroll(width):
                        if maximum:
                            if winner[at + v] == tap and (not masked or gate[v] > ZERO):
                                total[v] += value[v]
                        else:
                            total[v] += value[v] / np.float32(count(at))
            if masked and not maximum:
                gate = load(mask, cell * width)
                for v in unroll(width):
                    total[v] = total[v] if gate[v] > ZERO else ZERO
            if width == 4:
                store4(dx, cell * width, total[0], total[1], total[2], total[3])
            else:
                dx[cell] = total[0]

    return body
