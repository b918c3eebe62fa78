"""End of a step: sum the partial gradients, update every parameter (SGD with momentum), record loss and hits.

Knows the parameter vector, where each layer's partial sums lie, and the step counters; must not learn what a layer
computes. All sums run in a fixed order.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import shared_floats
from helpers.kernels.reduction import tree_sum
from helpers.kernels.state import CURRENT, SAMPLES, STATUS, STEP
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)
INFINITY = np.float32(np.inf)
LEAST_COLUMNS = 8  # neighbouring parameters of a block: 32 bytes, the smallest piece that memory moves


def update(op, batch, segments, momentum, ahead=8, threads=256):
    """Kernel of g = sum of the splits, v = momentum * v + g, w = w - learning_rates[CURRENT] * v.

    Block 0 puts the batch's mean loss and its hits at index CURRENT, notes a loss that is not finite in STATUS and
    sets STEP = CURRENT + 1. Each other block owns neighbouring parameters of one segment; where a segment has many
    splits, several threads share a parameter and meet in a tree.

    Parameters
    ----------
    op : Op
        Its parameters are the whole vector.
    batch : int
    segments : tuple of (offset, size, splits, source)
        For every layer: its slice of the parameter vector, the number of partial sums and where they begin in
        `gradient`, in floats. Split k of parameter offset + i is gradient[source + k * size + i].
    momentum : float
    ahead : int
        Splits that a thread reads before it adds them.
    threads : int
        Of a block; a power of two.

    Raises
    ------
    ValueError
        If the segments overlap, are out of order or leave parameters out; gaps for alignment are fine.
    """
    table, blocks = _share_out(op, segments, ahead, threads)
    body = _make_body(table, batch, np.float32(momentum), ahead, threads)
    return Kernel("update", body, (1 + blocks, 1, 1), (threads, 1, 1), shared_bytes=8 * threads)


def _make_body(table, batch, momentum, ahead, threads):
    layers, record = len(table), _make_record(batch, threads)

    @unrolled
    def body(parameters, velocity, gradient, learning_rates, losses, hits, sample_loss, correct, state):
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        values, current = shared_floats(0), np.int64(state[CURRENT])
        if block == 0:
            record(values, thread, current, losses, hits, sample_loss, correct, state)
        else:
            begin, offset, size, splits, source, shift, rounds = table[0]
            for layer in unroll(1, layers):  # the last segment that begins at or before this block
                if block >= table[layer][0]:
                    begin, offset, size, splits, source, shift, rounds = table[layer]
            column, lane, lanes = thread & ((1 << shift) - 1), thread >> shift, threads >> shift
            i = ((block - begin) << shift) + column
            owner = lane == 0 and i < size
            weight, speed, total = ZERO, ZERO, ZERO
            if owner:
                weight, speed = parameters[offset + i], velocity[offset + i]
            part = registers(ahead)
            at, left = source + lane * size + i, splits - lane if i < size else 0
            for _ in range(rounds):
                for k in unroll(ahead):  # all reads are in flight before the first is added
                    part[k] = ZERO
                    if k * lanes < left:
                        part[k] = gradient[at + k * lanes * size]
                for k in unroll(ahead):
                    total += part[k]
                at, left = at + ahead * lanes * size, left - ahead * lanes
            values[thread], rate = total, learning_rates[current]
            tree_sum(values, thread, threads, 1 << shift)
            if owner:
                speed = momentum * speed + values[thread]
                velocity[offset + i] = speed
                parameters[offset + i] = weight - rate * speed

    return body


def _make_record(batch, threads):
    """Device function of block 0: mean loss, hits, status and the next step."""
    collect = _make_collect(batch, threads)

    def record(values, thread, current, losses, hits, sample_loss, correct, state):
        collect(values, thread, batch, sample_loss, correct)
        if thread == 0:
            mean = values[0] / np.float32(batch)
            losses[current], hits[current] = mean, np.int32(values[1])
            if not abs(mean) < INFINITY and state[STATUS] == 0:
                state[STATUS] = current + 1
            state[STEP] = current + 1

    return device_function(record)


def _share_out(op, segments, ahead, threads):
    """Rows (first block, offset, size, splits, source, log2 of the columns, rounds), and the number of blocks.

    A parameter gets the fewest threads, a power of two, that leave each at most `ahead` splits; a block keeps at
    least `LEAST_COLUMNS` columns.
    """
    table, end, blocks = [], 0, 0
    for offset, size, splits, source in segments:
        if offset < end:
            raise ValueError(f"a segment begins at parameter {offset}, inside the one before, which ends at {end}")
        lanes = 1
        while lanes * ahead < splits and threads // (2 * lanes) >= LEAST_COLUMNS:
            lanes *= 2
        columns = threads // lanes
        rounds = -(-splits // (lanes * ahead))
        table.append((1 + blocks, offset, size, splits, source, columns.bit_length() - 1, rounds))
        end, blocks = offset + size, blocks - (-size // columns)
    covered, count = sum(segment[1] for segment in segments), sum(p.size for p in op.parameters)
    if covered != count:
        raise ValueError(f"the segments hold {covered} parameters; expected {count}, the whole vector")
    return tuple(table), blocks


def _make_collect(batch, threads):
    """Device function: the losses of the first `count` samples summed into values[0], their hits into values[1]."""

    def collect(values, thread, count, sample_loss, correct):
        loss, right = ZERO, ZERO
        for n in range(thread, batch, threads):
            if n < count:
                loss += sample_loss[n]
                right += np.float32(correct[n])
        values[2 * thread], values[2 * thread + 1] = loss, right
        tree_sum(values, thread, 2 * threads, 2)

    return device_function(collect)


def collect_metrics(op, batch, threads=256):
    """Kernel for evaluation: sums of the batch's losses and hits at index CURRENT; STEP = CURRENT + 1.

    Of the last batch only the samples that exist count: those with CURRENT * batch + n < SAMPLES.
    """
    collect = _make_collect(batch, threads)

    def body(losses, hits, sample_loss, correct, state):
        thread, current = np.int64(cuda.threadIdx.x), np.int64(state[CURRENT])
        values = shared_floats(0)
        collect(values, thread, state[SAMPLES] - current * batch, sample_loss, correct)
        if thread == 0:
            losses[current], hits[current] = values[0], np.int32(values[1])
            state[STEP] = current + 1

    return Kernel("collect_metrics", body, (1, 1, 1), (threads, 1, 1), shared_bytes=8 * threads)


def production(op, batch, segments, momentum):
    """Eight reads in flight a thread, blocks of 256: every block of a small network is resident at once."""
    return update(op, batch, segments, momentum)


def variants(op, batch, segments, momentum):
    """Other tilings worth timing."""
    tilings = ((4, 256), (16, 256), (4, 128), (8, 128), (8, 512))
    return [update(op, batch, segments, momentum, ahead, threads) for ahead, threads in tilings]
