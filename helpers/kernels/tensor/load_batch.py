"""Gather one batch for tensor cores: as kernels/load_batch.py, written as words, unfolded for a first convolution.

Knows the sample order and the state words; must not learn about networks.
"""

from math import prod

import numpy as np
from numba import int32

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder, store4
from helpers.kernels.order import sample_index
from helpers.kernels.state import EPOCH, SAMPLES, SEED, SHUFFLE, STEP
from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.unfold import MOST_TURNS, WORDS, ZERO, Unfolding, unfolder
from helpers.unroll import registers, unroll, unrolled

RESIDENT, MOST_BLOCKS = 1024, 16  # threads and blocks that every multiprocessor holds at once, if registers allow


def load_batch(op, batch, shape, geometry, form, channels=None, threads=256):
    """Kernel that writes batch number state[STEP], normalised, as words, and its labels.

    Image j of the batch is at position p = STEP * batch + j, at most the last one: sample pi(p) where state[SHUFFLE]
    is 1, else p.

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
        The most of a block, a multiple of 32, unless a pixel needs more; an image is shared by several blocks.

    Returns
    -------
    TensorKernel

    Raises
    ------
    ValueError
        If the geometry is for another image, or the channels do not divide a cell's values.
    """
    size, channels = prod(shape), channels or shape[-1]
    in_shape = geometry.in_shape if geometry else shape
    if prod(in_shape) != size or shape[-1] % channels or geometry and channels != geometry.in_channels:
        raise ValueError(
            f"the image is {shape} with {channels} channels; expected {in_shape}, and channels that divide {shape[-1]}"
        )
    if geometry:
        unfolding = Unfolding(geometry, form.packed, threads)
        parts, threads, shared = prod(unfolding.tiles), unfolding.threads, unfolding.shared_bytes
        write = unfolder(unfolding, form)
    else:
        pieces = size // shape[-1] * padded(shape[-1]) // form.packed // WORDS
        turns = min(MOST_TURNS, -(-pieces // threads))
        parts, shared = -(-pieces // (turns * threads)), 0
        threads = -(-pieces // (turns * parts * 32)) * 32
        write = _make_copy(pieces, shape[-1], channels, turns, threads, form)
    choose = _make_choose(batch)

    def body(input, labels, images, all_labels, scale, state):
        image, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        chosen = cuda.shared.array(1, int32)
        if thread == 0:
            chosen[0] = choose(image, state)
        cuda.syncthreads()
        sample = np.int64(chosen[0])
        write(input, images, scale, sample * size)
        if thread == 0 and cuda.blockIdx.y == 0:
            labels[image] = np.int32(all_labels[sample])

    residents = min(MOST_BLOCKS, RESIDENT // threads)
    launch = {"grid": (batch, parts, 1), "block": (threads, 1, 1), "shared_bytes": shared}
    return TensorKernel("load_batch", body, **launch, blocks_per_multiprocessor=residents)


def _make_choose(batch):
    """Device function: the sample of image `image` of the batch."""

    @device_function
    def choose(image, state):
        samples = np.int64(state[SAMPLES])
        position = min(state[STEP] * np.int64(batch) + image, samples - 1)
        if state[SHUFFLE] == 1:
            position = sample_index(position, samples, state[SEED], state[EPOCH])
        return position

    return choose


def _make_copy(pieces, width, channels, turns, threads, form):
    """Device function write(input, images, scale, begin): this block's words of the cells of an image, `width` values
    each. A thread makes `turns` pieces.
    """
    count = WORDS * form.packed
    depth, gather = padded(width) // count, _make_gather(width, channels, form)

    @device_function
    def write(input, images, scale, begin):
        image, part, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.blockIdx.y), np.int64(cuda.threadIdx.x)
        for turn in range(turns):
            piece = (part * turns + turn) * threads + thread
            if piece < pieces:
                number = remainder(piece, depth) * count
                a, b, c, d = gather(images, scale, begin + quotient(piece, depth) * width, number)
                store4(input, (image * pieces + piece) * WORDS, a, b, c, d)

    return write


def _make_gather(width, channels, form):
    """Device function gather(images, scale, begin, number) -> four words: values of a cell from `number` on."""
    encode, packed = form.encode, form.packed
    count = WORDS * packed

    @device_function
    @unrolled
    def gather(images, scale, begin, number):
        value = registers(count)
        word = registers(WORDS)
        for k in unroll(count):
            inside = number + k < width
            pixel = np.float32(images[begin + number + k if inside else begin])  # read in any case: no read waits
            entry = remainder(number + k, channels)
            normalised = pixel * scale[entry] + scale[channels + entry]
            value[k] = normalised if inside else ZERO
        for k in unroll(WORDS):
            word[k] = encode(value[k * packed], value[k * packed + packed - 1])
        return word

    return gather
