"""What a warp multiplies at once on tensor cores, and which lane holds which value: the fragments of `mma.sync`.

A warp adds a 16 x depth matrix A times a depth x 8 matrix B to a 16 x 8 matrix of float32 sums. No lane sees a whole
matrix: each holds a few values of every one in its registers, at places that the instruction fixes (PTX ISA, section
"Matrix Fragments for mma.m16n8k8 / m16n8k16"). Registers are 32-bit words with one tf32 value or two 16-bit values.
Knows numbers of lanes and registers; must not learn where a matrix lies in memory.
"""

from dataclasses import dataclass

import numpy as np

WARP, ROWS, COLUMNS = 32, 16, 8


@dataclass(frozen=True)
class Shape:
    """The operands of one instruction: `depth` terms of each sum, `packed` values in a word, read by `decode`."""

    depth: int
    packed: int
    decode: object

    @property
    def a_words(self):
        """Registers a lane holds of A."""
        return ROWS * self.depth // (WARP * self.packed)

    @property
    def b_words(self):
        """Registers a lane holds of B."""
        return COLUMNS * self.depth // (WARP * self.packed)

    def a_place(self, lane, word, part):
        """(row, term) of value `part` of register `word` of A."""
        return lane // 4 + 8 * (word % 2), self._term(lane, word // 2, part)

    def b_place(self, lane, word, part):
        """(term, column) of value `part` of register `word` of B."""
        return self._term(lane, word, part), lane // 4

    def _term(self, lane, group, part):
        """A group of four lanes holds neighbouring terms; the next register those behind all of them."""
        return group * 4 * self.packed + lane % 4 * self.packed + part


def sum_place(lane, register):
    """(row, column) of sum `register`, 0 to 3."""
    return lane // 4 + 8 * (register // 2), 2 * (lane % 4) + register % 2


def decode_tf32(words):
    """float64 values of words that hold a tf32 value each: the lowest 13 bits do not count."""
    return (words.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)[..., None].astype(np.float64)


def decode_bf16(words):
    """float64 values of words that hold two bf16 values each, the lower half first."""
    halves = np.stack([words.view(np.uint32) << np.uint32(16), words.view(np.uint32) & np.uint32(0xFFFF0000)], -1)
    return halves.view(np.float32).astype(np.float64)


def decode_fp16(words):
    """float64 values of words that hold two float16 values each, the lower half first."""
    return words[..., None].view(np.float16).astype(np.float64)


# by the name of the intrinsic that multiplies (intrinsics.py)
SHAPES = {
    "mma_tf32": Shape(8, 1, decode_tf32),
    "mma_bf16": Shape(16, 2, decode_bf16),
    "mma_fp16": Shape(16, 2, decode_fp16),
    "mma_fp16_short": Shape(8, 2, decode_fp16),  # what a T4 has
}


def multiply(name, a, b, sums):
    """What the instruction gives: sums + A B, products exact and added without rounding, then rounded to float32.

    Hardware adds in an order of its own and rounds in between, so that the last bits may differ.

    Parameters
    ----------
    name : str
        A key of SHAPES.
    a, b : ndarray of float32, shapes (32, a_words), (32, b_words)
        Words of each lane.
    sums : ndarray of float32, shape (32, 4)

    Returns
    -------
    ndarray of float32, shape (32, 4)
    """
    shape = SHAPES[name]
    left, right = np.zeros((ROWS, shape.depth)), np.zeros((shape.depth, COLUMNS))
    for matrix, words, place in ((left, a, shape.a_place), (right, b, shape.b_place)):
        values = shape.decode(np.ascontiguousarray(words, np.float32))
        for (lane, word, part), value in np.ndenumerate(values):
            matrix[place(lane, word, part)] = value
    product, result = left @ right, np.array(sums, np.float64)
    for (lane, register), _ in np.ndenumerate(result):
        result[lane, register] += product[sum_place(lane, register)]
    return result.astype(np.float32)
