"""A stand-in for `cuda`: what a kernel reads from it, for the one thread that runs now; collectives are generators.

A barrier or a shuffle yields a `Request`, which the thread's block answers (block.py). Must not learn who
takes turns, nor what is done with recorded accesses.
"""

from collections import namedtuple
from dataclasses import dataclass
from math import prod

import numpy as np

from helpers.tracing.block_memory import LocalMemory, SharedMemory
from helpers.tracing.memory import Log, poison

WARP = 32
FULL_MASK = (1 << WARP) - 1

Index = namedtuple("Index", "x y z")


@dataclass(frozen=True)
class Request:
    """What a waiting thread hands to the block: `combine(requests by lane) -> replies by lane`, and its operands."""

    name: str
    combine: object
    value: object = None
    argument: int = 0
    mask: int | None = None  # lanes of a warp that take part; None: the whole block


def _no_reply(requests):
    return dict.fromkeys(requests)


def _same_reply(function):
    """Combination in which every thread gets `function(values)`."""
    return lambda requests: dict.fromkeys(requests, function([r.value for r in requests.values()]))


def _exchange(source):
    """Combination in which a lane reads the value of lane `source(lane, argument)`; of an absent lane, poison."""

    def combine(requests):
        replies = {}
        for lane, request in requests.items():
            giver = requests.get(source(lane, int(request.argument)))
            replies[lane] = giver.value if giver else poison(np.array([request.value]))[0]
        return replies

    return combine


def _count(values):
    return sum(bool(value) for value in values)


def _ballot(requests):
    bits = sum(1 << lane for lane, request in requests.items() if request.value)
    return dict.fromkeys(requests, bits)


SHUFFLES = {
    "idx": _exchange(lambda lane, source: source % WARP),
    "xor": _exchange(lambda lane, mask: lane ^ mask),
    "down": _exchange(lambda lane, delta: lane + delta if lane + delta < WARP else lane),
    "up": _exchange(lambda lane, delta: lane - delta if lane >= delta else lane),
}


class StandIn:
    """What is not there is refused in one sentence, also on the CPU route of engines and checks."""

    prefix = "cuda"

    def __getattr__(self, name):
        raise AttributeError(
            f"{self.prefix}.{name} has no stand-in on the CPU: run the kernel on a GPU, or write it with what "
            "helpers/tracing/cuda_stand_in.py lists"
        )


class Cuda(StandIn):
    """The names of `numba.cuda` that a kernel uses, for the one thread that runs now.

    Parameters
    ----------
    grid, block : tuple of 3 int
    shared_bytes : int
        Dynamic shared memory of a block.
    record : bool
        False: accesses are checked but not written down.
    """

    warpsize = WARP

    def __init__(self, grid, block, shared_bytes, record):
        self.gridDim, self.blockDim = Index(*grid), Index(*block)
        self.blockIdx = self.threadIdx = Index(0, 0, 0)
        self.log = Log(lambda: f"block {tuple(self.blockIdx)}, thread {tuple(self.threadIdx)}")
        self.record, self.fenced = record, False
        self.shared, self.local = SharedMemory(self.log, shared_bytes, record), LocalMemory(self.log, record)
        self.atomic, self.const = Atomic(), Const()

    def grid(self, axes):
        """Index of the thread in the whole grid: an int, or a tuple of 2 or 3."""
        index = tuple(b * n + t for b, n, t in zip(self.blockIdx, self.blockDim, self.threadIdx))
        return index[0] if axes == 1 else index[:axes]

    def gridsize(self, axes):
        """Threads of the whole grid: an int, or a tuple of 2 or 3."""
        size = tuple(b * n for b, n in zip(self.blockDim, self.gridDim))
        return size[0] if axes == 1 else size[:axes]

    @property
    def laneid(self):
        """Lane of the thread in its warp."""
        return flat_index(self.threadIdx, self.blockDim) % WARP

    def syncthreads(self):
        yield Request("syncthreads", _no_reply)

    def syncthreads_count(self, predicate):
        return (yield Request("syncthreads_count", _same_reply(_count), predicate))

    def syncthreads_and(self, predicate):
        return (yield Request("syncthreads_and", _same_reply(all), predicate))

    def syncthreads_or(self, predicate):
        return (yield Request("syncthreads_or", _same_reply(any), predicate))

    def syncwarp(self, mask=FULL_MASK):
        yield Request("syncwarp", _no_reply, mask=mask)

    def shfl_sync(self, mask, value, source):
        return (yield Request("shfl_sync", SHUFFLES["idx"], value, source, mask))

    def shfl_xor_sync(self, mask, value, lane_mask):
        return (yield Request("shfl_xor_sync", SHUFFLES["xor"], value, lane_mask, mask))

    def shfl_down_sync(self, mask, value, delta):
        return (yield Request("shfl_down_sync", SHUFFLES["down"], value, delta, mask))

    def shfl_up_sync(self, mask, value, delta):
        return (yield Request("shfl_up_sync", SHUFFLES["up"], value, delta, mask))

    def ballot_sync(self, mask, predicate):
        return (yield Request("ballot_sync", _ballot, predicate, mask=mask))

    def any_sync(self, mask, predicate):
        return (yield Request("any_sync", _same_reply(any), predicate, mask=mask))

    def all_sync(self, mask, predicate):
        return (yield Request("all_sync", _same_reply(all), predicate, mask=mask))

    def threadfence(self):
        """From here on other blocks may rely on what this block wrote."""
        self.fenced = True

    def threadfence_block(self):
        """Orders nothing that the turns of the threads do not order already."""

    def selp(self, condition, yes, no):
        return yes if condition else no

    def fma(self, a, b, c):
        """a * b + c rounded once (float32 operands)."""
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))

    def popc(self, bits):
        return int(bits).bit_count()


class Const(StandIn):
    """`cuda.const`: arrays known when the kernel is compiled."""

    prefix = "cuda.const"

    def array_like(self, array):
        return array


class Atomic(StandIn):
    """`cuda.atomic`: each is one access; it returns the old value."""

    prefix = "cuda.atomic"

    def add(self, array, index, value):
        return array.exchange(index, lambda old: old + value, 2)

    def sub(self, array, index, value):
        return array.exchange(index, lambda old: old - value, 2)

    def max(self, array, index, value):
        return array.exchange(index, lambda old: max(old, value), 2)

    def min(self, array, index, value):
        return array.exchange(index, lambda old: min(old, value), 2)

    def exch(self, array, index, value):
        return array.exchange(index, lambda old: value, 2)

    def cas(self, array, index, expected, value):
        return array.exchange(index, lambda old: value if old == expected else old, 2)


def stand_ins(cuda):
    """What the names that kernels import mean while they are traced (see coroutines.Rebinder)."""

    def load4(array, index):
        return array.load(index, 4, 2)

    def store4(array, index, a, b, c, d):
        array.store(index, (a, b, c, d), 2)

    def shuffle_xor(value, mask):
        return (yield Request("shuffle_xor", SHUFFLES["xor"], value, mask, FULL_MASK))

    def shuffle_down(value, delta):
        return (yield Request("shuffle_down", SHUFFLES["down"], value, delta, FULL_MASK))

    functions = (load4, store4, shuffle_xor, shuffle_down)
    return {"cuda": cuda, "registers": cuda.local.registers} | {f.__name__: f for f in functions}


def flat_index(index, size):
    """Number of (x, y, z) in a grid or block of `size`, x fastest."""
    return index[0] + size[0] * (index[1] + size[1] * index[2])


def index_at(number, size):
    """(x, y, z) of a number, x fastest."""
    return number % size[0], number // size[0] % size[1], number // (size[0] * size[1])


def unflatten(size):
    """Every (x, y, z) of a grid or block, x fastest."""
    return [index_at(number, size) for number in range(prod(size))]
