"""Parameters on their way from L2 to a block's shared memory, at the start of each step.

Those of the convolutions come first and are waited for; the dense ones arrive while the convolutions compute. Must not
learn what they are used for.
"""

from numba import float32

from helpers.device import cuda, device_function
from helpers.kernels.fused.intrinsics import copy4, has_arrived, prepare_arrival, start_bulk_copy, wait_for_copies
from helpers.kernels.fused.items import each
from helpers.kernels.intrinsics import load4, store4

ARRIVAL_WORDS = 5  # an arrival of two words for the convolutions, one for the dense layers, the parity of the turn
MOST_QUADS = 4  # four parameters each, that a thread has on their way at once
PATIENT = 1 << 20  # looks at an arrival before a thread goes on without it: a transfer takes a few


def make_prepare(plan):
    """Device function (ints): makes the arrivals ready; one thread calls it once."""
    arrivals = plan.arrivals

    @device_function
    def prepare(ints):
        prepare_arrival(ints, arrivals)
        prepare_arrival(ints, arrivals + 2)

    @device_function
    def nothing(ints):
        pass

    return prepare if plan.card.copies == "bulk" else nothing


def make_reload(plan):
    """Device function (mem, ints, parameters, step, thread): convolutions' parameters are there behind a barrier."""
    return _bulk_reload(plan) if plan.card.copies == "bulk" else _reload_by_threads(plan)


def make_await(plan):
    """Device function (ints): the dense parameters are there behind a barrier; None where they always are."""
    arrival, parity = plan.arrivals + 2, plan.arrivals + 4

    @device_function
    def for_transfer(ints):
        wait_until_arrived(ints, arrival, ints[parity])

    @device_function
    def for_copies(ints):
        wait_for_copies()

    if plan.resident == plan.copied:
        return None
    return {"bulk": for_transfer, "asynchronous": for_copies}.get(plan.card.copies)


@device_function
def wait_until_arrived(ints, arrival, parity):
    """Every thread waits for itself; bounded, although a transfer that was started always ends."""
    left = PATIENT
    while has_arrived(ints, arrival, parity) == 0 and left > 0:
        left -= 1


def _bulk_reload(plan):
    copied, rest, arrivals = plan.copied, plan.resident - plan.copied, plan.arrivals

    @device_function
    def reload(mem, ints, parameters, step, thread):
        if thread == 0:
            ints[arrivals + 4] = step & 1
            if copied > 0:
                start_bulk_copy(mem, 0, parameters, 0, copied, ints, arrivals)
            if rest > 0:
                start_bulk_copy(mem, copied, parameters, copied, rest, ints, arrivals + 2)
        if copied > 0:
            wait_until_arrived(ints, arrivals, step & 1)

    return reload


def _reload_by_threads(plan):
    copied, threads = plan.copied, plan.threads
    quads, rest = copied // 4, (plan.resident - copied) // 4
    turns = -(-quads // threads)
    ahead = turns if turns <= MOST_QUADS else 0
    held = 4 * max(ahead, 1)

    @device_function
    def copy_in_background(item, mem, parameters):
        copy4(mem, copied + 4 * item, parameters, copied + 4 * item)

    @device_function
    def copy(item, mem, parameters):
        a, b, c, d = load4(parameters, copied + 4 * item)
        store4(mem, copied + 4 * item, a, b, c, d)

    @device_function
    def copy_first(item, mem, parameters):
        a, b, c, d = load4(parameters, 4 * item)
        store4(mem, 4 * item, a, b, c, d)

    copy_rest = each(rest, threads, copy_in_background if plan.card.copies == "asynchronous" else copy)
    copy_all = each(quads, threads, copy_first)

    @device_function
    def reload(mem, ints, parameters, step, thread):
        values = cuda.local.array(held, float32)
        for i in range(ahead):  # asked for before the rest, so that the convolutions need not wait for it
            if thread + i * threads < quads:
                a, b, c, d = load4(parameters, 4 * (thread + i * threads))
                values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3] = a, b, c, d
        if ahead == 0:
            copy_all(thread, mem, parameters)
        copy_rest(thread, mem, parameters)
        for i in range(ahead):
            if thread + i * threads < quads:
                at = 4 * (thread + i * threads)
                store4(mem, at, values[4 * i], values[4 * i + 1], values[4 * i + 2], values[4 * i + 3])

    return reload
