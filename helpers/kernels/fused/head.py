"""Softmax cross-entropy of one image in shared memory: its loss, whether it is right, the gradient of its logits."""

import math

import numpy as np
from numba import float32

from helpers.device import cuda, device_function

FEW_CLASSES = 32  # logits that a thread keeps in registers
ZERO, ONE, INFINITY = np.float32(0.0), np.float32(1.0), np.float32(np.inf)


def softmax_cross_entropy(plan):
    """The same formulas as in kernels/softmax.py; the prediction is the first of the largest logits.

    Returns
    -------
    device function
        (mem, ints, losses, hits, at, thread): loss and hit go to `at`; a loss that is not finite sets the trouble word.
    """
    last = plan.stages[-1]
    logits, gradient, classes, padded = last.y.offset, last.gradient, last.outputs, last.pitch_used
    few = classes <= FEW_CLASSES
    held = classes if few else 1
    label, trouble, per_sample = plan.label, plan.trouble, np.float32(1.0 / plan.batch)

    @device_function
    def head(mem, ints, losses, hits, at, thread):
        if thread < padded:
            right, best, total = np.int64(ints[label]), 0, ZERO
            x = cuda.local.array(held, float32)
            for c in range(held):
                x[c] = mem[logits + c]
            highest = x[0]
            for c in range(1, classes):
                value = x[c] if few else mem[logits + c]
                if value > highest:
                    highest, best = value, c
            for c in range(classes):
                value = x[c] if few else mem[logits + c]
                total += np.float32(math.exp(value - highest))
            if thread < classes:
                share = np.float32(math.exp(mem[logits + thread] - highest)) / total
                mem[gradient + thread] = (share - (ONE if thread == right else ZERO)) * per_sample
            else:
                mem[gradient + thread] = ZERO
            if thread == 0:
                loss = np.float32(math.log(total)) - (mem[logits + right] - highest)
                losses[at], hits[at] = loss, np.int32(1 if best == right else 0)
                if not abs(loss) < INFINITY:
                    ints[trouble] = 1

    return head
