"""Small kernels that the tests of the tracer share: right ones, and one whose barrier can be left out."""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel

rng = np.random.default_rng(0)


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def transpose(rows, columns, tile=8, barrier=True):
    """Kernel of y (columns, rows), x (rows, columns): a tile goes through shared memory."""

    def body(y, x):
        s_x = cuda.shared.array((tile, tile + 1), np.float32)
        i, j = cuda.threadIdx.y, cuda.threadIdx.x
        row, column = cuda.blockIdx.y * tile + i, cuda.blockIdx.x * tile + j
        if row < rows and column < columns:
            s_x[i, j] = x[np.uint64(row) * np.uint64(columns) + np.uint64(column)]
        if barrier:
            cuda.syncthreads()
        row, column = cuda.blockIdx.y * tile + j, cuda.blockIdx.x * tile + i
        if row < rows and column < columns:
            y[np.uint32(column * rows + row)] = s_x[j, i]

    grid = (-(-columns // tile), -(-rows // tile), 1)
    return Kernel("transpose", body, grid, (tile, tile, 1))


@device_function
def copy_tile(s_tile, source, tile, start, stride):
    """Copy a (tile, tile) window of `source` into `s_tile`, and wait for the block."""
    i, j = cuda.threadIdx.y, cuda.threadIdx.x
    s_tile[i, j] = source[start + i * stride + j]
    cuda.syncthreads()


def matmul(n, tile=4):
    """Kernel of c, a, b, all (n, n), n a multiple of tile: tiles of a and b through shared memory."""

    def body(c, a, b):
        s_a = cuda.shared.array((tile, tile), np.float32)
        s_b = cuda.shared.array((tile, tile), np.float32)
        i, j = cuda.threadIdx.y, cuda.threadIdx.x
        total = np.float32(0.0)
        for k in range(0, n, tile):
            copy_tile(s_a, a, tile, cuda.blockIdx.y * tile * n + k, n)
            copy_tile(s_b, b, tile, k * n + cuda.blockIdx.x * tile, n)
            for l in range(tile):
                total += s_a[i, l] * s_b[l, j]
            cuda.syncthreads()
        c[(cuda.blockIdx.y * tile + i) * n + cuda.blockIdx.x * tile + j] = total

    return Kernel("matmul", body, (n // tile, n // tile, 1), (tile, tile, 1))


def simple(body, threads=32, grid=1, **options):
    return Kernel("simple", body, (grid, 1, 1), (threads, 1, 1), **options)
