"""Boxes of a channels-last tensor in shared memory: how threads share the moves, and the functions that make them.

Must not learn what is computed from a box.
"""

from typing import NamedTuple

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, quotient, remainder, store4


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


def vector(n, aligned):
    """Device function (array, index) -> n floats from there on, by 128-bit loads where `aligned`."""
    step = 4 if aligned and n >= 4 else 1
    rest = vector(n - step, aligned) if n > step else None

    if step == 4:

        @device_function
        def head(array, index):
            return load4(array, index)
    else:

        @device_function
        def head(array, index):
            return (array[index],)

    @device_function
    def take(array, index):
        return head(array, index) + rest(array, index + step)

    return take if rest else head


def mover(shape, tile, box):
    """Device functions that move this thread's share of a box: `read` to registers, `put` to shared memory.

    read(tensor, wanted, n, d, h, w, channel) -> one 4-tuple a load, of the box that starts there; zeros outside the
    tensor and where not `wanted`; of single floats only the first of four counts. put(shared, there, vectors).

    Parameters
    ----------
    shape : tuple of int
        (D, H, W, C) of one image.
    tile : int
        Channels of the box.
    box : Box
    """
    place = _placer(box)
    return _all_reads(_reader(shape, tile, box, place), box.loads), _all_puts(_putter(box, place), box.loads)


def _all_reads(read, loads, i=0):
    """Device function: the tuple of reads i, i + 1, ... below `loads`."""
    rest = _all_reads(read, loads, i + 1) if i + 1 < loads else None

    @device_function
    def one(tensor, wanted, n, d, h, w, channel):
        return (read(tensor, i, wanted, n, d, h, w, channel),)

    @device_function
    def several(tensor, wanted, n, d, h, w, channel):
        return one(tensor, wanted, n, d, h, w, channel) + rest(tensor, wanted, n, d, h, w, channel)

    return several if rest else one


def _all_puts(put, loads, i=0):
    """Device function: puts i, i + 1, ... below `loads`."""
    rest = _all_puts(put, loads, i + 1) if i + 1 < loads else None

    @device_function
    def one(shared, there, vectors):
        put(shared, there, i, vectors[i])

    @device_function
    def several(shared, there, vectors):
        one(shared, there, vectors)
        rest(shared, there, vectors)

    return several if rest else one


def _placer(box):
    """Device function (load) -> row and vector of the row that this thread moves, and whether there is one."""
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
    def put(shared, there, i, values):
        row, vector, exists = place(i)
        if exists:
            index = there + row * box.pitch + box.quad * vector
            if box.quad == 4:
                store4(shared, index, values[0], values[1], values[2], values[3])
            else:
                shared[index] = values[0]

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
