"""Cases that grade the exercises on training that stays on the card; they need no card.

Knows the sample order, the operations and the tracer; must not learn how an answer is written.
"""

import numpy as np

from helpers.architectures import lenet5, vgg_small
from helpers.check import CheckError, check_close
from helpers.drawing.training_charts import lay_out
from helpers.kernels.state import EPOCH, SAMPLES, SEED, SHUFFLE, STEP, WORDS
from helpers.layers import Dense, Flatten
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.network import Network
from helpers.order import philox, sample_order
from helpers.trace import trace

SHIFT = 0x73686966  # second key word of the shifts, so that they share no random numbers with the sample order
STREAMS, GAIN = 3, 0.95


def order_cases():
    """Cases of `f(samples, seed, epoch)`: the samples in the order of an epoch, each once; integers."""
    for samples, seed, epoch in ((16, 0, 0), (1, 3, 0), (5, 0, 1), (17, 2, 0), (100, 1, 7), (1000, 0, 3)):
        yield (samples, seed, epoch), sample_order(samples, seed, epoch, np.arange(samples))


def shifts(samples, seed, epoch):
    """Columns by which each of `samples` moves in an epoch: -1, 0 or 1, int64, shape of `samples`."""
    samples = np.asarray(samples)
    counter = np.zeros((4, *samples.shape), np.uint64)
    counter[0], counter[1] = epoch, samples
    key = np.broadcast_to(np.array([seed, SHIFT], np.uint64).reshape(2, *[1] * samples.ndim), (2, *samples.shape))
    return philox(counter, key)[0].astype(np.int64) % 3 - 1


def shift_images(images, columns):
    """`images` (N, H, W, C) moved to the right by `columns` (N,) each; what enters from outside is 0."""
    moved = np.zeros_like(images)
    width = images.shape[2]
    for n, by in enumerate(columns):
        moved[n, :, max(by, 0) : width + min(by, 0)] = images[n, :, max(-by, 0) : width - max(by, 0)]
    return moved


def shift_cases():
    """Cases of a factory `f(op, batch, shape)` of load_batch kernels that shift each image by `shifts`."""
    for shape, batch, samples, step, epoch, seed in (
        ((4, 5, 1), 3, 10, 0, 0, 0),
        ((3, 4, 3), 4, 9, 1, 2, 5),
        ((1, 1, 2), 2, 6, 2, 1, 1),
    ):
        yield lambda factory, case=(shape, batch, samples, step, epoch, seed): _check_shift(factory, *case)


def _check_shift(factory, shape, batch, samples, step, epoch, seed):
    """Run a load_batch kernel in the tracer; raise CheckError where it differs from the NumPy twin."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (samples, *shape), np.uint8)
    labels = rng.integers(0, 10, samples).astype(np.uint8)
    scale = rng.uniform(0.5, 1.5, (2, shape[-1])).astype(np.float32)
    state = np.zeros(WORDS, np.int32)
    state[[STEP, EPOCH, SEED, SAMPLES, SHUFFLE]] = step, epoch, seed, samples, 1
    op = lower(Network(shape, [Flatten(), Dense(2)])).ops[0]
    got, got_labels = np.empty((batch, *shape), np.float32), np.empty(batch, np.int32)
    trace(factory(op, batch, shape), got, got_labels, images, labels, scale, state)
    chosen = sample_order(samples, seed, epoch, step * batch + np.arange(batch))
    wanted = shift_images(images[chosen], shifts(chosen, seed, epoch)) * scale[0].astype(np.float64) + scale[1]
    about = f"of images {shape}, batch {batch}, step {step}, epoch {epoch}"
    check_close(got_labels, labels[chosen], f"labels {about}", 0)
    check_close(got, wanted, f"input {about}", 1e-3)


def schedule_cases():
    """Cases of `f(ops, seconds)`: a stream, 0 to 2, for each operation, so that a step ends sooner than on two.

    The kernels' times are random, the weight gradients' the longest, and the order of the launches is fixed.
    """
    for seed, make in enumerate((lenet5, vgg_small, lenet5, vgg_small)):
        ops = fuse_pool(fuse_relu(lower(make()))).ops
        rng = np.random.default_rng(seed)
        seconds = [rng.uniform(1, 3) * (3 if op.kind.endswith("_weight_gradient") else 1) for op in ops]
        yield lambda answer, case=(make.__name__, ops, seconds): _check_schedule(answer, *case)


def _check_schedule(answer, name, ops, seconds):
    """Raise CheckError unless `answer` names a stream for each operation and the step ends sooner than on two."""
    streams = np.asarray(answer(ops, list(seconds)))
    if streams.shape != (len(ops),):
        raise CheckError(f"streams of {name} have shape {streams.shape}; wanted ({len(ops)},), one an operation")
    wrong = np.flatnonzero(~np.isin(streams, range(STREAMS)))
    if len(wrong):
        raise CheckError(f"streams of {name}, at {wrong[0]}: got {streams[wrong[0]]}, wanted 0 to {STREAMS - 1}")
    got, limit = lay_out(ops, seconds, streams.tolist())[-1][2], GAIN * lay_out(ops, seconds)[-1][2]
    if got > limit:
        raise CheckError(
            f"a step of {name} ends at {got:.1f}; wanted {limit:.1f} at most, {GAIN:.0%} of two streams' time"
        )
