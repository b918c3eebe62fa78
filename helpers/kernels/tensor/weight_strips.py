"""How the weight gradient on tensor cores is cut: strips of outputs, rounds, splits, and their sizes.

x^T dy sums over outputs. A strip is `rows` lines of 16 outputs; a warp takes one column of the kernel and adds up, for
some of its rows, 32 channels x 32 filters over its share of the strips. Must not learn how anything is multiplied.
"""

from dataclasses import dataclass
from math import prod

from helpers.kernels.tensor.correlation import WARP, Lines
from helpers.kernels.tensor.layout import TILE, padded

STORE_PITCH = TILE + 8  # floats from a channel's sums to the next's, so that a warp's pairs lie in other banks
MOST_KERNEL_ROWS = 3  # of a warp: each needs 32 registers for its sums


@dataclass(frozen=True)
class WeightProblem:
    """The weight gradient of a layer; `shape` (taps, channels, filters) of the visible weights, the rest as in memory.

    A dense layer that reads an image has the image's cells for taps and the kernel (1, 1, 1).
    """

    batch: int
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    shape: tuple[int, int, int]
    kernel: tuple[int, int, int] = (1, 1, 1)
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of_convolution(cls, geometry, batch):
        g = geometry
        shape = (prod(g.kernel), g.in_channels, g.out_channels)
        return cls(batch, g.in_shape[:3], g.out_shape[:3], shape, g.kernel, g.stride, g.padding)

    @classmethod
    def unfolded(cls, geometry, batch):
        """Of a first convolution whose input lies unfolded."""
        g = geometry
        return cls(batch, g.out_shape[:3], g.out_shape[:3], (1, prod(g.weight_shape[:-1]), g.out_channels))

    @classmethod
    def of_dense(cls, cells, channels, filters, batch):
        return cls(batch, (1, 1, 1), (1, 1, 1), (cells, channels, filters))

    @property
    def dense_cells(self):
        """Cells whose channels stand in a row: those of a dense layer's image."""
        return self.shape[0] if prod(self.kernel) == 1 else 1

    @property
    def channels(self):
        """Of x in memory."""
        return padded(self.shape[1]) * self.dense_cells

    @property
    def filters(self):
        """Of dy in memory."""
        return padded(self.shape[2])

    @property
    def size(self):
        """Weights."""
        return prod(self.shape)


@dataclass(frozen=True)
class WeightTile:
    """How a block works: strips of `rows` lines, of which `row_strips`, `column_lines` and `image_lines` are staged at
    once; `shares`, a power of 2, of warps for each kernel column; `splits` partial sums over all outputs. Registers are
    limited so that `residents` blocks fit a multiprocessor.
    """

    rows: int = 4
    row_strips: int = 1
    column_lines: int = 1
    image_lines: int = 1
    shares: int = 1
    splits: int = 1
    residents: int = 1


@dataclass(frozen=True)
class WeightStrips(Lines):
    """Sizes that follow from a problem, a tile and the `packed` values of a word."""

    problem: WeightProblem
    tile: WeightTile
    packed: int

    def __post_init__(self):
        if self.tile.shares & (self.tile.shares - 1):
            raise ValueError(f"{self.tile.shares} shares are no power of 2")

    @property
    def pitch(self):
        """Words from an output's 32 channels to the next's, so that those read at once lie in other banks."""
        return 20 if self.packed == 2 else 40

    @property
    def rows(self):
        """Output rows of a round; likewise the others."""
        return self.tile.rows * self.tile.row_strips

    @property
    def columns(self):
        return self.line_columns * self.tile.column_lines

    @property
    def images(self):
        return self.line_images * self.tile.image_lines

    @property
    def strips(self):
        return self.tile.row_strips * self.tile.column_lines * self.tile.image_lines

    @property
    def kernel_rows(self):
        """Rows of the kernel that a block takes."""
        return min(self.problem.kernel[1], MOST_KERNEL_ROWS)

    @property
    def row_groups(self):
        """Blocks that share the rows of the kernel; the last may have some that do not exist."""
        return -(-self.problem.kernel[1] // self.kernel_rows)

    @property
    def patch_rows(self):
        return (self.rows - 1) * self.problem.stride[1] + self.kernel_rows

    @property
    def patch_columns(self):
        return (self.columns - 1) * self.problem.stride[2] + self.problem.kernel[2]

    @property
    def patch_words(self):
        """Of x in a round."""
        return self.images * self.patch_rows * self.patch_columns * self.pitch

    @property
    def buffer_words(self):
        """Of a round, x and dy."""
        return self.patch_words + self.images * self.rows * self.columns * self.pitch

    @property
    def unit_counts(self):
        """Rounds along images, depth, rows and columns."""
        covered = (self.images, 1, self.rows, self.columns)
        return tuple(-(-size // part) for size, part in zip((self.problem.batch, *self.problem.out_shape), covered))

    @property
    def rounds(self):
        """Of a block; the last split may have fewer."""
        return -(-prod(self.unit_counts) // self.tile.splits)

    @property
    def lines(self):
        """Of a thread's sums: for each kernel row two, of sixteen channels each."""
        return 2 * self.kernel_rows

    @property
    def threads(self):
        return WARP * self.problem.kernel[2] * self.tile.shares

    @property
    def tiles(self):
        """Blocks of a split: along channels, filters, kernel planes and groups of kernel rows."""
        p = self.problem
        return p.channels // TILE, p.filters // TILE, p.kernel[0], self.row_groups

    @property
    def shared_bytes(self):
        buffers = min(2, self.rounds) * self.buffer_words
        laid_out = self.threads // WARP * TILE * STORE_PITCH
        return 4 * max(buffers, laid_out, 8 * self.threads)

    @property
    def launch(self):
        """Launch shape, for Kernel."""
        return {
            "grid": (prod(self.tiles), self.tile.splits, 1),
            "block": (self.threads, 1, 1),
            "shared_bytes": self.shared_bytes,
            "blocks_per_multiprocessor": self.tile.residents,
        }
