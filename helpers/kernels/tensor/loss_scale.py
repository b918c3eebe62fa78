"""Dynamic loss scaling (Micikevicius et al., Mixed precision training, ICLR 2018), wholly on the card.

The gradient of the loss is multiplied by a power of two, so that small gradients do not vanish in the words of fp16.
Behind the weight gradients a kernel adds up all partial sums, divides by the scale and flags what is not finite; with
a flag set the update changes no parameter and halves the scale. Knows where partial sums lie; must not learn what a
layer computes or how parameters change.

Three float32 cells, so that no kernel reads a cell that it writes for others to read: the loss copies NEXT to IN_USE
and takes NEXT itself, the sums read only IN_USE, and the update writes NEXT from IN_USE.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import shared_floats, store4
from helpers.kernels.reduction import tree_sum
from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.packing import QUAD
from helpers.kernels.tensor.partial_sums import finder, lanes_adder, share_out_all, splits_summer
from helpers.unroll import unroll, unrolled

NEXT = 0  # scale of the next step
GOOD = 1  # steps since the scale last changed, none of them skipped
IN_USE = 2  # scale of this step
CELLS = 3
SAVED = 2  # the first cells: what a state holds

# A batch's mean gradient begins near 1 / batch: from 1024 on it is of the order of 1, and no run loses its first steps
# to a scale that is too large, so that its first losses are those of the other precisions.
START = np.float32(1024.0)
LEAST, MOST = np.float32(1.0), np.float32(65536.0)
GROWTH = 2000  # good steps after which the scale is doubled
ZERO, HALF, ONE, TWO, INFINITY = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0, np.inf))


def sum_weight_gradient(layers, ahead=8, threads=128):
    """Kernel that leaves each layer's gradient in the place of its first partial sum, divided by the scale IN_USE.

    Partial sums are added in the order of update.py. Each block writes one flag: 1 if any of its sums is not finite,
    else 0; the kernel has as many flags as blocks.

    Parameters
    ----------
    layers : tuple of LayerUpdate
    ahead, threads : int
        As in `update`.

    Returns
    -------
    TensorKernel
    """
    quads, table, singles, rest, blocks = share_out_all(layers, 0, ahead, threads)
    join_quads, join_singles = _make_quads(ahead, threads), _make_singles(ahead, threads)
    many, few = len(quads), len(singles)

    @unrolled
    def body(gradient, overflows, loss_scale):
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        values, share, bad = shared_floats(0), ONE / loss_scale[IN_USE], np.int32(0)
        for n in unroll(many):  # each layer by its own constants, as in the update
            if (block >= table[n][0]) & (block < table[n][1]):
                bad = join_quads(gradient, share, values, block, thread, table[n])
        for n in unroll(few):
            if (block >= rest[n][0]) & (block < rest[n][1]):
                bad = join_singles(gradient, share, values, block, thread, rest[n])
        found = cuda.syncthreads_or(bad)
        if thread == 0:
            overflows[block] = 1 if found else 0

    launch = {"grid": (blocks, 1, 1), "block": (threads, 1, 1), "shared_bytes": 4 * QUAD * threads}
    return TensorKernel("sum_weight_gradient", body, **launch)


def _make_quads(ahead, threads):
    """Device function join(...) -> 1 if a sum is not finite: a block's part of a layer, four parameters a thread."""
    find, sum_quads, add_lanes = finder(threads, QUAD), splits_summer(ahead, QUAD), lanes_adder(threads)

    @device_function
    @unrolled
    def join(gradient, share, values, block, thread, row):
        _, _, _, size, splits, source, shift, turns, rounds, step = row
        i, lane, lanes = find(block, thread, row)
        left, bad = splits - lane if i < size else 0, np.int32(0)
        total = sum_quads(gradient, source + lane * size + i, size, left, lanes, turns, rounds, step)
        total = add_lanes(values, total, thread, shift)
        if (lane == 0) & (i < size):  # the one thread that has read these cells
            for k in unroll(QUAD):
                if not abs(total[k]) < INFINITY:
                    bad = np.int32(1)
            store4(gradient, source + i, total[0] * share, total[1] * share, total[2] * share, total[3] * share)
        return bad

    return join


def _make_singles(ahead, threads):
    """Device function join(...): as `_make_quads`, one parameter a thread."""
    find, sum_singles = finder(threads, 1), splits_summer(ahead, 1)

    @device_function
    @unrolled
    def join(gradient, share, values, block, thread, row):
        _, _, _, size, splits, source, shift, turns, rounds, step = row
        i, lane, lanes = find(block, thread, row)
        left, bad = splits - lane if i < size else 0, np.int32(0)
        total = sum_singles(gradient, source + lane * size + i, size, left, lanes, turns, rounds, step)
        values[thread] = total[0]
        tree_sum(values, thread, threads, 1 << shift)
        if (lane == 0) & (i < size):
            if not abs(values[thread]) < INFINITY:
                bad = np.int32(1)
            gradient[source + i] = values[thread] * share
        return bad

    return join


def overflow_finder(flags, threads):
    """Device function any_overflow(overflows, thread) -> whether one of `flags` flags is set; all threads must call."""

    @device_function
    def any_overflow(overflows, thread):
        found = np.int32(0)
        for n in range(thread, flags, threads):
            found |= overflows[n]
        return cuda.syncthreads_or(found)

    return any_overflow


def adjuster(growth):
    """Device function adjust(loss_scale, skipped), of one thread: what the next step's scale is.

    Halved, but not below LEAST, after a skipped step; doubled, but not beyond MOST, after `growth` good steps.
    """
    growth = np.float32(growth)

    @device_function
    def adjust(loss_scale, skipped):
        scale, good = loss_scale[IN_USE], loss_scale[GOOD] + ONE
        if skipped:
            scale, good = max(scale * HALF, LEAST), ZERO
        elif good >= growth:
            scale, good = scale * TWO if scale * TWO <= MOST else scale, ZERO
        loss_scale[NEXT], loss_scale[GOOD] = scale, good

    return adjust
