"""Softmax cross-entropy of one image in shared memory: its loss, whether it is right, the gradient of its logits."""

import math

import numpy as np

from helpers.device import cuda, device_function

WARP = 32
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
    label, trouble, per_sample = plan.label, plan.trouble, np.float32(1.0 / plan.batch)
    one_warp = padded <= WARP
    lanes = WARP if one_warp else padded

    @device_function
    def head(mem, ints, losses, hits, at, thread):
        if thread < lanes:
            right, highest, best, total = np.int64(ints[label]), mem[logits], 0, ZERO
            for c in range(1, classes):
                value = mem[logits + c]
                if value > highest:
                    highest, best = value, c
            own = np.float32(math.exp(mem[logits + min(thread, classes - 1)] - highest))
            if one_warp:  # each lane has one exponential
                if thread < classes:
                    mem[gradient + thread] = own
                cuda.syncwarp()
                for c in range(classes):
                    total += mem[gradient + c]
                cuda.syncwarp()
            else:
                for c in range(classes):
                    total += np.float32(math.exp(mem[logits + c] - highest))
            d = (own / total - (ONE if thread == right else ZERO)) * per_sample
            if thread < padded:
                mem[gradient + thread] = d if thread < classes else ZERO
            if thread == 0:
                loss = np.float32(math.log(total)) - (mem[logits + right] - highest)
                losses[at], hits[at] = loss, np.int32(1 if best == right else 0)
                if not abs(loss) < INFINITY:
                    ints[trouble] = 1

    return head
