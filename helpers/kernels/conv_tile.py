"""How a convolution is cut into blocks and threads: the sums to make (Correlation) and the tile that makes them.

Both directions of a convolution are one correlation: the input gradient correlates the output gradient, spread out
by the stride, with the flipped weights. Must not learn how a kernel runs, only sizes and places in memory.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

from helpers.geometry import Triple

BANK_QUADS = 8  # 128-bit cells of shared memory that one access round serves; eight lanes share a round
SHARED_LIMIT = 48 * 1024


@dataclass(frozen=True)
class Correlation:
    """y[o] = sum over taps t and channels c of x[o * stride - padding + t, c] * w[t, c], for `batch` images.

    Parameters
    ----------
    batch : int
    in_shape, out_shape : tuple of int
        (D, H, W, channels) of one image read and written.
    kernel, stride, padding : tuple of 3 int
        Taps, step and leading padding of each axis, in cells of the spread input.
    dilation : tuple of 3 int
        The input is read as if dilation - 1 zeros lay between neighbours.
    transposed : bool
        The weights are (kd, kh, kw, out channels, in channels) and their taps are read from the last to the first.
    """

    batch: int
    in_shape: tuple[int, int, int, int]
    out_shape: tuple[int, int, int, int]
    kernel: Triple
    stride: Triple
    padding: Triple
    dilation: Triple = (1, 1, 1)
    transposed: bool = False

    @classmethod
    def forward(cls, geometry, batch):
        """The forward pass of a ConvGeometry."""
        return cls(batch, geometry.in_shape, geometry.out_shape, geometry.kernel, geometry.stride, geometry.padding)

    @classmethod
    def input_gradient(cls, geometry, batch):
        """The gradient of a ConvGeometry's input: dx[i] collects dy[o] w[t] of all o * stride - padding + t = i."""
        behind = tuple(k - 1 - p for k, p in zip(geometry.kernel, geometry.padding))
        shapes = (geometry.out_shape, geometry.in_shape)
        return cls(batch, *shapes, geometry.kernel, (1, 1, 1), behind, geometry.stride, transposed=True)


@dataclass(frozen=True)
class Tile:
    """What a block and a thread make.

    Parameters
    ----------
    images, row_groups, column_groups, filter_groups : int
        Threads of a block along each axis; the product is one team of threads.
    rows, columns, filters : int
        Outputs of one thread along each axis; `filters` is a multiple of 4.
    channels : int
        Input channels that shared memory holds at a time.
    teams : int
        Teams that share the block's tile: each sums its part of the channels, and the parts are added at the end.
    blocks : int
        Blocks that must fit a multiprocessor at once; it caps the registers.
    straight : bool
        All taps of a channel are straight-line code; otherwise one kernel row at a time is.
    """

    images: int = 1
    row_groups: int = 4
    column_groups: int = 8
    filter_groups: int = 4
    rows: int = 2
    columns: int = 4
    filters: int = 8
    channels: int = 8
    teams: int = 1
    blocks: int = 1
    straight: bool = False

    def __post_init__(self):
        if self.filters % 4 or self.channels % self.teams:
            raise ValueError(
                f"filters is {self.filters}, channels {self.channels} and teams {self.teams}; expected a multiple of 4 "
                "filters a thread and as many channels for each team"
            )

    @property
    def pixel_groups(self):
        return self.images * self.row_groups * self.column_groups

    @property
    def team(self):
        """Threads of a team."""
        return self.pixel_groups * self.filter_groups

    @property
    def threads(self):
        """Threads of a block, whole warps."""
        return -(-self.team * self.teams // 32) * 32

    @property
    def accumulators(self):
        return self.rows * self.columns * self.filters

    @property
    def block_filters(self):
        return self.filter_groups * self.filters


@dataclass(frozen=True)
class Layout:
    """Where a block keeps its input patch and weights in shared memory, in floats, and how often it refills them.

    Patch: [channel][image][row][column], so that one thread's neighbouring columns are one 128-bit load.
    Weights: [channel][tap of one kernel plane][filter]. Both exist twice where there is more than one round.
    Table: for each cell of the patch the pixel of the input that it shows.
    """

    sums: Correlation
    tile: Tile

    def __post_init__(self):
        if self.tile.channels % 4 and self.tile.channels < self.sums.in_shape[3]:
            raise ValueError(
                f"a tile of {self.tile.channels} channels does not divide {self.sums.in_shape[3]} into 128-bit loads; "
                "choose a multiple of 4, or all channels"
            )

    @cached_property
    def read(self):
        """Columns that a thread reads of a patch row; whole 128-bit cells where `vector`."""
        needed = (self.tile.columns - 1) * self.sums.stride[2] + self.sums.kernel[2]
        return -(-needed // 4) * 4 if self.vector else needed

    @property
    def vector(self):
        """Whether each thread's columns start on a 128-bit cell."""
        return self.tile.columns * self.sums.stride[2] % 4 == 0

    @property
    def patch_rows(self):
        rows = self.tile.row_groups * self.tile.rows
        return (rows - 1) * self.sums.stride[1] + self.sums.kernel[1]

    @cached_property
    def pitch(self):
        """Columns of a patch: the least with which eight neighbouring threads meet the fewest bank conflicts."""
        least = (self.tile.column_groups - 1) * self.tile.columns * self.sums.stride[2] + self.read
        least = -(-least // 4) * 4
        return max(range(least, least + 4 * BANK_QUADS, 4), key=lambda pitch: (self._cells(pitch), -pitch))

    def _cells(self, pitch):
        """Different 128-bit bank groups that the first eight pixel groups of a warp start on."""
        row_step = self.tile.rows * self.sums.stride[1] * pitch
        column_step = self.tile.columns * self.sums.stride[2]
        columns = self.tile.column_groups
        starts = (i // columns * row_step + i % columns * column_step for i in range(BANK_QUADS))
        return len({start // 4 % BANK_QUADS for start in starts})

    @property
    def cells(self):
        """Cells of a patch, all images together."""
        return self.tile.images * self.patch_rows * self.pitch

    @property
    def plane(self):
        """Floats of one channel of the patch: an odd number of 128-bit cells spreads the channels over the banks."""
        return 4 * (self.cells // 4 + 1 - self.cells // 4 % 2)

    @property
    def plane_taps(self):
        """Taps of one kernel plane."""
        return self.sums.kernel[1] * self.sums.kernel[2]

    @property
    def weight_pitch(self):
        """Floats from tap to tap; transposed weights arrive four channels at a time and want other banks for each."""
        return self.tile.block_filters + (4 if self.sums.transposed else 0)

    @property
    def channel_weights(self):
        """Floats of one channel's weights in a kernel plane."""
        return self.plane_taps * self.weight_pitch

    @property
    def buffer(self):
        """Floats of one patch with its weights."""
        return self.tile.channels * (self.plane + self.channel_weights)

    @property
    def chunks(self):
        return -(-self.sums.in_shape[3] // self.tile.channels)

    @property
    def rounds(self):
        """Times the block fills shared memory: once a kernel plane and chunk of channels."""
        return self.sums.kernel[0] * self.chunks

    @property
    def quads(self):
        """Groups of four channels in a chunk."""
        return -(-self.tile.channels // 4)

    @property
    def patch_units(self):
        """Pieces in which threads fetch a patch: four channels of one cell."""
        return self.quads * self.cells

    @property
    def weight_units(self):
        """Pieces in which threads fetch weights: four neighbours in memory."""
        if self.sums.transposed:
            return self.quads * self.plane_taps * self.tile.block_filters
        return self.tile.channels * self.plane_taps * self.tile.block_filters // 4

    @property
    def steps(self):
        """Channels that a team works on in one round; after each it has fetched its share of the next round."""
        return self.tile.channels // self.tile.teams

    @property
    def table(self):
        """Where the table of the patch's cells starts, behind the buffers."""
        return min(self.rounds, 2) * self.buffer

    @property
    def shared_floats(self):
        partial_sums = self.tile.accumulators * self.tile.team if self.tile.teams > 1 else 0
        return max(self.table + self.cells, partial_sums)

    @property
    def grid(self):
        """Blocks along (image, depth, row, column, filter), the last one fastest."""
        depth, height, width, filters = self.sums.out_shape
        tile = self.tile
        return (
            -(-self.sums.batch // tile.images),
            depth,
            -(-height // (tile.row_groups * tile.rows)),
            -(-width // (tile.column_groups * tile.columns)),
            -(-filters // tile.block_filters),
        )

    @property
    def launch(self):
        """Keyword arguments of a Kernel."""
        return {
            "grid": (prod(self.grid), 1, 1),
            "block": (self.tile.threads, 1, 1),
            "shared_bytes": 4 * self.shared_floats,
            "blocks_per_multiprocessor": self.tile.blocks,
        }
