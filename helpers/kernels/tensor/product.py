"""A large matrix product on tensor cores: float32 in and out, operands rounded on their way to shared memory.

A block makes a tile of the result, a warp a part of it, stage by stage along the sums: while it multiplies one stage,
the next is on its way from global memory. Must not learn what the matrices mean.
"""

from dataclasses import dataclass

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, pointer, quotient, remainder, shared_floats
from helpers.kernels.tensor.intrinsics import load_matrices
from helpers.kernels.tensor.tiles import blank, tile_of
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
WARP, STEP = 32, 8  # lanes; words of a row that are multiplied at once
WARP_COLUMNS = 32  # columns of a warp's part of the tile
GUARD = 4  # words behind each row of shared memory: rows that a warp reads at once then lie in other banks


@dataclass(frozen=True)
class Tile:
    """What a block makes: `rows` x `columns` of the result by `row_warps` x `column_warps` warps, `terms` a stage."""

    rows: int = 128
    columns: int = 128
    row_warps: int = 2
    column_warps: int = 4
    terms: int = 32

    def __post_init__(self):
        if self.columns != WARP_COLUMNS * self.column_warps or self.rows % (16 * self.row_warps) or self.terms % 32:
            raise ValueError(
                f"the tile is {self}; expected {WARP_COLUMNS} columns and a multiple of 16 rows a warp, and a multiple "
                "of 32 terms"
            )
        if self.rows * self.terms % (4 * self.threads) or self.columns * self.terms % (8 * self.threads):
            raise ValueError(
                f"{self.threads} threads do not share a stage of {self} evenly; choose more rows or fewer warps"
            )

    @property
    def threads(self):
        return WARP * self.row_warps * self.column_warps

    @property
    def warp_rows(self):
        return self.rows // self.row_warps


@dataclass(frozen=True)
class ProductKernel(Kernel):
    """A kernel of c = a b; it is no operation of a training step."""

    @property
    def arguments(self):
        return ("c", "float32"), ("a", "float32"), ("b", "float32")


def tensor_product(m, n, length, form, tile=None):
    """Kernel of c (m, n) = a (m, length) b (length, n), all float32 in C order; sums in float32.

    Parameters
    ----------
    m, n, length : int
    form : Format
        Of the operands.
    tile : Tile, optional

    Returns
    -------
    ProductKernel
    """
    tile = tile or Tile()
    pitch = tile.terms // form.packed + GUARD
    first_b, buffer = tile.rows * pitch, (tile.rows + tile.columns) * pitch
    rounds, column_tiles = -(-length // tile.terms), -(-n // tile.columns)
    tile_rows, tile_columns = tile.rows, tile.columns
    (fetch, put), zeros = _make_transfer(m, n, length, form, tile, pitch), blank(tile.warp_rows // 16)
    multiply, store = _make_stage(form, tile, pitch), _make_store(m, n, tile)

    def body(c, a, b):
        words, block, sums = shared_floats(0), np.int64(cuda.blockIdx.x), zeros
        row, column = tile_rows * quotient(block, column_tiles), tile_columns * remainder(block, column_tiles)
        put(pointer(words, 0), pointer(words, first_b), fetch(a, b, row, column, 0))
        cuda.syncthreads()
        for turn in range(rounds):
            here, there = remainder(turn, 2) * buffer, remainder(turn + 1, 2) * buffer
            ahead = fetch(a, b, row, column, min(turn + 1, rounds - 1))
            sums = multiply(pointer(words, here), pointer(words, here + first_b), sums)
            put(pointer(words, there), pointer(words, there + first_b), ahead)
            cuda.syncthreads()
        store(c, row, column, sums)

    blocks = -(-m // tile.rows) * column_tiles
    return ProductKernel("tensor_product", body, (blocks, 1, 1), (tile.threads, 1, 1), shared_bytes=2 * 4 * buffer)


def _make_transfer(m, n, length, form, tile, pitch):
    """Device functions (fetch, put): this thread's share of a stage from global memory, and to shared memory.

    fetch(a, b, row, column, turn) -> values: four neighbouring terms of some rows of a, and of some columns of b as
    many terms as four words hold; zeros outside. put(rows, columns, values): encoded, the terms of a row or column of
    the tile side by side.
    """
    threads, terms, packed, encode = tile.threads, tile.terms, form.packed, form.encode
    a_pieces, a_row = tile.rows * terms // 4 // threads, terms // 4
    deep, columns = 4 * packed, tile.columns
    b_pieces, b_first = columns * terms // deep // threads, 4 * a_pieces
    vector, count = length % 4 == 0, b_first + deep * b_pieces
    a_words = 4 // packed

    @device_function
    @unrolled
    def fetch(a, b, row, column, turn):
        values = registers(count)
        thread, first = np.int64(cuda.threadIdx.x), turn * terms
        for j in unroll(a_pieces):
            piece = thread + j * threads
            r, k = row + quotient(piece, a_row), first + 4 * remainder(piece, a_row)
            if vector:
                inside = r < m and k < length
                quad = load4(a, r * length + k if inside else 0)
                for i in unroll(4):
                    values[4 * j + i] = quad[i] if inside else ZERO
            else:
                for i in unroll(4):
                    values[4 * j + i] = a[r * length + k + i] if r < m and k + i < length else ZERO
        for j in unroll(b_pieces):
            piece = thread + j * threads
            c, k = column + remainder(piece, columns), first + deep * quotient(piece, columns)
            for i in unroll(deep):
                values[b_first + deep * j + i] = b[(k + i) * n + c] if c < n and k + i < length else ZERO
        return values

    @device_function
    @unrolled
    def put(rows, lines, values):
        thread = np.int64(cuda.threadIdx.x)
        for j in unroll(a_pieces):
            piece = thread + j * threads
            at = quotient(piece, a_row) * pitch + a_words * remainder(piece, a_row)
            for i in unroll(a_words):
                rows[at + i] = encode(values[4 * j + i * packed], values[4 * j + i * packed + packed - 1])
        for j in unroll(b_pieces):
            piece = thread + j * threads
            at = remainder(piece, columns) * pitch + 4 * quotient(piece, columns)
            for i in unroll(4):
                first = b_first + deep * j + i * packed
                low, high = values[first], values[first + packed - 1]
                lines[at + i] = encode(low, high)

    return fetch, put


def _make_stage(form, tile, pitch):
    """Device function multiply(rows, columns, sums) -> sums: a warp's part of the tile, all terms of a stage."""
    steps, row_parts = tile.terms // form.packed // STEP, tile.warp_rows // 16
    column_warps, warp_rows, mma = tile.column_warps, tile.warp_rows, form.multiply

    @device_function
    def places():
        """Where this lane reads a row of four words: of A's four matrices, and of B's."""
        thread = np.int64(cuda.threadIdx.x)
        lane, warp = remainder(thread, WARP), quotient(thread, WARP)
        row, column = quotient(warp, column_warps) * warp_rows, remainder(warp, column_warps) * WARP_COLUMNS
        matrix, line = quotient(lane, 8), remainder(lane, 8)
        of_a = (row + line + 8 * remainder(matrix, 2)) * pitch + 4 * quotient(matrix, 2)
        return of_a, (column + line + 8 * quotient(matrix, 2)) * pitch + 4 * remainder(matrix, 2)

    @device_function
    @unrolled
    def multiply(rows, columns, sums):
        acc = tile_of(sums, row_parts)
        of_a, of_b = places()
        for step in range(steps):
            left = load_matrices(columns, of_b + step * STEP)
            right = load_matrices(columns, of_b + 16 * pitch + step * STEP)
            for i in unroll(row_parts):
                a = load_matrices(rows, of_a + i * (16 * pitch) + step * STEP)
                acc[i] = mma(a, left, right, acc[i])
        return acc

    return multiply


def _make_store(m, n, tile):
    """Device function store(c, row, column, sums): what this thread has of the tile, where the result has it."""
    row_parts, column_warps, warp_rows = tile.warp_rows // 16, tile.column_warps, tile.warp_rows

    @device_function
    @unrolled
    def store(c, row, column, sums):
        acc = tile_of(sums, row_parts)
        thread = np.int64(cuda.threadIdx.x)
        lane, warp = remainder(thread, WARP), quotient(thread, WARP)
        r = row + quotient(warp, column_warps) * warp_rows + quotient(lane, 4)
        k = column + remainder(warp, column_warps) * WARP_COLUMNS + 2 * remainder(lane, 4)
        for i in unroll(row_parts):
            for s in unroll(16):
                y, x = r + 16 * i + s % 4 // 2 * 8, k + s // 4 * 8 + s % 2
                if y < m and x < n:
                    c[y * n + x] = acc[i][s]

    return store
