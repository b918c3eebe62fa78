"""Boxes of a channels-last tensor in shared memory: how threads share the moves, and the functions that make them.

Must not learn what is computed from a box.
"""

from typing import NamedTuple

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, quotient, remainder, store4
from helpers.unroll import registers, tile_of, unroll, unrolled


def ceil(a, b):
    """Quotient rounded up."""
    return -(-a // b)


class Box(NamedTuple):
    """Part of a channels-last tensor in shared memory: `planes` x `rows` rows, `pitch` floats from row to row.

    A row is `vectors` vectors of `quad` floats: 4, or 1 where rows do not start on 16 bytes. Where a tile holds all
    channels (`flat`), a row of pixels is one run of floats. `lanes` threads fetch a row in `steps`, `together` rows
    at once, so a thread makes `loads` in all.
    """

    planes: int
    rows: int
    pitch: int
    quad: int
    flat: int
    vectors: int
    lanes: int
    steps: int
    together: int
    loads: int

    @property
    def floats(self):
        """Size, a multiple of 4."""
        return ceil(self.planes * self.rows * self.pitch, 4) * 4


def make_box(planes, rows, columns, shape, tile, step, padding, threads):
    """Box of `columns` pixels a row, `tile` of the channels; boxes start at multiples of `step` minus `padding`."""
    width, channels = shape[2:]
    flat = int(tile == channels)
    aligned = (width * channels, step * channels, padding * channels) if flat else (channels, tile)
    quad = 1 if any(n % 4 for n in aligned) else 4
    vectors = ceil(columns * tile, quad)
    steps = ceil(vectors, threads)
    lanes = ceil(vectors, steps)
    together = threads // lanes
    loads = ceil(planes * rows, together) * steps
    return Box(planes, rows, vectors * quad, quad, flat, vectors, lanes, steps, together, loads)


def mover(shape, tile, box):
    """Device functions that move this thread's share of a box: `read` to registers, `put` to shared memory.

    read(tensor, wanted, n, d, h, w, channel) -> vectors: four floats a load, of the box that starts there, zeros
    outside the tensor and where not `wanted`; of single floats only the first of four counts.
    put(shared, there, vectors).

    Parameters
    ----------
    shape : tuple of int
        (D, H, W, C) of one image.
    tile : int
        Channels of the box.
    box : Box
    """
    place, loads = _placer(box), box.loads
    read_one, put_one = _reader(shape, tile, box, place), _putter(box, place)

    @device_function
    @unrolled
    def read(tensor, wanted, n, d, h, w, channel):
        v = registers(loads, 4)
        for i in unroll(loads):
            v[i, 0], v[i, 1], v[i, 2], v[i, 3] = read_one(tensor, i, wanted, n, d, h, w, channel)
        return v

    @device_function
    @unrolled
    def put(shared, there, vectors):
        v = tile_of(vectors, loads, 4)
        for i in unroll(loads):
            put_one(shared, there, i, v[i, 0], v[i, 1], v[i, 2], v[i, 3])

    return read, put


def _placer(box):
    """Device function (i) -> row and vector of the row that this thread moves in load i, and whether there is one."""
    ROWS = box.planes * box.rows

    @device_function
    def place(i):
        t, row, vector = cuda.threadIdx.x, i * box.together, 0
        if box.steps > 1:
            row, vector = quotient(i, box.steps), remainder(i, box.steps) * box.lanes
        row, vector = row + quotient(t, box.lanes), vector + remainder(t, box.lanes)
        return row, vector, t < box.together * box.lanes and row < ROWS and vector < box.vectors

    return place


def _putter(box, place):
    """Device function: write the vector of load `i` to its place in the box that starts at `there`."""

    @device_function
    def put(shared, there, i, a, b, c, d):
        row, vector, exists = place(i)
        if exists:
            index = there + row * box.pitch + box.quad * vector
            if box.quad == 4:
                store4(shared, index, a, b, c, d)
            else:
                shared[index] = a

    return put


def _reader(shape, tile, box, place):
    """Device function: the vector of load `i` of the box at (n, d, h, w, channel)."""
    depth, height, width, channels = shape
    step = channels if box.flat else 1
    width, channels, tile = (width * channels, 1, 1) if box.flat else (width, channels, tile)

    @device_function
    def read(tensor, i, wanted, n, d, h, w, channel):
        row, vector, exists = place(i)
        plane, column, c = 0, quotient(vector * box.quad, tile), remainder(vector * box.quad, tile)
        if box.planes > 1:
            plane, row = quotient(row, box.rows), remainder(row, box.rows)
        w, channel = (w * step, 0) if box.flat else (w, channel)
        inside = np.uint32(d + plane) < np.uint32(depth) and np.uint32(h + row) < np.uint32(height)
        inside = inside and np.uint32(w + column) < np.uint32(width) and np.uint32(channel + c) < np.uint32(channels)
        zero = np.float32(0.0)
        if not (wanted and exists and inside):
            return zero, zero, zero, zero
        # the first line is the same for all threads, the second the same for all boxes
        index = (((n * depth + d) * height + h) * width + w) * channels + channel
        index += ((plane * height + row) * width + column) * channels + c
        if box.quad == 4:
            return load4(tensor, index)
        return tensor[index], zero, zero, zero

    return read
