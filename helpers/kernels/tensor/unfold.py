"""An image unfolded for a first convolution: for each output pixel all that its window sees.

So the convolution becomes one with a kernel of a single cell: few channels would leave most of every chunk empty. A
block makes some lines of outputs. It first puts the part of the image under their windows, normalised, in shared
memory, with zeros around the image and behind every row; a thread then finds its places there once and makes the same
piece of a pixel in every few lines. Must not learn which image it is.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from helpers.device import cuda, device_function
from helpers.geometry import ConvGeometry
from helpers.kernels.intrinsics import narrow, pointer, quotient, remainder, shared_floats, store4
from helpers.kernels.tensor.layout import padded
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
WORDS = 4  # that a thread writes at once: a piece
MOST_TURNS = 4  # pieces that a thread makes, so that few blocks look for their sample
BANKS = 32  # of shared memory; a warp's reads of different cells of one bank wait for each other
MOST_SPARE = 7  # cells by which a row is lengthened against that
MOST_SHARED = 32 * 1024  # bytes of a block's part of the image, if a thread need not make fewer than one piece


@dataclass(frozen=True)
class Unfolding:
    """How the outputs of a convolution are shared by blocks of at most `most_threads` where a pixel's pieces fit them.

    A block has `columns` outputs of `lanes` * `turns` lines of a plane: threads for `lanes` lines, as many turns.
    """

    geometry: ConvGeometry
    packed: int
    most_threads: int

    @property
    def values(self):
        """Values of an output pixel that are no padding."""
        return prod(self.geometry.kernel) * self.geometry.in_channels

    @property
    def depth(self):
        """Pieces of a pixel."""
        return padded(self.values) // (WORDS * self.packed)

    @property
    def columns(self):
        columns = self.geometry.out_shape[2]
        tiles = -(-columns // max(1, self.most_threads // self.depth))
        return -(-columns // tiles)

    @property
    def lanes(self):
        return max(1, min(self.geometry.out_shape[1], self.most_threads // (self.columns * self.depth)))

    @property
    def turns(self):
        turns = min(MOST_TURNS, -(-self.geometry.out_shape[1] // self.lanes))
        while turns > 1 and self._patch_bytes(turns) > MOST_SHARED:
            turns -= 1
        return turns

    @property
    def tiles(self):
        """Blocks of an image along planes, lines and columns."""
        planes, rows, columns, _ = self.geometry.out_shape
        return planes, -(-rows // (self.lanes * self.turns)), -(-columns // self.columns)

    @property
    def threads(self):
        return -(-self.lanes * self.columns * self.depth // 32) * 32

    @cached_property
    def pitch(self):
        """Cells of a row in shared memory; the last is always zero. Of a few, that whose reads wait least."""
        g = self.geometry
        least = ((self.columns - 1) * g.stride[2] + g.kernel[2]) * g.in_channels + 1
        return min(range(least, least + MOST_SPARE + 1), key=self._waits)

    def _waits(self, pitch):
        """Turns in which shared memory serves the first warp's reads, kernels taken for flat ones."""
        g, count, threads = self.geometry, WORDS * self.packed, np.arange(BANKS)
        pixel, first, row = threads // self.depth, threads % self.depth * count, g.kernel[2] * g.in_channels
        corner = pixel % self.columns * g.stride[2] * g.in_channels
        turns = 0
        for number in (first + k for k in range(count)):
            at = np.where(number < self.values, corner + number + number // row * (pitch - row), pitch - 1)
            cells = np.unique(pixel // self.columns * g.stride[1] * pitch + at)
            turns += np.bincount(cells % BANKS).max()
        return turns

    @property
    def rows(self):
        """Rows of each plane in shared memory."""
        return self._rows(self.turns)

    @property
    def shared_bytes(self):
        return self._patch_bytes(self.turns)

    def _rows(self, turns):
        return (self.lanes * turns - 1) * self.geometry.stride[1] + self.geometry.kernel[1]

    def _patch_bytes(self, turns):
        return 4 * self.geometry.kernel[0] * self._rows(turns) * self.pitch


def unfolder(unfolding, form):
    """Device function write(input, images, scale, begin): this block's words of an image.

    Parameters
    ----------
    unfolding : Unfolding
        A block is number (image, tile) of a grid; the image is in `images` from `begin` on.
    form : Format
    """
    u, g = unfolding, unfolding.geometry
    (_, row_tiles, column_tiles), lines, columns = u.tiles, u.lanes * u.turns, u.columns
    (step_z, step_y, step_x), (before_z, before_y, before_x) = g.stride, g.padding
    stage, build = _make_stage(u), _make_build(u, form)

    @device_function
    def write(input, images, scale, begin):
        tile = np.int64(cuda.blockIdx.y)
        strip, x = quotient(tile, column_tiles), remainder(tile, column_tiles) * columns
        z, y = quotient(strip, row_tiles), remainder(strip, row_tiles) * lines
        stage(images, scale, begin, z * step_z - before_z, y * step_y - before_y, x * step_x - before_x)
        cuda.syncthreads()
        build(input, np.int64(cuda.blockIdx.x), z, y, x)

    return write


def _make_stage(unfolding):
    """Device function stage(images, scale, begin, z, y, x): the part of an image whose first cell is (z, y, x).

    A thread has a place in some rows, all of which it reads before it writes the first.
    """
    u, pitch, patch_rows, threads = unfolding, unfolding.pitch, unfolding.rows, unfolding.threads
    (planes, rows, columns, channels), kernel_planes = u.geometry.in_shape, u.geometry.kernel[0]
    lanes, chunks, row_cells = max(1, threads // pitch), -(-pitch // threads), columns * channels
    turns = -(-patch_rows // lanes)

    @device_function
    @unrolled
    def stage(images, scale, begin, z, y, x):
        pixel = registers(turns)
        staged, thread = shared_floats(0), np.int64(cuda.threadIdx.x)
        lane = quotient(thread, pitch) if lanes > 1 else 0
        for chunk in unroll(chunks):
            place = thread - lane * pitch + chunk * threads
            cell, channel = x * channels + place, remainder(place, channels)
            mine = (lane < lanes) & (place < pitch)
            within = mine & (cell >= 0) & (cell < row_cells) & (place < pitch - 1)
            factor, term = scale[channel], scale[channels + channel]
            for plane in unroll(kernel_planes):
                there = within & (z + plane >= 0) & (z + plane < planes)
                first, top = begin + ((z + plane) * rows + y + lane) * row_cells + cell, y + lane
                for t in unroll(turns):
                    inside = there & (top + t * lanes >= 0) & (top + t * lanes < rows)
                    pixel[t] = np.float32(images[first + t * lanes * row_cells if inside else begin])
                for t in unroll(turns):
                    inside = there & (top + t * lanes >= 0) & (top + t * lanes < rows)
                    if mine & (lane + t * lanes < patch_rows):
                        value = pixel[t] * factor + term if inside else ZERO
                        staged[(plane * patch_rows + lane + t * lanes) * pitch + place] = value

    return stage


def _make_build(unfolding, form):
    """Device function build(input, image, z, y, x): the pieces of the pixels from (z, y, x) on.

    The values of a window's row lie together in the image as in the piece; a piece's values behind the last are the
    zero at the end of a row.
    """
    u, encode, packed, pitch, depth = unfolding, form.encode, form.packed, unfolding.pitch, unfolding.depth
    (out_planes, out_rows, out_columns, _), (_, kernel_rows, kernel_columns) = u.geometry.out_shape, u.geometry.kernel
    columns, lanes, turns, count, values = u.columns, u.lanes, u.turns, WORDS * packed, u.values
    row, width = kernel_columns * u.geometry.in_channels, u.geometry.stride[2] * u.geometry.in_channels
    line, next_plane, deep = u.geometry.stride[1] * pitch, (u.rows - kernel_rows) * pitch, u.geometry.kernel[0] > 1
    step, even = lanes * out_columns * depth * WORDS, out_rows % (lanes * turns) == 0

    @device_function
    @unrolled
    def build(input, image, z, y, x):
        value = registers(turns, count)
        word = registers(WORDS)
        staged, thread = shared_floats(0), np.int64(cuda.threadIdx.x)
        pixel, number = quotient(thread, depth), remainder(thread, depth) * count
        lane, column = quotient(pixel, columns), remainder(pixel, columns)
        if (lane < lanes) & (x + column < out_columns):
            for k in unroll(count):
                at = number + k + quotient(number + k, row) * (pitch - row)
                if deep:
                    at += quotient(number + k, row * kernel_rows) * next_plane
                at = lane * line + (column * width + at if number + k < values else pitch - 1)
                for t in unroll(turns):
                    value[t, k] = staged[at + t * lanes * line]
            out = ((image * out_planes + z) * out_rows + y + lane) * out_columns + x + column
            words = pointer(input, narrow(out * depth * WORDS + quotient(number, packed)))
            for t in unroll(turns):
                for k in unroll(WORDS):
                    word[k] = encode(value[t, k * packed], value[t, k * packed + packed - 1])
                if even or y + lane + t * lanes < out_rows:
                    store4(words, t * step, word[0], word[1], word[2], word[3])

    return build
