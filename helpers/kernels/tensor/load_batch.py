"""Gather one batch for tensor cores: as kernels/load_batch.py, written as words, unfolded for a first convolution.

An unfolded image has for each output pixel of the convolution all that its window sees, so that the convolution
becomes one with a kernel of a single cell: few channels would leave most of every chunk empty. Knows the sample order
and the state words; must not learn about networks.
"""

from math import prod

import numpy as np
from numba import int32

from helpers.device import cuda, device_function
from helpers.geometry import ConvGeometry
from helpers.kernels.intrinsics import quotient, remainder, store4
from helpers.kernels.order import sample_index
from helpers.kernels.state import EPOCH, SAMPLES, SEED, SHUFFLE, STEP
from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.layout import padded
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
WORDS = 4  # that a thread writes at once
RESIDENT, MOST_BLOCKS = 1024, 16  # threads and blocks that every multiprocessor holds at once, if registers allow
MOST_TURNS = 4  # pieces of four words a thread makes, so that few blocks look for their sample


def load_batch(op, batch, shape, geometry, form, channels=None, threads=256):
    """Kernel that writes batch number state[STEP], normalised, as words, and its labels.

    Lane j reads position p = STEP * batch + j, at most the last one: sample pi(p) where state[SHUFFLE] is 1, else p.

    Parameters
    ----------
    op : Op
    batch : int
    shape : tuple of int
        One image, channels last.
    geometry : ConvGeometry or None
        Of the first convolution, with taps t in C order and C channels: `input` is (N, output pixels,
        padded(taps * C)), value t * C + c of a pixel is channel c under tap t, zero outside the image.
        None: `input` is (N, cells, padded(C)), cells those of `shape`.
    form : Format
        Of `input`; its values are packed in words, zeros in the padding.
    channels : int, optional
        Entries of either row of `scale`: those of the image where `shape` is flat. Default: the last of `shape`.
    threads : int
        The most of a block, a multiple of 32; an image is shared by several blocks.

    Returns
    -------
    TensorKernel

    Raises
    ------
    ValueError
        If the geometry is for another image, or the channels do not divide a cell's values.
    """
    size, channels = prod(shape), channels or shape[-1]
    geometry = geometry or _cells(shape)
    if prod(geometry.in_shape) != size or shape[-1] % channels:
        raise ValueError(
            f"the image is {shape} with {channels} channels; expected {geometry.in_shape}, and channels that divide "
            f"{shape[-1]}"
        )
    depth = padded(prod(geometry.kernel) * geometry.in_channels) // form.packed // WORDS  # pieces of a pixel
    pieces = prod(geometry.out_shape[:3]) * depth
    turns = min(MOST_TURNS, -(-pieces // threads))
    parts = -(-pieces // (turns * threads))
    threads = -(-pieces // (turns * parts * 32)) * 32
    choose, gather = _make_choose(batch), _make_gather(geometry, channels, depth, form)

    def body(input, labels, images, all_labels, scale, state):
        lane, part, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.blockIdx.y), np.int64(cuda.threadIdx.x)
        chosen = cuda.shared.array(1, int32)
        if thread == 0:
            chosen[0] = choose(lane, state)
        cuda.syncthreads()
        sample, first = np.int64(chosen[0]), part * (turns * threads) + thread
        for turn in range(turns):
            piece = first + turn * threads
            if piece < pieces:
                a, b, c, d = gather(images, scale, sample * size, piece)
                store4(input, (lane * pieces + piece) * WORDS, a, b, c, d)
        if thread == 0 and part == 0:
            labels[lane] = np.int32(all_labels[sample])

    residents = min(MOST_BLOCKS, RESIDENT // threads)
    return TensorKernel("load_batch", body, (batch, parts, 1), (threads, 1, 1), blocks_per_multiprocessor=residents)


def _cells(shape):
    """Geometry of a convolution that sees each cell alone."""
    image = (1, 1, prod(shape[:-1]), shape[-1])
    return ConvGeometry(image, image, (1, 1, 1), (1, 1, 1), (0, 0, 0))


def _make_choose(batch):
    """Device function: the sample of lane `lane` of the batch."""

    @device_function
    def choose(lane, state):
        samples = np.int64(state[SAMPLES])
        position = min(state[STEP] * np.int64(batch) + lane, samples - 1)
        if state[SHUFFLE] == 1:
            position = sample_index(position, samples, state[SEED], state[EPOCH])
        return position

    return choose


def _make_gather(geometry, channels, depth, form):
    """Device function gather(images, scale, begin, piece) -> four words of the image that begins at `begin`.

    The first value's place under the window is found by divisions, those of the next by counting on.
    """
    (planes, rows, columns, width), (_, kernel_rows, kernel_columns) = geometry.in_shape, geometry.kernel
    start, encode, packed = _make_start(geometry, depth, WORDS * form.packed), form.encode, form.packed
    count, next_row = WORDS * packed, (columns - kernel_columns) * width
    deep = geometry.kernel[0] > 1 or geometry.padding[0] > 0  # a window may reach out of the planes
    values, next_plane = prod(geometry.kernel) * width, (rows - kernel_rows) * columns * width

    @device_function
    @unrolled
    def gather(images, scale, begin, piece):
        value = registers(count)
        word = registers(WORDS)
        number, plane, row, column, channel, z, y, x = start(piece)
        at = begin + (((z + plane) * rows + y + row) * columns + x + column) * width + channel
        for k in unroll(count):
            inside = (y + row >= 0) & (y + row < rows) & (x + column >= 0) & (x + column < columns)
            inside = inside & (number + k < values)
            if deep:
                inside = inside & (z + plane >= 0) & (z + plane < planes)
            pixel = np.float32(images[at if inside else begin])  # read in any case, so that no read waits for a test
            entry = channel if channels == width else remainder(channel, channels)
            normalised = pixel * scale[entry] + scale[channels + entry]
            value[k] = normalised if inside else ZERO
            at, channel = at + 1, channel + 1
            if channel == width:
                channel, column = 0, column + 1
                if column == kernel_columns:
                    column, row, at = 0, row + 1, at + next_row
                    if row == kernel_rows:
                        row, plane, at = 0, plane + 1, at + next_plane
        for k in unroll(WORDS):
            word[k] = encode(value[k * packed], value[k * packed + packed - 1])
        return word

    return gather


def _make_start(geometry, depth, count):
    """Device function start(piece) -> the number in its pixel of the first of `count` values, its place in the window
    (plane, row, column, channel), and where in the image the window begins (z, y, x).
    """
    (_, out_rows, out_columns, _), width = geometry.out_shape, geometry.in_channels
    _, kernel_rows, kernel_columns = geometry.kernel
    (step_z, step_y, step_x), (before_z, before_y, before_x) = geometry.stride, geometry.padding

    @device_function
    def start(piece):
        pixel, number = quotient(piece, depth), remainder(piece, depth) * count
        tap, channel = quotient(number, width), remainder(number, width)
        line, column = quotient(tap, kernel_columns), remainder(tap, kernel_columns)
        plane, row = quotient(line, kernel_rows), remainder(line, kernel_rows)
        out_line, x = quotient(pixel, out_columns), remainder(pixel, out_columns) * step_x - before_x
        y = remainder(out_line, out_rows) * step_y - before_y
        z = quotient(out_line, out_rows) * step_z - before_z
        return number, plane, row, column, channel, z, y, x

    return start
