"""What a convolution on tensor cores computes and how its work is cut: the problem, the tile of a block, their sizes.

A warp makes `rows` lines of outputs of 32 filters. A line is what one instruction takes, 16 outputs: neighbours of a
row, or where rows are shorter, the same row of several images. Must not learn how anything is copied or multiplied.
"""

from dataclasses import dataclass
from math import prod

from helpers.kernels.tensor.layout import CHUNK, TILE, padded

WARP, LINE = 32, 16
# Words from a row of shared memory to the next: eight rows that are read at once, four words of each, begin at banks
# 0, 20, 8, 28, 16, 4, 24, 12. At a column stride of 2 two of them meet.
PITCH = CHUNK + 4


@dataclass(frozen=True)
class Correlation:
    """y[n, o, k] = sum over taps t and channels c of x[n, (o * stride - padding + t) / spread, c] w[t, c, k].

    Where the division leaves a remainder, or the place lies outside the image, x is 0: `spread` is the stride of the
    forward pass, whose input gradient sees dy with zeros between its cells. `channels` and `filters` count those in
    memory; shapes are (D, H, W).
    """

    batch: int
    in_shape: tuple[int, int, int]
    channels: int
    out_shape: tuple[int, int, int]
    filters: int
    kernel: tuple[int, int, int] = (1, 1, 1)
    stride: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[int, int, int] = (0, 0, 0)
    spread: tuple[int, int, int] = (1, 1, 1)

    @classmethod
    def forward(cls, geometry, batch):
        """That of a convolution's forward pass."""
        g = geometry
        channels, filters = padded(g.in_channels), padded(g.out_channels)
        return cls(batch, g.in_shape[:3], channels, g.out_shape[:3], filters, g.kernel, g.stride, g.padding)

    @classmethod
    def unfolded(cls, geometry, batch):
        """That of a first layer whose input lies unfolded: each output's window is the channels of its cell."""
        g = geometry
        return cls(batch, g.out_shape[:3], padded(prod(g.weight_shape[:-1])), g.out_shape[:3], padded(g.out_channels))

    @classmethod
    def input_gradient(cls, geometry, batch):
        """That of a convolution's input gradient: dy, spread out, meets the kernel turned about."""
        g = geometry
        channels, filters = padded(g.out_channels), padded(g.in_channels)
        around = tuple(k - 1 - p for k, p in zip(g.kernel, g.padding))
        ones = (1, 1, 1)
        return cls(batch, g.out_shape[:3], channels, g.in_shape[:3], filters, g.kernel, ones, around, g.stride)

    @classmethod
    def of_rows(cls, batch, channels, filters):
        """That of a dense layer: an image is one cell; `channels` and `filters` count those in memory."""
        return cls(batch, (1, 1, 1), channels, (1, 1, 1), filters)


@dataclass(frozen=True)
class Tile:
    """How a block is made of warps, and what lies in shared memory at once.

    `rows` lines a warp; warps along rows, columns, images and filters; `teams` of such warps share the channels.
    `kernel_columns` of the taps of a kernel row, and `depth` chunks of channels for each team, are staged together.
    Registers are limited so that `residents` blocks fit a multiprocessor.
    """

    rows: int = 4
    row_warps: int = 1
    column_warps: int = 1
    image_warps: int = 1
    filter_warps: int = 1
    teams: int = 1
    kernel_columns: int = 1
    depth: int = 1
    residents: int = 1

    @property
    def team_warps(self):
        return self.row_warps * self.column_warps * self.image_warps * self.filter_warps

    @property
    def threads(self):
        return WARP * self.team_warps * self.teams

    @property
    def accumulators(self):
        """Sums of a thread."""
        return self.rows * LINE * TILE // WARP


class Lines:
    """Lines of a `problem`: 16 outputs each, neighbours of a row and, where rows are shorter, of several images."""

    @property
    def line_columns(self):
        """Neighbouring outputs of a line: a power of 2."""
        columns = 1
        while columns < min(LINE, self.problem.out_shape[2]):
            columns *= 2
        return columns

    @property
    def line_images(self):
        return LINE // self.line_columns


@dataclass(frozen=True)
class Staging(Lines):
    """Sizes that follow from a problem, a tile and the `packed` values of a word."""

    problem: Correlation
    tile: Tile
    packed: int

    def __post_init__(self):
        columns, taps, threads = self.tile.kernel_columns, self.problem.kernel[2], self.tile.threads
        if taps % columns:
            raise ValueError(f"{columns} kernel columns do not divide a kernel of {taps}")
        pieces = TILE * self.tile.filter_warps * CHUNK // 4
        if pieces % min(pieces, threads) or threads % min(pieces, threads):
            raise ValueError(
                f"{threads} threads do not share {pieces} pieces of weights evenly; take powers of 2 of warps"
            )

    @property
    def rows(self):
        """Output rows of a block; likewise the others."""
        return self.tile.rows * self.tile.row_warps

    @property
    def columns(self):
        return self.line_columns * self.tile.column_warps

    @property
    def images(self):
        return self.line_images * self.tile.image_warps

    @property
    def filters(self):
        return TILE * self.tile.filter_warps

    @property
    def patch_rows(self):
        return (self.rows - 1) * self.problem.stride[1] + self.problem.kernel[1]

    @property
    def patch_columns(self):
        return (self.columns - 1) * self.problem.stride[2] + self.problem.kernel[2]

    @property
    def patch_words(self):
        """Of the input that a block sees of one chunk of channels and one plane."""
        return self.images * self.patch_rows * self.patch_columns * PITCH

    @property
    def weight_words(self):
        """Of the weights of one chunk that are staged together."""
        return self.tile.kernel_columns * self.problem.kernel[1] * self.filters * PITCH

    @property
    def chunks(self):
        return self.problem.channels // (CHUNK * self.packed)

    @property
    def parts(self):
        """Chunks that are staged together, for all teams."""
        return self.tile.teams * self.tile.depth

    @property
    def groups(self):
        """Rounds that share a patch."""
        return self.problem.kernel[2] // self.tile.kernel_columns

    @property
    def patches(self):
        """Patches that a block stages one after the other."""
        return -(-self.chunks // self.parts) * self.problem.kernel[0]

    @property
    def rounds(self):
        return self.patches * self.groups

    @property
    def patch_buffers(self):
        return min(2, self.patches)

    @property
    def weight_buffers(self):
        return min(2, self.rounds)

    @property
    def first_weight(self):
        """Word of shared memory behind the patches."""
        return self.patch_buffers * self.parts * self.patch_words

    @property
    def shared_bytes(self):
        staged = self.first_weight + self.weight_buffers * self.parts * self.weight_words
        return 4 * max(staged, (self.tile.teams - 1) * self.tile.team_warps * WARP * self.tile.accumulators)

    @property
    def grid(self):
        """Tiles along images, depth, rows, columns and filters."""
        p = self.problem
        covered = (self.images, 1, self.rows, self.columns, self.filters)
        return tuple(-(-size // part) for size, part in zip((p.batch, *p.out_shape, p.filters), covered))

    @property
    def launch(self):
        """Launch shape, for Kernel."""
        return {
            "grid": (prod(self.grid), 1, 1),
            "block": (self.tile.threads, 1, 1),
            "shared_bytes": self.shared_bytes,
            "blocks_per_multiprocessor": self.tile.residents,
        }
