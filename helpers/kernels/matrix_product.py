"""Small matrix products with the sum split over threads: the arithmetic that the dense layer's kernels share.

A kernel calls the device function made here and says what becomes of a sum. Must not learn what the matrices mean.
"""

from typing import NamedTuple

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder, shared_floats
from helpers.kernels.vectors import vector_loader
from helpers.unroll import registers, unroll, unrolled


class Factor(NamedTuple):
    """Steps in memory of one factor: from one output (row or column) to the next, and along the sum; one is 1."""

    stride: int
    along: int


class Product(NamedTuple):
    """out[i, j] = sum over r of a[i, r] b[r, j], m x n outputs and `length` terms, and how blocks and threads share it.

    A thread owns `rows` x `columns` outputs, a block has `row_groups` x `column_groups` such threads, `slices` times:
    each slice adds every `slices`-th step of the sum. `ones` = 1: the last row of a is all ones and not in memory.
    All are compile-time integers, so that kernel bodies may name them.
    """

    m: int
    n: int
    length: int
    rows: int = 1
    columns: int = 1
    row_groups: int = 1
    column_groups: int = 1
    slices: int = 1
    ones: int = 0

    @property
    def tile_rows(self):
        return self.rows * self.row_groups

    @property
    def tile_columns(self):
        return self.columns * self.column_groups

    @property
    def outputs(self):
        """Outputs of a block."""
        return self.tile_rows * self.tile_columns

    @property
    def threads(self):
        return self.row_groups * self.column_groups * self.slices

    @property
    def blocks(self):
        return -(-self.m // self.tile_rows) * -(-self.n // self.tile_columns)

    @property
    def parts(self):
        """Threads that share the addition of one output's slices."""
        return max(1, min(self.slices // 4, self.threads // self.outputs))

    @property
    def shared_bytes(self):
        """Every slice's sums, then every part's."""
        return 4 * self.outputs * (self.slices + (self.parts if self.parts > 1 else 0))

    @property
    def launch(self):
        """Launch arguments of a Kernel."""
        return {"grid": (self.blocks, 1, 1), "block": (self.threads, 1, 1), "shared_bytes": self.shared_bytes}


def matrix_multiplier(p, a_factor, b_factor, finish):
    """Device function multiply(out, a, b, extra), the whole work of a block: each output is finished and written.

    `p` is a Product; the Factors say how a[i, r] and b[r, j] lie in the flat arrays. The device function
    finish(sum, extra, index, column) -> output `index` of out, in its `column`.
    """
    partial_sums = _partial_sums(p, a_factor, b_factor)
    (accumulate, total), place, OUTPUTS, THREADS = _reduction(p, partial_sums), _place(p), p.outputs, p.threads

    @device_function
    def multiply(out, a, b, extra):
        accumulate(a, b)
        for e in range(cuda.threadIdx.x, OUTPUTS, THREADS):
            row, column, exists = place(e)
            if exists:
                value, index = total(e), row * p.n + column  # in this order: the index waits in no register
                out[index] = finish(value, extra, index, column)

    return multiply


def _origin(p):
    """Device function () -> first row and first column of the block's outputs."""
    ROWS, COLUMNS, ACROSS = p.tile_rows, p.tile_columns, -(-p.n // p.tile_columns)

    @device_function
    def origin():
        return quotient(cuda.blockIdx.x, ACROSS) * ROWS, remainder(cuda.blockIdx.x, ACROSS) * COLUMNS

    return origin


def _place(p):
    """Device function (e) -> row and column of output e of the block's tile, and whether they lie in the result."""
    origin, TILE_COLUMNS = _origin(p), p.tile_columns

    @device_function
    def place(e):
        row, column = origin()
        row, column = row + quotient(e, TILE_COLUMNS), column + remainder(e, TILE_COLUMNS)
        return row, column, row < p.m and column < p.n

    return place


def _partial_sums(p, a_factor, b_factor):
    """Device function (a, b): a thread's slice of the sums of its outputs, written to shared memory."""
    STEP, OUTPUTS, TILE_COLUMNS, origin = 4 if p.length % 4 == 0 else 1, p.outputs, p.tile_columns, _origin(p)
    read_a, A_STEP, A_ROW = _panel(p.rows, p.m - p.ones, p.length, a_factor)
    read_b, B_STEP, B_COLUMN = _panel(p.columns, p.n, p.length, b_factor)
    role = _role(p, a_factor.along == 1 and b_factor.along == 1)

    @device_function
    @unrolled
    def partial_sums(a, b):
        shared = shared_floats(0)
        row_group, column_group, part = role()
        row, column = origin()
        row, column = row + row_group * p.rows, column + column_group * p.columns
        sums = registers(p.rows, p.columns)
        left = registers(STEP, p.rows)
        right = registers(STEP, p.columns)
        for e in unroll(p.rows * p.columns):
            sums[e // p.columns, e % p.columns] = np.float32(0.0)
        for r in range(part * STEP, p.length, p.slices * STEP):
            values = read_a(a, row, r)
            for e in unroll(STEP * p.rows):
                left[e // A_STEP % STEP, e // A_ROW % p.rows] = values[e]
                if p.ones == 1 and row + e // A_ROW % p.rows == p.m - 1:
                    left[e // A_STEP % STEP, e // A_ROW % p.rows] = np.float32(1.0)
            others = read_b(b, column, r)
            for e in unroll(STEP * p.columns):
                right[e // B_STEP % STEP, e // B_COLUMN % p.columns] = others[e]
            for s in unroll(STEP):
                for e in unroll(p.rows * p.columns):
                    sums[e // p.columns, e % p.columns] += left[s, e // p.columns] * right[s, e % p.columns]
        first = part * OUTPUTS + row_group * p.rows * TILE_COLUMNS + column_group * p.columns
        for e in unroll(p.rows * p.columns):
            shared[first + e // p.columns * TILE_COLUMNS + e % p.columns] = sums[e // p.columns, e % p.columns]

    return partial_sums


def _reduction(p, partial_sums):
    """Two device functions: accumulate(a, b), called by all threads, then total(e): output e of the block's tile.

    The slices' sums are added in a fixed order, in two stages where there are many.
    """
    OUTPUTS, PARTS, SECOND = p.outputs, p.parts, p.slices * p.outputs

    @device_function
    def accumulate(a, b):
        partial_sums(a, b)
        cuda.syncthreads()
        if PARTS > 1:
            t, shared = cuda.threadIdx.x, shared_floats(0)
            if t < PARTS * OUTPUTS:
                part, e = quotient(t, OUTPUTS), remainder(t, OUTPUTS)
                shared[SECOND + t] = _sum(shared, part * OUTPUTS + e, SECOND, PARTS * OUTPUTS)
            cuda.syncthreads()

    @device_function
    def total(e):
        if PARTS > 1:
            return _sum(shared_floats(0), SECOND + e, SECOND + PARTS * OUTPUTS, OUTPUTS)
        return _sum(shared_floats(0), e, SECOND, OUTPUTS)

    return accumulate, total


@device_function
def _sum(shared, first, end, step):
    """Sum of shared[first], shared[first + step], ... before `end`."""
    total = shared[first]
    for i in range(first + step, end, step):
        total += shared[i]
    return total


def _role(p, slices_first):
    """Device function () -> row group, column group and slice of a thread; neighbours read neighbouring memory."""

    @device_function
    def role():
        t = cuda.threadIdx.x
        if slices_first:
            t, part = quotient(t, p.slices), remainder(t, p.slices)
            return quotient(t, p.column_groups), remainder(t, p.column_groups), part
        group, column_group = quotient(t, p.column_groups), remainder(t, p.column_groups)
        return remainder(group, p.row_groups), column_group, quotient(group, p.row_groups)

    return role


def _panel(count, limit, length, factor):
    """Device function (array, first, r) -> `count` outputs' terms of one step from r on, and how they are ordered.

    Element e of the tuple is term e // a % step of output e // b % count; (function, a, b) are returned. Outputs
    from `limit` on repeat the last ones, so that nothing outside the array is read.
    """
    terms = 4 if length % 4 == 0 else 1
    if factor.along == 1 and terms == 4:
        return _reader([(i, 0) for i in range(count)], 4, limit - 1, factor), 1, terms
    width = 4 if factor.stride == 1 and not any(n % 4 for n in (count, limit, factor.along)) else 1
    places = [(i, s) for s in range(terms) for i in range(0, count, width)]
    return _reader(places, width, limit - width, factor), count, 1


def _reader(places, width, last, factor):
    """Device function (array, first, r) -> `width` floats from each place (output, term), one after another."""
    outputs, terms = zip(*places)
    load = vector_loader(width)

    @device_function
    @unrolled
    def read(array, first, r):
        v = registers(len(outputs) * width)
        for i in unroll(len(outputs)):
            index = min(first + outputs[i], last) * factor.stride + (r + terms[i]) * factor.along
            values = load(array, index)
            for j in unroll(width):
                v[i * width + j] = values[j]
        return v

    return read
