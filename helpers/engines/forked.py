"""Processes forked from this one that share its memory: each works with a Python of its own, so none waits for a lock.

Threads would take turns at the interpreter between any two array operations, which costs more than small operations
themselves. Knows pipes and pages; must not learn what is computed.
"""

import ctypes
import mmap
import multiprocessing
import os
import signal
import sys
import weakref

import numpy as np

FORKS = sys.platform == "linux"  # elsewhere a fork is missing or unsafe

# parameters of glibc's mallopt: free memory that is given back, size from which an array gets a mapping of its own
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGEST_KEPT_ARRAY = 1 << 30, 1 << 25


def available_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def shared_array(shape, dtype):
    """An array of NaN, on pages that processes forked later see and write as well."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype, int(np.prod(shape))).reshape(shape)
    array.fill(np.nan)
    return array


class ForkedWorkers:
    """`count` processes that answer requests with `serve(request)`; they end with this object or this process.

    Parameters
    ----------
    count : int
    begin : callable
        Called once in each process, before its first request.
    serve : callable
        With everything it reaches as it is now; only arrays of `shared_array` are seen to change later. Requests and
        results are pickled, so keep them small.
    """

    def __init__(self, count, begin, serve):
        context = multiprocessing.get_context("fork")
        self._pipes, self._processes = [], []
        cores = sorted(os.sched_getaffinity(0))
        for number in range(count):
            ours, theirs = context.Pipe()
            # a child that kept the parent's ends of the other pipes would outlive a parent that is killed
            arguments = (cores[number % len(cores)], begin, serve, theirs, [*self._pipes, ours])
            process = context.Process(target=_answer, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self.close = weakref.finalize(self, _end, os.getpid(), self._processes, self._pipes)

    def map(self, requests):
        """Results of `serve` for each of `requests`, in order, as many at a time as there are processes.

        Raises
        ------
        RuntimeError
            If a process died. What `serve` raises is raised here.
        """
        requests, results = list(requests), []
        try:
            for first in range(0, len(requests), len(self._pipes)):
                turn = list(zip(self._pipes, requests[first:]))
                for pipe, request in turn:
                    pipe.send(request)
                answers = [pipe.recv() for pipe, _ in turn]
                failed = [answer for succeeded, answer in answers if not succeeded]
                if failed:
                    raise failed[0]
                results += [answer for _, answer in answers]
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.close()
            raise RuntimeError("a process that computes a share of the batch died; is there enough memory?") from None
        except BaseException:  # an interrupted turn leaves answers in the pipes
            self.close()
            raise
        return results

    @property
    def alive(self):
        return self.close.alive


def _answer(core, begin, serve, pipe, others):
    """Life of a process on one core: answer each request with (True, result) or (False, exception).

    Free to move, a process that a pipe wakes is drawn to the core of the process that wrote to it: several of them
    then take turns there while other cores idle.
    """
    os.sched_setaffinity(0, {core})
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted and ends its processes
    for other in others:
        other.close()
    begin()
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            answer = (True, serve(request))
        except Exception as error:
            answer = (False, error)
        pipe.send(answer)


def _keep_freed_memory():
    """Let arrays that were freed serve again: given back, each of their pages costs a fault when it is touched anew.

    A C library without mallopt is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_ARRAY)


def _end(owner, processes, pipes):
    if os.getpid() != owner:  # a fork of the owner has these objects too, but the processes are not its own
        return
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.terminate()
        process.join()
