"""A meeting of all blocks: each counts itself, then one thread of each waits until all have been counted.

No block is let on before all have arrived; one that waits too long gives up and says so. There is one counter and not a
word for each block, since all blocks would ask for all of those words, over and over. Must not learn what the blocks do
between meetings.

Blocks of a group meet in the same way, each group at a counter of its own.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.fused.intrinsics import count_up, observe
from helpers.kernels.intrinsics import quotient

# further words of `state`, beside those of kernels/state.py
PATIENCE = 8  # how often a block looks for the others
LATE = 9  # 1 + the meeting that somebody missed
STATE_WORDS = 16
TROUBLE = 1 << 23  # what a block with trouble adds to the counter; blocks x meetings of a launch stay below
COUNTER_WORDS = 32  # from one counter to the next: each in a cache line of its own
MOST_BLOCKS = 255  # so that all of them may have trouble before an int32 overflows


@device_function
def wait_for(counter, at, wanted, patience):
    """Look at counter[at] until it is at least `wanted`, at most `patience` times more; what was seen last."""
    seen, left = observe(counter, at), patience
    while seen < wanted and left > 0:
        seen = observe(counter, at)
        left -= 1
    return seen


def make_meeting(blocks):
    """Device functions (arrive, meet).

    arrive(counter, thread, trouble): everything that this block wrote may be read by those who meet it.
    meet(counter, state, thread, number, patience) -> int: waits for all at meeting `number`, counted from 1; not 0
    where somebody has trouble or does not come, the same answer for all threads of a block.
    """

    @device_function
    def arrive(counter, thread, trouble):
        cuda.syncthreads()
        if thread == 0:
            count_up(counter, 0, 1 + (TROUBLE if trouble > 0 else 0))

    @device_function
    def meet(counter, state, thread, number, patience):
        stop = 0
        if thread == 0:
            wanted = number * blocks
            seen = wait_for(counter, 0, wanted, patience)
            if seen < wanted:
                state[LATE] = np.int32(number + 1)
            if seen < wanted or seen >= TROUBLE:
                stop = 1
        return cuda.syncthreads_or(stop)

    return arrive, meet


def counters(plan):
    """Words of the counters of a plan: of all blocks, then of each group."""
    groups = plan.image_blocks // plan.members if plan.members > 1 else 0
    return COUNTER_WORDS * (1 + groups)


def make_group_meeting(plan):
    """Device function (ints, counter, state, block, thread): waits for the other blocks of the group.

    A barrier must lie before it and behind it. Where one does not come, this block goes on with trouble: all blocks end
    at their next meeting.
    """
    members, meetings, trouble = plan.members, plan.meetings, plan.trouble

    @device_function
    def meet(ints, counter, state, block, thread):
        if thread == 0:
            number, at = ints[meetings] + 1, COUNTER_WORDS * (1 + quotient(block, members))
            ints[meetings] = number
            count_up(counter, at, 1)
            wanted = number * members
            if wait_for(counter, at, wanted, state[PATIENCE]) < wanted:
                state[LATE] = np.int32(number + 1)
                ints[trouble] = 1

    return meet
