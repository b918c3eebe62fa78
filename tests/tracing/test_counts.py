"""Correct kernels pass the tracer with right results, and what they read and write is counted exactly."""

import numpy as np
import pytest
from simulator import needs_simulator, simulate
from traced_kernels import floats, matmul, simple, transpose

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, shared_floats, store4
from helpers.trace import TraceError, trace
from helpers.unroll import registers, unroll, unrolled


def test_transpose_off_the_tile_is_right_and_counted():
    x, y = floats(13, 10), np.zeros(130, np.float32)
    result = trace(transpose(13, 10), y, x, outputs=("y",))
    np.testing.assert_array_equal(y.reshape(10, 13), x.T)
    counts = result.counts()
    assert counts.loc["x", "reads"] == counts.loc["y", "writes"] == counts.loc["s_x", "reads"] == 130
    assert counts.loc["x", "read bytes"] == 520 and counts.loc["x", "writes"] == 0
    assert counts.loc["x", "thread reads, max"] == 1
    assert counts.loc["x", "thread reads, mean"] == 130 / (4 * 64)


def test_touched_cells_of_a_block_and_a_thread():
    x, y = floats(16, 16), np.zeros(256, np.float32)
    result = trace(transpose(16, 16), y, x)
    block = result.touched("x", (16, 16), "read", block=(1, 0, 0))
    assert block[:8, 8:].all() and block.sum() == 64
    thread = result.touched("x", (16, 16), "read", block=(1, 0, 0), thread=(2, 3, 0))
    assert np.argwhere(thread).tolist() == [[3, 10]]


def test_matmul_with_barriers_in_a_device_function():
    a, b, c = floats(8, 8), floats(8, 8), np.zeros(64, np.float32)
    result = trace(matmul(8), c, a, b, outputs=("c",))
    np.testing.assert_allclose(c.reshape(8, 8), a @ b, rtol=1e-5, atol=1e-6)
    counts = result.counts()
    assert counts.loc["a", "reads"] == 8**3 / 4 and counts.loc["s_a", "reads"] == 8**3
    assert counts.loc["c", "thread writes, max"] == 1


@pytest.mark.parametrize("make, arrays", [(lambda: transpose(5, 9, 4), 2), (lambda: matmul(8), 3)])
@needs_simulator
def test_agrees_with_the_simulator(make, arrays):
    inputs = [floats(64) for _ in range(arrays)]
    traced, simulated = [a.copy() for a in inputs], [a.copy() for a in inputs]
    trace(make(), *traced)
    simulate(make(), *simulated)
    for one, other in zip(traced, simulated):
        np.testing.assert_array_equal(one, other)


def test_shuffle_reduction():
    def body(y, x):
        value = x[cuda.grid(1)]
        for step in range(5):
            value += cuda.shfl_down_sync(0xFFFFFFFF, value, 16 >> step)
        if cuda.laneid == 0:
            y[cuda.grid(1) // 32] = value

    x, y = np.arange(128, dtype=np.float32), np.zeros(4, np.float32)
    trace(simple(body, 64, 2), y, x, outputs=("y",))
    np.testing.assert_array_equal(y, x.reshape(4, 32).sum(1))


def test_butterfly_leaves_the_sum_in_every_lane():
    def body(y):
        value = np.float32(cuda.laneid)
        for bit in (16, 8, 4, 2, 1):
            value += cuda.shfl_xor_sync(0xFFFFFFFF, value, bit)
        y[cuda.laneid] = value

    y = np.zeros(32, np.float32)
    trace(simple(body), y)
    assert (y == 496).all()


def test_atomics_and_block_votes():
    def body(total, votes):
        cuda.atomic.add(total, 0, 1)
        found = cuda.syncthreads_count(cuda.threadIdx.x % 3 == 0)
        if cuda.threadIdx.x == 0:
            votes[0] = found

    total, votes = np.zeros(1, np.int32), np.zeros(1, np.int32)
    result = trace(simple(body), total, votes)
    assert total[0] == 32 and votes[0] == 11 and result.counts().loc["total", "atomics"] == 32


def test_unrolled_kernel_with_registers_and_wide_accesses():
    @unrolled
    def body(y, x):
        acc = registers(4)
        i = cuda.grid(1) * 4
        acc[0], acc[1], acc[2], acc[3] = load4(x, i)
        for k in unroll(4):
            acc[k] = acc[k] * np.float32(2.0)
        store4(y, i, acc[0], acc[1], acc[2], acc[3])

    x, y = floats(128), np.zeros(128, np.float32)
    result = trace(simple(body), y, x, outputs=("y",))
    np.testing.assert_array_equal(y, 2 * x)
    assert result.sectors("x").tolist() == [16] and result.counts().loc["x", "reads"] == 128


def test_dynamic_shared_memory_is_one_memory():
    def body(y):
        first = shared_floats(0)
        second = shared_floats(32)
        first[cuda.threadIdx.x] = np.float32(cuda.threadIdx.x)
        second[cuda.threadIdx.x] = np.float32(-1.0)
        cuda.syncthreads()
        y[cuda.threadIdx.x] = first[31 - cuda.threadIdx.x] + second[cuda.threadIdx.x]

    y = np.zeros(32, np.float32)
    trace(simple(body, shared_bytes=256), y)
    np.testing.assert_array_equal(y, 30 - np.arange(32))


def test_copies_of_one_closure_are_different_functions():
    def make_fill(size, value):
        @device_function
        def fill():
            s_x = cuda.shared.array(size, np.float32)
            s_x[cuda.threadIdx.x % size] = np.float32(value)
            cuda.syncthreads()
            return s_x[size - 1]

        return fill

    two, four = make_fill(2, 1.0), make_fill(4, 10.0)

    def body(y):
        y[cuda.threadIdx.x] = two() + four()

    y = np.zeros(2, np.float32)
    with pytest.raises(TraceError, match=r"s_x\[3\] is read before"):  # only two of the four cells are filled
        trace(simple(body, 2), y)


def test_a_barrier_in_a_body_without_source_is_refused():
    scope = {"cuda": cuda}
    exec("def body(y):\n    cuda.syncthreads()", scope)
    with pytest.raises(ValueError, match="source of body is not found; define it in a file or a notebook cell"):
        trace(simple(scope["body"]), np.zeros(1, np.float32))


def test_only_the_chosen_blocks_run():
    x, y = floats(16, 16), np.zeros(256, np.float32)
    trace(transpose(16, 16), y, x, blocks=[(0, 1, 0)])
    assert np.count_nonzero(y) == 64


def test_without_recording_checks_stay():
    y = np.zeros(130, np.float32)
    trace(transpose(13, 10), y, floats(13, 10), record=False, outputs=("y",))
    with pytest.raises(TraceError, match="out of bounds"):
        trace(transpose(13, 10), y, floats(129), record=False)
