"""How tensor cores want values to lie in memory: channels in whole tiles, weights in the order in which a block copies
them, gates as a few bits a channel.

Values are 16 or 32 bits wide and lie in 32-bit words, as float32 whose bits they are. A chunk is what a row of shared
memory holds: CHUNK words. Must not learn who copies or multiplies.

Activations and their gradients: (N, D, H, W, channels), channels padded with zeros to a multiple of TILE.
Gates: for every LANE_CHANNELS channels of a cell one int32. Its byte i has a bit for each channel: 1 where the gradient
passes to cell i, row-major, of the window that was pooled (0 where nothing was pooled).
"""

from dataclasses import dataclass
from math import prod

CHUNK = 16  # words of a pixel, or of a filter's weights, that are copied and multiplied together
TILE = 32  # channels of a warp's tile
LANE_CHANNELS = 8  # neighbouring channels of a pixel that a lane has at the end
MOST_CELLS = 4  # of a window: bytes of a gate


def padded(channels):
    """Channels in memory."""
    return -(-channels // TILE) * TILE


def row_of(filter):
    """Row of the weights of a filter; filters change places within tiles of 32 (0 to 7 lie in rows 0, 1, 8, 9, 16, 17,
    24, 25): a lane, which holds the sums of two columns in each eight of them, then ends with eight neighbours.
    """
    lane, pair = filter % TILE // LANE_CHANNELS, filter % LANE_CHANNELS
    return filter // TILE * TILE + pair // 2 * 8 + lane * 2 + pair % 2


@dataclass(frozen=True)
class Packing:
    """Where the weights of a layer lie, once for its forward pass and once for its input gradient.

    The visible weights are (taps, channels, filters) in C order. A convolution has the taps of its kernel; a dense
    layer has for taps the cells of the image that it was flattened from, and its kernel is (1, 1, 1).

    Both are (chunks, kernel planes, kernel columns, kernel rows, rows, CHUNK words), rows in the order of `row_of`:
    forward the chunks are of channels and the rows filters; backward the other way round, and the kernel is turned
    about in every axis. A dense layer's channels are those of all its cells, each cell's padded.
    """

    taps: int
    channels: int
    filters: int
    kernel: tuple[int, int, int]
    packed: int

    @property
    def chunk(self):
        """Values in a chunk."""
        return CHUNK * self.packed

    @property
    def dense(self):
        return prod(self.kernel) != self.taps

    @property
    def input_channels(self):
        """Padded channels of the input as the multiplication sees it."""
        return padded(self.channels) * (self.taps if self.dense else 1)

    @property
    def output_channels(self):
        return padded(self.filters)

    @property
    def size(self):
        """Values of either layout, zeros included."""
        return self.input_channels * self.output_channels * prod(self.kernel)

    def forward_place(self, tap, channel, filter):
        """Index of a weight in the layout for the forward pass; integers or integer arrays."""
        column, channel = self._column(tap, channel)
        return self._place(column, channel, filter, self.output_channels)

    def backward_place(self, tap, channel, filter):
        """Index of a weight in the layout for the input gradient."""
        column, channel = self._column(tap, channel)
        return self._place(prod(self.kernel) - 1 - column, filter, channel, self.input_channels)

    def _column(self, tap, channel):
        """Number of a tap with kernel rows fastest, and the channel among those of all cells."""
        if self.dense:
            return tap * 0, tap * padded(self.channels) + channel
        _, rows, columns = self.kernel
        plane, row, column = tap // (rows * columns), tap // columns % rows, tap % columns
        return (plane * columns + column) * rows + row, channel

    def _place(self, tap, inner, outer, rows):
        taps = prod(self.kernel)
        return ((inner // self.chunk * taps + tap) * rows + row_of(outer)) * self.chunk + inner % self.chunk
