"""Softmax cross-entropy for tensor cores: as kernels/softmax.py, from padded logits to a gradient in format words.

Knows logits, labels and the step counters; must not learn about layers. Also copies the counter STEP to CURRENT for
the kernels after it (see state.py) and, where the loss is scaled, the scale of this step (see loss_scale.py).
"""

import math

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder
from helpers.kernels.state import CURRENT, STEP
from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.formats import follower
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.loss_scale import IN_USE, NEXT
from helpers.unroll import registers, unroll, unrolled

WARP, ALL_LANES = 32, 0xFFFFFFFF
LOWEST, NOT_A_NUMBER = np.float32(-np.inf), np.float32(np.nan)
ZERO, ONE = np.float32(0.0), np.float32(1.0)


def softmax_cross_entropy(op, batch, classes, form, threads=128):
    """Kernel for any number of classes: a warp, whose lanes hold every 32nd word, has one sample.

    With m = max(x): loss = log(sum(exp(x - m))) - (x[label] - m); d_logits = (softmax(x) - onehot(label)) / batch.
    The prediction is the first of the largest logits. A NaN logit, or a label that is no class, gives a NaN loss.
    Where the format's loss is scaled, d_logits, not the loss itself, is multiplied by the scale.

    Parameters
    ----------
    op : Op
    batch, classes : int
    form : Format
        Of `d_logits`, words of shape (N, padded(classes) / form.packed), zeros in the padding. `logits` are float32,
        (N, padded(classes)); what is behind the classes is not read.
    threads : int
        Of a block, a multiple of 32.

    Returns
    -------
    TensorKernel
    """
    score, follow = _make_score(batch, classes, form, threads), follower(form)
    per_sample = np.float32(1.0 / batch)

    def body(d_logits, sample_loss, correct, logits, labels, state):
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        follow()
        if block == 0 and thread == 0:
            state[CURRENT] = state[STEP]
        score(d_logits, sample_loss, correct, logits, labels, block, thread, per_sample)

    def scaled_body(d_logits, sample_loss, correct, logits, labels, state, loss_scale):
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        follow()
        scale = loss_scale[NEXT]  # a power of two, so that it rounds nothing
        if (block == 0) & (thread == 0):
            state[CURRENT], loss_scale[IN_USE] = state[STEP], scale
        score(d_logits, sample_loss, correct, logits, labels, block, thread, per_sample * scale)

    launch = {"grid": (-(-batch // (threads // WARP)), 1, 1), "block": (threads, 1, 1), "chained": form.chains}
    chosen = scaled_body if form.scaled else body
    return TensorKernel("softmax_cross_entropy", chosen, **launch, scaled=form.scaled)


def _make_score(batch, classes, form, threads):
    """Device function: a warp's sample; `weight` is what its gradient is multiplied by."""
    samples, width = threads // WARP, padded(classes)
    weigh, spread = _make_weigh(classes, width, form), _make_spread(classes, width, form)

    @device_function
    def score(d_logits, sample_loss, correct, logits, labels, block, thread, weight):
        lane, n = remainder(thread, WARP), block * samples + quotient(thread, WARP)
        if n < batch:  # the lanes of a warp agree
            label = np.int64(labels[n])
            known = 0 <= label < classes
            target = logits[n * width + label] if known else NOT_A_NUMBER
            highest, total, ahead = weigh(logits, n * width, lane, label)
            if lane == 0:
                sample_loss[n] = np.float32(math.log(total)) - (target - highest)
                correct[n] = 1 if target == highest and ahead == ZERO else 0
            spread(d_logits, logits, n, lane, label, highest, ONE / total, weight)

    return score


@device_function
def warp_max(value):
    """Largest of the lanes' values, in every lane."""
    for step in range(5):
        value = max(value, cuda.shfl_xor_sync(ALL_LANES, value, 16 >> step))
    return value


@device_function
def warp_sum(value):
    """Sum of the lanes' values, the same bits in every lane."""
    for step in range(5):
        value += cuda.shfl_xor_sync(ALL_LANES, value, 16 >> step)
    return value


def _make_weigh(classes, width, form):
    """Device function weigh(logits, first, lane, label) -> the largest logit of a sample, the sum of the exponentials,
    and how many of the largest come before the label.
    """
    packed, words = form.packed, width // form.packed

    @device_function
    @unrolled
    def weigh(logits, first, lane, label):
        highest, total, ahead = LOWEST, ZERO, ZERO
        for word in range(lane, words, WARP):
            for k in unroll(packed):
                if word * packed + k < classes:
                    highest = max(highest, logits[first + word * packed + k])
        highest = warp_max(highest)
        for word in range(lane, words, WARP):
            for k in unroll(packed):
                if word * packed + k < classes:
                    x = logits[first + word * packed + k]
                    total += np.float32(math.exp(x - highest))
                    if x == highest and word * packed + k < label:
                        ahead += ONE
        return highest, warp_sum(total), warp_sum(ahead)

    return weigh


def _make_spread(classes, width, form):
    """Device function: the gradient of sample n; `share` is what its exponentials are multiplied by, `weight` all."""
    packed, words, encode = form.packed, width // form.packed, form.encode

    @device_function
    @unrolled
    def spread(d_logits, logits, n, lane, label, highest, share, weight):
        for word in range(lane, words, WARP):
            d = registers(packed)
            for k in unroll(packed):
                d[k] = ZERO
                c = word * packed + k
                if c < classes:
                    p = np.float32(math.exp(logits[n * width + c] - highest)) * share
                    d[k] = (p - (ONE if c == label else ZERO)) * weight
            d_logits[n * words + word] = encode(d[0], d[packed - 1])

    return spread
