"""What a fused kernel runs on, and where it keeps an image's tensors and the weights that need a place of their own.

Offsets and sizes are in 32-bit cells of the block's shared memory unless a name says otherwise; strides are in cells.
Knows numbers only; must not learn which stage uses what.
"""

from dataclasses import dataclass

# a corner word: where in the input an output's patch begins, and above these bits which output of the window won
CORNER_BITS = 16
TILE = 16  # dense weights of a tile of 4 x 4, whose gradients a thread sums at once


class DoesNotFit(ValueError):
    """A network, or one of its layers, that the fused kernel cannot hold; the message names it and the bytes."""


@dataclass(frozen=True)
class Card:
    """What a plan depends on: multiprocessors, shared memory a block in bytes, compute capability."""

    multiprocessors: int
    shared_bytes: int
    capability: tuple[int, int] = (9, 0)

    @property
    def copies(self):
        """How parameters reach shared memory: by "bulk" transfers, by "asynchronous" copies of the threads, or "plain".

        The first two go on while the threads compute.
        """
        return "bulk" if self.capability >= (9, 0) else "asynchronous" if self.capability >= (8, 0) else "plain"


@dataclass(frozen=True)
class View:
    """One image of a tensor: cell (y, x, c) lies at `offset` + y * row + x * column + c * channel.

    `corner` is the first cell of the halo of zeros above and left of it, which is `offset` where there is none.
    """

    offset: int
    corner: int
    shape: tuple[int, int, int]
    row: int
    column: int
    channel: int

    @property
    def size(self):
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class Shard:
    """A block's part of a dense layer whose weights a group of blocks shares: `rows` of them, from cell `begin` on.

    A block works with them for the images of all `members`. What the group exchanges lies in each image's row of
    factors: from `sums` on the outputs' sums over each member's rows, from `gradients` on the inputs' gradient.
    `images`: those that a thread works for at once; `splits` and `gradient_splits`: of a sum in scratch memory.
    """

    begin: int
    rows: int
    members: int
    sums: int
    gradients: int
    images: int = 1
    splits: int = 1
    gradient_splits: int = 1

    @property
    def halves(self):
        """Threads that share the images of the group."""
        return self.members // self.images
