"""Forked processes: results in order, errors passed on, a death noticed, nothing left behind."""

import gc
import mmap
import os
import resource
import time

import numpy as np
import pytest

from helpers.engines.forked import FORKS, ForkedWorkers, shared_array

pytestmark = pytest.mark.skipif(not FORKS, reason="needs Linux")


def workers(serve, count=2):
    return ForkedWorkers(count, lambda: None, serve)


def test_more_requests_than_processes_come_back_in_order():
    made = workers(lambda request: (request, os.getpid()))
    numbers, processes = zip(*made.map(range(7)))
    assert numbers == tuple(range(7))
    assert len(set(processes)) == 2 and os.getpid() not in processes
    assert made.map([]) == []


def test_shared_arrays_are_seen_both_ways():
    array = shared_array((2, 3), np.float32)
    assert np.isnan(array).all()

    def double(row):
        array[row] *= 2

    made = workers(double)
    array[:] = np.arange(6).reshape(2, 3)
    made.map([0, 1])
    assert np.array_equal(array, 2 * np.arange(6).reshape(2, 3))


def test_an_error_is_raised_here_and_ends_the_processes():
    made = workers(lambda request: 1 // request)
    with pytest.raises(ZeroDivisionError):
        made.map([1, 0])
    assert not made.alive


def test_a_process_that_dies_is_one_sentence():
    made = workers(lambda request: os._exit(3) if request else 0)
    with pytest.raises(RuntimeError, match="a process that computes a share of the batch died"):
        made.map([0, 1])
    assert not made.alive


def test_processes_end_with_their_owner():
    made = workers(lambda request: os.getpid())
    processes = made.map([0, 1])
    del made
    gc.collect()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_processes_end_when_their_parent_is_killed():
    """A parent that gets no chance to clean up: its children see their pipes close."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        made = workers(lambda request: os.getpid())
        os.write(writer, " ".join(map(str, made.map([0, 1]))).encode())
        os.kill(os.getpid(), 9)
    os.waitpid(parent, 0)
    for process in map(int, os.read(reader, 100).split()):
        deadline = time.monotonic() + 10
        while _runs(process) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _runs(process)


def _runs(process):
    """Whether a process is there and no zombie that its parent has not waited for."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_each_process_keeps_to_a_core_of_its_own():
    cores = sorted(os.sched_getaffinity(0))
    made = workers(lambda request: os.sched_getaffinity(0), min(2, len(cores)))
    assert made.map([0, 1])[: len(cores)] == [{core} for core in cores[:2]]
    assert sorted(os.sched_getaffinity(0)) == cores


def test_freed_memory_serves_again():
    """64 arrays of 1 MB, freed and made again: their pages are there, so hardly one is faulted in."""

    def faults(request):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert sum(array[-1] for array in [np.ones(1 << 17) for _ in range(64)]) == 64
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    made = workers(faults)
    made.map([0, 1])
    assert max(made.map([0, 1])) < (1 << 20) // mmap.PAGESIZE
