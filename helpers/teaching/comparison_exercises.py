"""Cases that grade the exercises on comparing frameworks; they need no card and no framework.

Knows a simulated device, layouts and turns; must not learn how an answer is written.
"""

from collections import Counter

import numpy as np

from helpers.benchmark import interleave
from helpers.check import CheckError
from helpers.number_text import show_time

DRIFT = 0.1  # how much slower a machine becomes from the first turn to the last


class SimulatedDevice:
    """A device that works behind the host's back, with a clock of its own: times are exact and no card is needed.

    Parameters
    ----------
    launch_seconds : float
        What each launch costs the host.
    compile_seconds : float
        What the first launch of each kernel costs it besides.

    Attributes
    ----------
    launched : collections.Counter
        Launches by kernel.
    """

    def __init__(self, launch_seconds=5e-6, compile_seconds=2.0):
        self._launch, self._compile = launch_seconds, compile_seconds
        self._now = self._free = 0.0
        self.launched = Counter()

    def launch(self, kernel, seconds):
        """Queue a kernel that keeps the device busy for `seconds`; returns before it ends."""
        self._now += self._launch + (0.0 if self.launched[kernel] else self._compile)
        self._free = max(self._now, self._free) + seconds
        self.launched[kernel] += 1

    def wait(self):
        """Return when all queued kernels have ended."""
        self._now = max(self._now, self._free)

    def clock(self):
        """The host's time in seconds."""
        return self._now


def timer_cases():
    """Cases of `f(device, step, runs)`: median seconds of a step, from an idle device to the end of its last kernel.

    A single run must be right as well: a median of several hides a first one that is not.
    """
    for kernels, launch in (([3e-3], 5e-6), ([1e-3, 2e-4, 5e-4], 5e-6), ([1e-6] * 20, 4e-5), ([2e-2, 1e-6], 1e-4)):
        for runs in (1, 5):
            yield lambda answer, case=(kernels, launch, runs): _check_timer(answer, *case)


def _check_timer(answer, kernels, launch, runs):
    def launch_step(device):
        for index, seconds in enumerate(kernels):
            device.launch(index, seconds)

    exact = SimulatedDevice(launch, compile_seconds=0.0)
    launch_step(exact)
    exact.wait()
    device = SimulatedDevice(launch)
    device.launch("another job", 0.1)  # what somebody else left in the queue
    got, wanted = answer(device, lambda: launch_step(device), runs), exact.clock()
    if got is None:
        raise CheckError("the timer returns nothing; wanted the seconds of a step")
    if not abs(got - wanted) <= 1e-9:
        why = "a compiler or another job is in it" if got > wanted else "the clock was read before the device had ended"
        raise CheckError(
            f"a step of {len(kernels)} kernels takes {show_time(wanted, 's')}; over {runs} runs the timer says "
            f"{show_time(got, 's')}: {why}"
        )
    if device.launched[0] < runs:
        raise CheckError(f"the step ran {device.launched[0]} times; wanted {runs} timed runs at least")


def layout_cases():
    """Cases of `f(weights, image_shape)`: rows in the order (H, W, C) become columns in the order (C, H, W)."""
    rng = np.random.default_rng(0)
    for height, width, channels, units in ((4, 4, 16, 120), (2, 2, 1, 3), (1, 1, 5, 2), (3, 2, 4, 7)):
        weights = rng.normal(size=(height * width * channels, units)).astype(np.float32)
        first = np.arange(len(weights)).reshape(height, width, channels).transpose(2, 0, 1).ravel()
        yield (weights, (height, width, channels)), weights.T[:, first]


def turn_cases():
    """Cases of `f(names, runs)`: rounds of turns, each with every name once, that a steady drift treats alike.

    Wanted is half of the unfairness of `interleave`, whose rounds begin with one name after another.
    """
    for count, runs in ((3, 7), (5, 7), (4, 10), (5, 12), (6, 8)):
        yield lambda answer, case=(count, runs): _check_turns(answer, *case)


def _check_turns(answer, count, runs):
    names = [f"rival {index}" for index in range(count)]
    rounds = answer(list(names), runs)
    if not isinstance(rounds, list) or not all(isinstance(names_of_round, list) for names_of_round in rounds):
        raise CheckError(f"the answer for {count} rivals is {rounds!r}; wanted a list of {runs} lists of names")
    if len(rounds) != runs or any(sorted(names_of_round) != names for names_of_round in rounds):
        raise CheckError(f"the rounds of {count} rivals are {rounds}; wanted {runs} rounds with each rival once")
    taken = []
    interleave({name: lambda name=name: taken.append(name) or 1.0 for name in names}, runs)
    got, limit = unfairness(sum(rounds, [])), 0.5 * unfairness(taken)
    if not got <= limit:
        raise CheckError(f"{count} equal rivals differ by {got:.2%} after {runs} rounds; wanted {limit:.2%} at most")


def unfairness(turns):
    """How far the mean times of equal rivals lie apart, as a share, when each turn is a little slower than the last."""
    seconds = 1 + DRIFT * np.arange(len(turns)) / len(turns)
    means = [seconds[[turn == name for turn in turns]].mean() for name in set(turns)]
    return max(means) / min(means) - 1
