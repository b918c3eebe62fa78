"""Which image a block trains on next, and that image in shared memory, normalised.

Must not learn about layers.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.order import sample_index
from helpers.kernels.state import EPOCH, SAMPLES, SEED

MOST_PIXELS = 6  # that a thread has on their way at once


def make_order(plan):
    """Device function (order, state, steps, per_epoch, block, thread): the samples of this block's images, all steps.

    Steps run through epochs of `per_epoch` steps, from epoch state[EPOCH] on. Image n of step s stands at
    order[s * batch + n].
    """
    batch, threads, image_blocks, rounds = plan.batch, plan.threads, plan.image_blocks, plan.rounds

    @device_function
    def order_samples(order, state, steps, per_epoch, block, thread):
        samples, seed, epoch = np.int64(state[SAMPLES]), state[SEED], state[EPOCH]
        item = thread
        while item < steps * rounds:
            step, n = quotient(item, rounds), remainder(item, rounds) * image_blocks + block
            if n < batch and block < image_blocks:
                later, within = quotient(step, per_epoch), remainder(step, per_epoch)
                order[step * batch + n] = sample_index(within * batch + n, samples, seed, epoch + later)
            item += threads

    return order_samples


def make_samples(plan):
    """Which sample a block trains on next, in two steps: to be read long before it is needed, and looked at then.

    Returns
    -------
    (read, sample_of) : device functions
        read(order, step, turn, block) -> int32: nothing that would wait for memory is done with it.
        sample_of(word, turn, block): the sample of this block's image number `turn` in that step, or -1 where it has
        none.
    """
    batch, image_blocks = plan.batch, plan.image_blocks

    @device_function
    def read(order, step, turn, block):
        n, word = turn * image_blocks + block, np.int32(0)
        if block < image_blocks:
            word = order[step * batch + (n if n < batch else block)]
        return word

    @device_function
    def sample_of(word, turn, block):
        return np.int64(word) if turn * image_blocks + block < batch and block < image_blocks else np.int64(-1)

    return read, sample_of


def fetch_image(plan):
    """An image on its way to shared memory, and its arrival.

    Returns
    -------
    (ask, put) : device functions
        ask(values, images, labels, sample, thread): the first pixels of a sample and its label into the local array
        `values` of `values_ahead(plan)` int32; nothing is waited for. No image where `sample` is negative.
        put(values, mem, ints, images, scale, sample, thread): those and the others, normalised, and the label.
    """
    view, threads, label = plan.image, plan.threads, plan.label
    (_, width, channels), size, ahead = view.shape, view.size, values_ahead(plan) - 1
    offset, row, column, channel = view.offset, view.row, view.column, view.channel
    bundles = -(-size // (threads * ahead))

    @device_function
    def read(values, images, begin, first):
        for i in range(ahead):
            values[i] = images[begin + min(first + i * threads, size - 1)]  # converted later: that would wait for it

    @device_function
    def ask(values, images, labels, sample, thread):
        if sample >= 0:
            read(values, images, sample * size, thread)
            values[ahead] = labels[sample]

    @device_function
    def put(values, mem, ints, images, scale, sample, thread):
        if sample >= 0:
            for bundle in range(bundles):
                first = bundle * (threads * ahead) + thread
                if bundle > 0:
                    read(values, images, sample * size, first)
                for i in range(ahead):
                    pixel = first + i * threads
                    if pixel < size:
                        c, place = remainder(pixel, channels), quotient(pixel, channels)
                        y, x = quotient(place, width), remainder(place, width)
                        value = np.float32(values[i]) * scale[c] + scale[channels + c]
                        mem[offset + y * row + x * column + c * channel] = value
            if thread == threads - 1:
                ints[label] = values[ahead]

    return ask, put


def values_ahead(plan):
    """Pixels of an image that a thread has on their way at once, and its label."""
    return min(-(-plan.image.size // plan.threads), MOST_PIXELS) + 1
