"""Races and barriers that some threads miss: each planted bug is named with both threads."""

import numpy as np
import pytest
from traced_kernels import floats, simple, transpose

from helpers.device import cuda
from helpers.trace import TraceError, trace


def test_missing_barrier():
    with pytest.raises(TraceError, match="s_x.*wait at a barrier"):
        trace(transpose(8, 8, barrier=False), np.zeros(64, np.float32), floats(8, 8))


def test_missing_second_barrier_is_a_race():
    def body(y, x):
        s_x = cuda.shared.array(32, np.float32)
        for k in range(2):
            s_x[cuda.threadIdx.x] = x[32 * k + cuda.threadIdx.x]
            cuda.syncthreads()
            y[32 * k + cuda.threadIdx.x] = s_x[31 - cuda.threadIdx.x]

    with pytest.raises(TraceError, match=r"race on s_x\[\d+\].*writes it.*reads it"):
        trace(simple(body), np.zeros(64, np.float32), floats(64))


def test_syncwarp_orders_a_warp_but_not_the_block():
    def body(y):
        s_x = cuda.shared.array(64, np.float32)
        s_x[cuda.threadIdx.x] = np.float32(cuda.threadIdx.x)
        cuda.syncwarp()
        y[cuda.threadIdx.x] = s_x[cuda.threadIdx.x ^ reach]

    reach = 1
    trace(simple(body, 64), np.zeros(64, np.float32))
    reach = 32
    with pytest.raises(TraceError, match="race on s_x|read before"):
        trace(simple(body, 64), np.zeros(64, np.float32))


def test_two_threads_write_one_output():
    def within(y):
        y[cuda.threadIdx.x // 2] = np.float32(1.0)

    def across(y):
        y[cuda.threadIdx.x] = np.float32(1.0)

    with pytest.raises(TraceError, match=r"race on y\[0\].*thread \(0, 0, 0\).*thread \(1, 0, 0\)"):
        trace(simple(within), np.zeros(16, np.float32))
    with pytest.raises(TraceError, match=r"race on y\[0\].*block \(0, 0, 0\).*block \(1, 0, 0\)"):
        trace(simple(across, 32, 2), np.zeros(32, np.float32))


def test_reading_what_another_block_writes():
    def body(y):
        y[cuda.grid(1)] = np.float32(1.0)
        y[cuda.grid(1)] = y[cuda.grid(1) % 32]

    with pytest.raises(TraceError, match=r"race on y\[0\]"):
        trace(simple(body, 32, 2), np.zeros(64, np.float32))


def test_divergent_barriers():
    def ended(y):
        if cuda.threadIdx.x < 20:
            cuda.syncthreads()
        y[cuda.threadIdx.x] = np.float32(0.0)

    def elsewhere(y):
        if cuda.threadIdx.x < 20:
            cuda.syncthreads()
        else:
            cuda.syncthreads()
        y[cuda.threadIdx.x] = np.float32(0.0)

    def shuffle(y):
        if cuda.threadIdx.x < 20:
            y[cuda.threadIdx.x] = cuda.shfl_xor_sync(0xFFFFFFFF, np.float32(1.0), 1)
        cuda.syncthreads()

    for body, message in (
        (ended, r"syncthreads is not reached by every thread: thread \(20, 0, 0\) has ended"),
        (elsewhere, r"thread \(20, 0, 0\) waits at elsewhere, line"),
        (shuffle, r"shfl_xor_sync is not reached by every thread: thread \(20, 0, 0\) waits at shuffle"),
    ):
        with pytest.raises(TraceError, match=message):
            trace(simple(body), np.zeros(32, np.float32))
