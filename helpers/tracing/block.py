"""The threads of one traced block take turns: each runs until a barrier or a warp exchange stops it, or it ends.

A thread is a call of the kernel's body, or a generator where the body waits (coroutines.py); the order is the same in
every run. Must not learn what is done with the recorded accesses.
"""

import inspect

from helpers.tracing.cuda_stand_in import WARP, Index, index_at, unflatten


class Block:
    """The threads of one block while they run `body(*arguments)`; `kept`: its dynamic shared memory, if any."""

    def __init__(self, cuda, number, body, arguments, kept=None):
        self.cuda, self.number, self.phase = cuda, number, 0
        self.threads = [Index(*index) for index in unflatten(cuda.blockDim)]
        self.steps = [0] * (-(-len(self.threads) // WARP))
        cuda.blockIdx = Index(*index_at(number, cuda.gridDim))
        cuda.shared.begin_block(kept)
        self.body, self.arguments = body, arguments

    def run(self):
        """Run every thread to its end."""
        if not inspect.isgeneratorfunction(self.body):
            for thread in range(len(self.threads)):
                self._enter(thread)
                self.body(*self.arguments)
            return
        self.running = {thread: self.body(*self.arguments) for thread in range(len(self.threads))}
        replies = dict.fromkeys(self.running)
        while replies:
            waiting = {}
            for warp in range(len(self.steps)):
                waiting |= self._run_warp(warp, {t: r for t, r in replies.items() if t // WARP == warp})
            self._check_arrival(waiting)
            replies = next(iter(waiting.values())).combine(waiting) if waiting else {}
            self.phase += 1

    def _enter(self, thread):
        cuda = self.cuda
        cuda.threadIdx = self.threads[thread]
        if cuda.record:
            mark = (len(cuda.log.accesses), self.number, thread, self.phase, self.steps[thread // WARP])
            cuda.log.marks.append(mark)

    def _run_warp(self, warp, replies):
        """Run the lanes of `replies` until each has ended or waits for the block; the latter's requests."""
        parked = {}
        while replies:
            exchanging = {}
            for thread, reply in replies.items():
                self._enter(thread)
                try:
                    request = self.running[thread].send(reply)
                except StopIteration:
                    del self.running[thread]
                    continue
                (parked if request.mask is None else exchanging)[thread] = request
            replies = self._exchange(exchanging, parked) if exchanging else {}
            self.steps[warp] += any(request.name == "syncwarp" for request in exchanging.values())
        return parked

    def _exchange(self, requests, parked):
        """Replies of a warp-wide operation in which every running lane named by the masks must take part."""
        first = next(iter(requests))
        for thread in parked | requests:
            named = int(requests[first].mask) >> thread % WARP & 1
            if named and (thread in parked or requests[thread].name != requests[first].name):
                self._fail_divergence(requests[first].name, first, thread)
        lanes = {thread % WARP: request for thread, request in requests.items()}
        replies = requests[first].combine(lanes)
        return {thread: replies[thread % WARP] for thread in requests}

    def _check_arrival(self, waiting):
        """Every thread of the block must wait at one and the same barrier, or all must have ended."""
        if not waiting:
            return
        first = next(iter(waiting))
        place = self._place(first)
        for thread in range(len(self.threads)):
            if thread not in waiting or self._place(thread) != place:
                self._fail_divergence(waiting[first].name, first, thread)

    def _place(self, thread):
        """(function, line) where a waiting thread stands."""
        generator = self.running[thread]
        while generator.gi_yieldfrom.gi_yieldfrom is not None:
            generator = generator.gi_yieldfrom
        return generator.gi_code.co_name, generator.gi_frame.f_lineno

    def _fail_divergence(self, name, thread, other):
        if other in self.running:
            fate = "waits at {}, line {}".format(*self._place(other))
        else:
            fate = "has ended"
        self.cuda.threadIdx = self.threads[thread]
        self.cuda.log.fail(
            "{}, line {}: {} is not reached by every thread: thread {} {}".format(
                *self._place(thread), name, tuple(self.threads[other]), fate
            )
        )
