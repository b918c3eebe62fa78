"""Which image a block trains on next, and that image in shared memory, normalised.

Must not learn about layers.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.order import sample_index
from helpers.kernels.state import EPOCH, SAMPLES, SEED


def make_order(plan):
    """Device function (order, state, steps, per_epoch, block, thread): the samples of this block's images, all steps.

    Steps run through epochs of `per_epoch` steps, from epoch state[EPOCH] on. Image n of step s stands at
    order[s * batch + n].
    """
    batch, threads, image_blocks, rounds = plan.batch, plan.threads, plan.image_blocks, plan.rounds

    @device_function
    def order_samples(order, state, steps, per_epoch, block, thread):
        samples, seed, epoch = np.int64(state[SAMPLES]), state[SEED], state[EPOCH]
        for item in range(thread, steps * rounds, threads):
            step, n = quotient(item, rounds), remainder(item, rounds) * image_blocks + block
            if n < batch and block < image_blocks:
                later, within = quotient(step, per_epoch), remainder(step, per_epoch)
                order[step * batch + n] = sample_index(within * batch + n, samples, seed, epoch + later)

    return order_samples


def fetch_image(plan):
    """Device function (mem, ints, images, labels, scale, sample, thread): one image and its label."""
    view, threads, label = plan.image, plan.threads, plan.label
    (_, width, channels), size = view.shape, view.size
    offset, row, column, channel = view.offset, view.row, view.column, view.channel

    @device_function
    def fetch(mem, ints, images, labels, scale, sample, thread):
        for i in range(thread, size, threads):
            pixel, c = quotient(i, channels), remainder(i, channels)
            value = np.float32(images[sample * size + i]) * scale[c] + scale[channels + c]
            y, x = quotient(pixel, width), remainder(pixel, width)
            mem[offset + y * row + x * column + c * channel] = value
        if thread == 0:
            ints[label] = np.int32(labels[sample])

    return fetch
