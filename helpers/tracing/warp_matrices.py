"""What a warp does together with matrices, interpreted: its lanes hand in words and get theirs of the result.

Knows the fragments of tensor cores; must not learn what the matrices mean.
"""

import numpy as np

from helpers.kernels.tensor.fragments import SHAPES, WARP, multiply
from helpers.tracing.cuda_stand_in import FULL_MASK, Request


def matrix_stand_ins():
    """Collectives by the names of kernels/tensor/intrinsics.py."""
    loads = {"load_matrices": _load_matrices, "load_transposed": _load_transposed}
    return loads | {name: _multiplication(name) for name in SHAPES}


def _load_matrices(words, index):
    row = words.load(index, 4, 2)
    return (yield Request("load_matrices", _hand_out_rows, row, mask=FULL_MASK))


def _hand_out_rows(requests):
    """Word l % 4 of row l // 4 of each matrix, whose rows its eight lanes read."""
    return {
        lane: tuple(requests[8 * matrix + lane // 4].value[lane % 4] for matrix in range(4)) for lane in range(WARP)
    }


def _load_transposed(words, index):
    row = words.load(index, 4, 2)
    return (yield Request("load_transposed", _hand_out_columns, row, mask=FULL_MASK))


def _hand_out_columns(requests):
    """Values 2 * (l % 4) and the next of column l // 4 of each matrix of 16-bit values."""
    rows = np.array([requests[lane].value for lane in range(WARP)], np.float32).view(np.uint16).reshape(4, 8, 8)
    words = np.ascontiguousarray(rows.transpose(0, 2, 1)).view(np.float32)  # matrix, column, pair of rows
    return {lane: tuple(words[:, lane // 4, lane % 4]) for lane in range(WARP)}


def _multiplication(name):
    a_words, b_words = SHAPES[name].a_words, SHAPES[name].b_words

    def combine(requests):
        lanes = [requests[lane].value for lane in range(WARP)]
        a, b, sums = (np.array([values[i] for values in lanes], np.float32) for i in range(3))
        for j in range(4):
            for half in range(4 // a_words):
                rows = a[:, a_words * half : a_words * (half + 1)]
                columns = b[:, 2 * j + b_words * half : 2 * j + b_words * (half + 1)]
                sums[:, 4 * j : 4 * j + 4] = multiply(name, rows, columns, sums[:, 4 * j : 4 * j + 4])
        return dict(enumerate(map(tuple, sums)))

    def mma(a, left, right, sums):
        return (yield Request(name, combine, (a, (*left, *right), sums), mask=FULL_MASK))

    return mma
