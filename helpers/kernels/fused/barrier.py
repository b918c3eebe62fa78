"""A meeting of all blocks: each publishes the number of the meeting in its own word, then reads everybody's.

No block is let on before all have arrived; one that waits too long gives up and says so. Must not learn what the
blocks do between meetings.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.fused.intrinsics import observe, publish

# further words of `state`, beside those of kernels/state.py
PATIENCE = 8  # how often a thread looks for a block that does not come
LATE = 9  # 1 + the meeting that somebody missed
STATE_WORDS = 16


def make_meeting(blocks, threads):
    """Device functions (arrive, meet).

    arrive(flags, block, thread, number, trouble): everything that this block wrote may be read by those who meet it.
    meet(flags, state, thread, number, patience) -> int: waits for all; not 0 where somebody has trouble or does not come, the
    same answer for all threads of a block. Numbers rise by 1 from 1. A block with trouble keeps saying so, since it
    arrives at no later meeting.
    """

    @device_function
    def arrive(flags, block, thread, number, trouble):
        cuda.syncthreads()
        if thread == 0:
            publish(flags, block, number << 1 | trouble)

    @device_function
    def wait_for(other, flags, state, number, patience):
        """1 where block `other` has trouble or does not come."""
        seen, left = observe(flags, other), patience
        while (seen >> 1) < number and left > 0:
            seen = observe(flags, other)
            left -= 1
        if (seen >> 1) < number:
            state[LATE] = np.int32(number + 1)
            return 1
        return seen & 1

    @device_function
    def meet(flags, state, thread, number, patience):
        stop, other = 0, thread
        while other < blocks:
            stop |= wait_for(other, flags, state, number, patience)
            other += threads
        return cuda.syncthreads_or(stop)

    return arrive, meet
