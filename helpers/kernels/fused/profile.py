"""Cycles of each phase of the fused kernel, counted by one thread of each block. Must not learn what a phase does."""

from helpers.device import device_function
from helpers.kernels.fused.intrinsics import clock

MOST_PHASES = 60


def make_lap(plan, number, profiled):
    """Device function (ints, thread): adds the cycles since the last lap to phase `number`; nothing unless `profiled`.

    The words of shared memory behind plan.laps hold the last time, then the sums.
    """
    stamp = plan.laps

    @device_function
    def lap(ints, thread):
        if thread == 0:
            now = clock()
            ints[stamp + 1 + number] += now - ints[stamp]
            ints[stamp] = now

    @device_function
    def go_on(ints, thread):
        pass

    return lap if profiled else go_on


def make_laps(plan, profiled):
    """Device functions (start, write): begin to count, and write a block's sums to `cycles`."""
    stamp, threads = plan.laps, plan.threads

    @device_function
    def start(ints, thread):
        for i in range(thread, MOST_PHASES + 1, threads):
            ints[stamp + i] = 0
        if thread == 0:
            ints[stamp] = clock()

    @device_function
    def write(ints, cycles, block, thread):
        for i in range(thread, MOST_PHASES, threads):
            cycles[block * MOST_PHASES + i] = ints[stamp + 1 + i]

    @device_function
    def nothing(ints, thread):
        pass

    @device_function
    def write_nothing(ints, cycles, block, thread):
        pass

    return (start, write) if profiled else (nothing, write_nothing)
