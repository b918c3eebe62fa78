"""How the convolution's weight gradient is cut into blocks, threads and boxes of pixels: a rule over the geometry.

Knows sizes only; must not learn about arrays, the card in use or networks.
"""

from functools import cache
from itertools import product
from math import prod
from typing import NamedTuple

from helpers.kernels.boxes import ceil, make_box

SHARED_FLOATS = 48 * 1024 // 4  # what every card gives a block without asking
THREADS = 384  # a block at most: 168 registers each fill a multiprocessor's 65536
SUMS = 96  # register sums a thread: with operands and addresses they stay below 168 registers
STRAIGHT = 200  # multiply-adds of straight-line code: more would cost compile time and gain nothing
LATENCY, BARRIER, LOAD = 800, 150, 20  # cycles until data arrive, to change boxes, and to issue one load


class Tiling(NamedTuple):
    """The free choices. Compile-time integers, so that a kernel's body may name them.

    A block owns channels*channel_groups x filters*filter_groups weights of every tap and walks over boxes of `rows` x
    run*runs output pixels; `splits` blocks share the boxes. A thread owns `channels` x `filters` weights of one row
    of taps and takes, of each box, every `slices`-th run of `run` neighbouring pixels. There are at least as many
    threads as filters in a tile: the bias needs them.
    """

    channels: int
    filters: int
    channel_groups: int
    filter_groups: int
    run: int
    runs: int
    rows: int
    slices: int
    splits: int

    @property
    def tile(self):
        """Channels and filters of a block."""
        return self.tile_channels, self.tile_filters

    @property
    def tile_channels(self):
        return self.channels * self.channel_groups

    @property
    def tile_filters(self):
        return self.filters * self.filter_groups

    def tiles(self, geometry):
        """Blocks that share a box."""
        c, k = geometry.in_channels, geometry.out_channels
        return ceil(c, self.tile_channels) * ceil(k, self.tile_filters)

    def boxes(self, geometry, batch):
        """Boxes of the whole batch."""
        depth, height, width, _ = geometry.out_shape
        return batch * depth * ceil(height, self.rows) * ceil(width, self.run * self.runs)

    def threads(self, geometry):
        """Threads a block."""
        return self.channel_groups * self.filter_groups * prod(geometry.kernel[:2]) * self.slices

    def buffers(self, geometry, batch):
        """Boxes in shared memory at once: the next one is fetched meanwhile, where there is a next one."""
        return 1 if self.splits == self.boxes(geometry, batch) else 2

    def shared_floats(self, geometry, batch):
        """Shared memory of a block: the boxes in flight, or every slice's sums of one tap column."""
        sums = self.slices * prod(geometry.kernel[:2]) * self.tile_channels * self.tile_filters
        boxes = x_box(self, geometry).floats + dy_box(self, geometry).floats
        return max(self.buffers(geometry, batch) * boxes, sums, self.threads(geometry))


def x_box(tiling, geometry):
    """Box of the input that one box of output pixels needs, halo included."""
    (kd, kh, kw), (_, sh, sw) = geometry.kernel, geometry.stride
    columns = tiling.run * tiling.runs
    rows, width = (tiling.rows - 1) * sh + kh, (columns - 1) * sw + kw
    place = geometry.in_shape, tiling.tile_channels, columns * sw, geometry.padding[2]
    return make_box(kd, rows, width, *place, tiling.threads(geometry))


def dy_box(tiling, geometry):
    """Box of output pixels."""
    columns = tiling.run * tiling.runs
    place = geometry.out_shape, tiling.tile_filters, columns, 0
    return make_box(1, tiling.rows, columns, *place, tiling.threads(geometry))


def _even(size, limit):
    """The smallest part not above `limit` that cuts `size` into the fewest equal parts."""
    return ceil(size, ceil(size, limit))


def _share(size, limit):
    """Of `size` channels, how many a thread takes: 8 or 4 where that divides them, else an even part up to `limit`."""
    for part in (8, 4):
        if size % part == 0 and limit >= part:
            return part
    return _even(min(size, 32), min(limit, 8))


def thread_tile(geometry):
    """(channels, filters, run) of a thread: at most 96 sums with the taps of a row, if there are fewer taps."""
    taps = geometry.kernel[2]
    filters = _share(geometry.out_channels, max(1, SUMS // taps))
    channels = _share(geometry.in_channels, max(1, SUMS // (taps * filters)))
    run = _even(geometry.out_shape[2], max(1, min(8, STRAIGHT // (taps * channels * filters))))
    return channels, filters, run


def _cycles(tiling, geometry, batch, multiprocessors):
    """Estimated cycles of the busiest multiprocessor: its rounds of blocks, in each the boxes of a split."""
    x, dy, warps = x_box(tiling, geometry), dy_box(tiling, geometry), ceil(tiling.threads(geometry), 128)
    passes = ceil(tiling.rows * tiling.runs, tiling.slices)
    work = warps * passes * tiling.run * geometry.kernel[2] * tiling.channels * tiling.filters
    fetch = warps * (x.loads + dy.loads) * LOAD
    traffic = (x.floats + dy.floats) // 8
    rounds = ceil(tiling.tiles(geometry) * tiling.splits, multiprocessors)
    boxes = ceil(tiling.boxes(geometry, batch), tiling.splits)
    return rounds * (LATENCY + traffic + boxes * (BARRIER + max(traffic, work + fetch)))


@cache
def _splits(boxes, tiles, multiprocessors):
    """Fewest splits within 5 % of the shortest time, which goes by whole rounds of blocks; up to 4 rounds."""

    def time(splits):
        return ceil(tiles * splits, multiprocessors) * ceil(boxes, splits)

    candidates = range(1, min(boxes, max(1, 4 * multiprocessors // tiles)) + 1)
    limit = 1.05 * min(map(time, candidates))
    return next(s for s in candidates if time(s) <= limit)


def choose(geometry, batch, multiprocessors=132, **fixed):
    """The `Tiling` of least estimated cycles that fits 384 threads and 48 KB of shared memory.

    Parameters
    ----------
    geometry : ConvGeometry
    batch, multiprocessors : int
    **fixed : int
        Fields of `Tiling` that are not free; `splits` at most.

    Raises
    ------
    ValueError
        If nothing fits: the window has too many rows, or rows too long.
    """
    best = None
    for tiling in _candidates(geometry, batch, multiprocessors, fixed):
        floats = tiling.shared_floats(geometry, batch)
        key = (_cycles(tiling, geometry, batch, multiprocessors), floats)
        if floats <= SHARED_FLOATS and (best is None or key < best[0]):
            best = key, tiling
    if best is None:
        raise ValueError(
            f"no tile of the weight gradient fits 48 KB of shared memory and {THREADS} threads for a window of "
            f"{geometry.kernel} over rows of {geometry.in_shape[2]} pixels; use a smaller window"
        )
    return best[1]


def _candidates(geometry, batch, multiprocessors, fixed):
    """Every tiling within the limit of threads that agrees with `fixed`; no split of them is without boxes."""
    height, width = geometry.out_shape[1:3]
    channels, filters, run = (
        fixed.get(name, n) for name, n in zip(Tiling._fields[:2] + ("run",), thread_tile(geometry))
    )
    groups = (
        _halves(ceil(_even(geometry.in_channels, 32), channels)),
        _halves(ceil(_even(geometry.out_channels, 32), filters)),
    )
    for cg, kg, rows, runs in product(*groups, range(1, height + 1), range(1, ceil(width, run) + 1)):
        lanes = cg * kg * prod(geometry.kernel[:2])
        if lanes > THREADS:
            continue
        slices = max(_even(rows * runs, fixed.get("slices", THREADS // lanes)), ceil(filters * kg, lanes))
        tiling = Tiling(channels, filters, cg, kg, run, runs, rows, slices, 1)
        boxes = tiling.boxes(geometry, batch)
        splits = fixed.get("splits") or _splits(boxes, tiling.tiles(geometry), multiprocessors)
        tiling = tiling._replace(splits=ceil(boxes, ceil(boxes, splits)))
        if all(getattr(tiling, name) == value for name, value in fixed.items() if name != "splits"):
            yield tiling


def _halves(n):
    """n, n/2, ... 1, rounded up."""
    return [n] if n == 1 else [n, *_halves(ceil(n, 2))]
