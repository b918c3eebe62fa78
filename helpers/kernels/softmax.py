"""Softmax cross-entropy: loss, hit and gradient of every sample from its logits.

Knows logits, labels and the step counters; must not learn about layers. Also copies the counter STEP to CURRENT for
the kernels after it (see state.py).
"""

import math

import numpy as np

from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import shared_floats
from helpers.kernels.reduction import tree_max, tree_sum
from helpers.kernels.state import CURRENT, STEP
from helpers.unroll import registers, unroll, unrolled

FEW_CLASSES = 32  # logits that one thread keeps in registers
LOWEST, NOT_A_NUMBER = np.float32(-np.inf), np.float32(np.nan)
ZERO, ONE = np.float32(0.0), np.float32(1.0)


def thread_a_sample(op, batch, classes, threads=32):
    """Kernel for few classes: a thread keeps the logits of its sample in registers.

    With m = max(x): loss = log(sum(exp(x - m))) - (x[label] - m); d_logits = (softmax(x) - onehot(label)) / batch.
    The prediction is the first of the largest logits. A NaN logit gives a NaN loss.
    """
    per_sample = np.float32(1.0 / batch)

    @unrolled
    def body(d_logits, sample_loss, correct, logits, labels, state):
        n = np.int64(cuda.grid(1))
        if n == 0:
            state[CURRENT] = state[STEP]
        if n < batch:
            label, best = np.int64(labels[n]), 0
            x = registers(classes)
            for c in unroll(classes):
                x[c] = logits[n * classes + c]
            highest, target, total = x[0], NOT_A_NUMBER, ZERO  # a label beyond the classes makes the loss NaN
            for c in unroll(classes):
                best = c if x[c] > highest else best
                target = x[c] if c == label else target
                highest = x[c] if x[c] > highest else highest
            target -= highest
            for c in unroll(classes):
                x[c] = np.float32(math.exp(x[c] - highest))
                total += x[c]
            sample_loss[n] = np.float32(math.log(total)) - target
            correct[n] = 1 if best == label else 0
            share = ONE / total
            for c in unroll(classes):
                d_logits[n * classes + c] = (x[c] * share - (ONE if c == label else ZERO)) * per_sample

    return Kernel("softmax_cross_entropy", body, (-(-batch // threads), 1, 1), (threads, 1, 1))


def block_a_sample(op, batch, classes, threads=128):
    """Kernel for any number of classes, the same formulas: a block, a power of two threads, shares one sample."""
    per_sample = np.float32(1.0 / batch)

    def body(d_logits, sample_loss, correct, logits, labels, state):
        n, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        peaks, sums = shared_floats(0), shared_floats(threads)
        if n == 0 and thread == 0:
            state[CURRENT] = state[STEP]
        first, label = n * classes, np.int64(labels[n])
        target = logits[first + label]
        highest, ahead, total = LOWEST, ZERO, ZERO
        for c in range(thread, classes, threads):
            x = logits[first + c]
            highest = max(highest, x)
            if x > target or (x == target and c < label):
                ahead += ONE
        peaks[thread], sums[thread] = highest, ahead
        tree_max(peaks, thread, threads)
        tree_sum(sums, thread, threads, 1)
        highest, ahead = peaks[0], sums[0]
        cuda.syncthreads()
        for c in range(thread, classes, threads):
            total += np.float32(math.exp(logits[first + c] - highest))
        sums[thread] = total
        tree_sum(sums, thread, threads, 1)
        total = sums[0]
        if thread == 0:
            sample_loss[n] = np.float32(math.log(total)) - (target - highest)
            correct[n] = 1 if ahead == ZERO else 0
        share = ONE / total
        for c in range(thread, classes, threads):
            p = np.float32(math.exp(logits[first + c] - highest)) * share
            d_logits[first + c] = (p - (ONE if c == label else ZERO)) * per_sample

    return Kernel("softmax_cross_entropy", body, (batch, 1, 1), (threads, 1, 1), shared_bytes=8 * threads)


def production(op, batch, shape):
    """A thread a sample while its logits, of `shape` (classes,), fit registers, else a block a sample."""
    (classes,) = shape
    return thread_a_sample(op, batch, classes) if classes <= FEW_CLASSES else block_a_sample(op, batch, classes)


def variants(op, batch, shape):
    """Other tilings worth timing."""
    (classes,) = shape
    wide = [block_a_sample(op, batch, classes, threads) for threads in (32, 256)]
    return wide + ([thread_a_sample(op, batch, classes, 64)] if classes <= FEW_CLASSES else [])
