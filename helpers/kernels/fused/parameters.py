"""Parameters on their way from L2 to a block's shared memory, at the start of each step.

Those of the convolutions come first and are waited for; the dense ones arrive while the convolutions compute: those
that every block keeps, then this block's part of each layer that its group shares. Must not learn what they are for.
"""

from typing import NamedTuple

from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.intrinsics import copy4, has_arrived, prepare_arrival, start_bulk_copy, wait_for_copies
from helpers.kernels.fused.items import each, in_turn
from helpers.kernels.intrinsics import load4, store4

MOST_QUADS = 4  # four parameters each, that a thread has on their way at once
PATIENT = 1 << 20  # looks at an arrival before a thread goes on without it: a transfer takes a few


class Transfer(NamedTuple):
    """`count` parameters to cell `target` from parameter `source` on, `stride` further for each member of a group."""

    target: int
    source: int
    stride: int
    count: int


def arrival_words(shards):
    """Words of shared memory: two for each transfer, and the parity of the turn."""
    return 2 * (2 + shards) + 1


def _later(plan):
    """Transfers that the convolutions need not wait for."""
    rest = Transfer(plan.copied, plan.copied, 0, plan.resident - plan.copied)
    sizes = [(layer.shard, layer.weights, layer.shard.rows * layer.pitch) for layer in plan.dense if layer.shard]
    return [rest] * (rest.count > 0) + [Transfer(shard.begin, weights, size, size) for shard, weights, size in sizes]


def make_prepare(plan):
    """Device function (ints): makes the arrivals ready; one thread calls it once."""

    def at(arrival):
        @device_function
        def prepare(ints):
            prepare_arrival(ints, arrival)

        return prepare

    arrivals = range(plan.arrivals, plan.arrivals + 2 * (1 + len(_later(plan))), 2)
    return in_turn([at(arrival) for arrival in arrivals] if plan.card.copies == "bulk" else [])


def make_reload(plan):
    """Device function (mem, ints, parameters, step, member, thread): starts all transfers.

    Behind a barrier the convolutions' parameters are there. `member`: the block's number in its group.
    """
    return _bulk_reload(plan) if plan.card.copies == "bulk" else _reload_by_threads(plan)


def make_await(plan):
    """Device function (ints): the dense parameters are there behind a barrier; None where they always are."""
    later, parity = _later(plan), plan.arrivals + arrival_words(len(plan.shards)) - 1

    def at(arrival):
        @device_function
        def wait(ints):
            wait_until_arrived(ints, arrival, ints[parity])

        return wait

    @device_function
    def for_copies(ints):
        wait_for_copies()

    if not later or plan.card.copies == "plain":
        return None
    bulk = plan.card.copies == "bulk"
    return in_turn([at(plan.arrivals + 2 * (1 + i)) for i in range(len(later))]) if bulk else for_copies


@device_function
def wait_until_arrived(ints, arrival, parity):
    """Every thread waits for itself; bounded, although a transfer that was started always ends."""
    left = PATIENT
    while has_arrived(ints, arrival, parity) == 0 and left > 0:
        left -= 1


def _bulk_reload(plan):
    copied, arrivals, later = plan.copied, plan.arrivals, _later(plan)
    parity = arrivals + arrival_words(len(plan.shards)) - 1

    def start(transfer, arrival):
        target, source, stride, count = transfer

        @device_function
        def start_one(mem, ints, parameters, member):
            start_bulk_copy(mem, target, parameters, source + member * stride, count, ints, arrival)

        return start_one

    first = [start(Transfer(0, 0, 0, copied), arrivals)] * (copied > 0)
    start_all = in_turn([*first, *(start(one, arrivals + 2 * (1 + i)) for i, one in enumerate(later))])

    @device_function
    def reload(mem, ints, parameters, step, member, thread):
        if thread == 0:
            ints[parity] = step & 1
            start_all(mem, ints, parameters, member)
        if copied > 0:
            wait_until_arrived(ints, arrivals, step & 1)

    return reload


def _reload_by_threads(plan):
    threads, quads = plan.threads, plan.copied // 4
    turns = -(-quads // threads)
    ahead = turns if turns <= MOST_QUADS else 0
    held = 4 * max(ahead, 1)
    copy_all = _copy(Transfer(0, 0, 0, plan.copied), threads, False)
    copy_later = in_turn([_copy(one, threads, plan.card.copies == "asynchronous") for one in _later(plan)])

    @device_function
    def reload(mem, ints, parameters, step, member, thread):
        values = cuda.local.array(held, float32)
        for i in range(ahead):  # asked for before the rest, so that the convolutions need not wait for it
            if thread + i * threads < quads:
                a, b, c, d = load4(parameters, 4 * (thread + i * threads))
                values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3] = a, b, c, d
        if ahead == 0:
            copy_all(thread, mem, parameters, member)
        copy_later(thread, mem, parameters, member)
        for i in range(ahead):
            if thread + i * threads < quads:
                at = 4 * (thread + i * threads)
                store4(mem, at, values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3])

    return reload


def _copy(transfer, threads, in_background):
    """Device function (thread, mem, parameters, member): a transfer by all threads of the block."""
    target, source, stride, count = transfer

    @device_function
    def start(item, mem, parameters, member):
        copy4(mem, target + 4 * item, parameters, source + member * stride + 4 * item)

    @device_function
    def copy(item, mem, parameters, member):
        a, b, c, d = load4(parameters, source + member * stride + 4 * item)
        store4(mem, target + 4 * item, a, b, c, d)

    return each(count // 4, threads, start if in_background else copy)
