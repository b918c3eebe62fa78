"""Gather one batch from the data set that lives on the card: permute, convert and normalise.

Knows the sample order and the state words; must not learn about networks. The images stay uint8 in memory; only the
batch is expanded to float32.
"""

from math import prod

import numpy as np
from numba import int32

from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import remainder
from helpers.kernels.order import sample_index
from helpers.kernels.state import EPOCH, SAMPLES, SEED, SHUFFLE, STEP
from helpers.unroll import registers, unroll, unrolled


def load_batch(op, batch, shape, per_thread=4, most_threads=256):
    """Kernel that writes batch number state[STEP], normalised, and its labels.

    Lane j reads position p = STEP * batch + j, at most the last one: sample pi(p) where state[SHUFFLE] is 1, else p.

    Parameters
    ----------
    op : Op
    batch : int
    shape : tuple of int
        One image, channels last.
    per_thread, most_threads : int
        Values a thread converts, and the most threads of a block; a larger image is shared by several blocks.
    """
    size, channels = prod(shape), shape[-1]
    parts = -(-size // (per_thread * most_threads))
    threads = -(-size // (parts * per_thread * 32)) * 32

    @unrolled
    def body(input, labels, images, all_labels, scale, state):
        lane, part, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.blockIdx.y), np.int64(cuda.threadIdx.x)
        chosen = cuda.shared.array(1, int32)
        if thread == 0:
            samples = np.int64(state[SAMPLES])
            position = min(state[STEP] * np.int64(batch) + lane, samples - 1)
            if state[SHUFFLE] == 1:
                position = sample_index(position, samples, state[SEED], state[EPOCH])
            chosen[0] = position
        cuda.syncthreads()
        sample = np.int64(chosen[0])
        label = np.int32(all_labels[sample])
        first = part * (threads * per_thread) + thread
        value = registers(per_thread)
        for k in unroll(per_thread):  # all reads are in flight before the first write; beyond the image: the last value
            i = min(first + k * threads, size - 1)
            channel = remainder(i, channels)
            value[k] = np.float32(images[sample * size + i]) * scale[channel] + scale[channels + channel]
        for k in unroll(per_thread):
            if first + k * threads < size:
                input[lane * size + first + k * threads] = value[k]
        if thread == 0 and part == 0:
            labels[lane] = label

    return Kernel("load_batch", body, (batch, parts, 1), (threads, 1, 1))


def production(op, batch, shape):
    """Four values a thread: enough reads in flight to hide the latency of memory."""
    return load_batch(op, batch, shape)


def variants(op, batch, shape):
    """Other tilings worth timing."""
    return [load_batch(op, batch, shape, p, t) for p, t in ((1, 256), (2, 256), (4, 128), (8, 128))]
