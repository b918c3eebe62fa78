"""The tracer catches every planted bug by name, and counts exactly what correct kernels read and write."""

import numpy as np
import pytest

from helpers.device import SIMULATOR, cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, shared_floats, store4
from helpers.trace import TraceError, trace
from helpers.unroll import registers, unroll, unrolled

rng = np.random.default_rng(0)


def floats(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def transpose(rows, columns, tile=8, barrier=True):
    """Kernel of y (columns, rows), x (rows, columns): a tile goes through shared memory."""

    def body(y, x):
        s_x = cuda.shared.array((tile, tile + 1), np.float32)
        i, j = cuda.threadIdx.y, cuda.threadIdx.x
        row, column = cuda.blockIdx.y * tile + i, cuda.blockIdx.x * tile + j
        if row < rows and column < columns:
            s_x[i, j] = x[np.uint64(row) * np.uint64(columns) + np.uint64(column)]
        if barrier:
            cuda.syncthreads()
        row, column = cuda.blockIdx.y * tile + j, cuda.blockIdx.x * tile + i
        if row < rows and column < columns:
            y[np.uint32(column * rows + row)] = s_x[j, i]

    grid = (-(-columns // tile), -(-rows // tile), 1)
    return Kernel("transpose", body, grid, (tile, tile, 1))


@device_function
def copy_tile(s_tile, source, tile, start, stride):
    """Copy a (tile, tile) window of `source` into `s_tile`, and wait for the block."""
    i, j = cuda.threadIdx.y, cuda.threadIdx.x
    s_tile[i, j] = source[start + i * stride + j]
    cuda.syncthreads()


def matmul(n, tile=4):
    """Kernel of c, a, b, all (n, n), n a multiple of tile: tiles of a and b through shared memory."""

    def body(c, a, b):
        s_a = cuda.shared.array((tile, tile), np.float32)
        s_b = cuda.shared.array((tile, tile), np.float32)
        i, j = cuda.threadIdx.y, cuda.threadIdx.x
        total = np.float32(0.0)
        for k in range(0, n, tile):
            copy_tile(s_a, a, tile, cuda.blockIdx.y * tile * n + k, n)
            copy_tile(s_b, b, tile, k * n + cuda.blockIdx.x * tile, n)
            for l in range(tile):
                total += s_a[i, l] * s_b[l, j]
            cuda.syncthreads()
        c[(cuda.blockIdx.y * tile + i) * n + cuda.blockIdx.x * tile + j] = total

    return Kernel("matmul", body, (n // tile, n // tile, 1), (tile, tile, 1))


def simple(body, threads=32, grid=1, **options):
    return Kernel("simple", body, (grid, 1, 1), (threads, 1, 1), **options)


# --- correct kernels ------------------------------------------------------------------------------------------------


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
@pytest.mark.skipif(not SIMULATOR, reason="needs NUMBA_ENABLE_CUDASIM=1")
def test_agrees_with_the_simulator(make, arrays):
    from helpers.compiler import launch

    inputs = [floats(64) for _ in range(arrays)]
    traced, simulated = [a.copy() for a in inputs], [a.copy() for a in inputs]
    trace(make(), *traced)
    launch(make(), *simulated)
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


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride, expected", [(1, 4), (2, 8), (8, 32), (0, 1)])
def test_sectors_of_strided_reads(stride, expected):
    def body(y, x):
        y[cuda.threadIdx.x] = x[cuda.threadIdx.x * stride]

    result = trace(simple(body), np.zeros(32, np.float32), floats(256))
    assert result.sectors("x").tolist() == [expected] and result.sectors("y").tolist() == [4]


@pytest.mark.parametrize("stride, expected", [(1, 1), (2, 2), (32, 32), (33, 1)])
def test_bank_conflicts_of_strided_reads(stride, expected):
    def body(y):
        s_x = cuda.shared.array(32 * 33, np.float32)
        for i in range(cuda.threadIdx.x, 32 * 33, 32):
            s_x[i] = np.float32(i)
        cuda.syncthreads()
        y[cuda.threadIdx.x] = s_x[cuda.threadIdx.x * stride]

    result = trace(simple(body), np.zeros(32, np.float32))
    assert result.bank_conflicts("s_x", "read").tolist() == [expected]
    assert set(result.bank_conflicts("s_x", "write")) == {1}
    assert result.by_line().query("array == 's_x' and kind == 'read'")["max"].tolist() == [expected]


def test_wide_shared_reads_are_served_by_quarters():
    def body(y):
        s_x = cuda.shared.array(256, np.float32)
        for i in range(cuda.threadIdx.x, 256, 32):
            s_x[i] = np.float32(i)
        cuda.syncthreads()
        a, b, c, d = load4(s_x, cuda.threadIdx.x * 4)
        e, f, g, h = load4(s_x, cuda.threadIdx.x * 8 % 256)
        y[cuda.threadIdx.x] = a + e

    lines = trace(simple(body), np.zeros(32, np.float32)).by_line().query("`cells at once` == 4")
    assert lines["accesses"].tolist() == [4, 4] and lines["max"].tolist() == [1, 2]


# --- planted bugs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index, message",
    [
        ((8, 0), r"s\[8, 0\] is out of bounds on axis 0"),
        ((0, 4), r"s\[0, 4\] is out of bounds on axis 1"),
        ((-1, 0), r"s\[-1, 0\] is out of bounds on axis 0"),
        ((0, -1), r"s\[0, -1\] is out of bounds on axis 1"),
    ],
)
def test_out_of_bounds_on_each_axis(index, message):
    i, j = index

    def body(y):
        s = cuda.shared.array((8, 4), np.float32)
        s[i, j] = np.float32(1.0)

    with pytest.raises(TraceError, match=message):
        trace(simple(body), np.zeros(1, np.float32))


@pytest.mark.parametrize("offset", [-1, 1])
def test_global_out_of_bounds_names_block_and_thread(offset):
    def body(y, x):
        y[cuda.grid(1)] = x[cuda.grid(1) + offset]

    where = {-1: r"block \(0, 0, 0\), thread \(0, 0, 0\)", 1: r"block \(1, 0, 0\), thread \(31, 0, 0\)"}[offset]
    with pytest.raises(TraceError, match=rf"body, line \d+: x\[{-1 if offset < 0 else 64}\].*size is 64 \({where}\)"):
        trace(simple(body, 32, 2), np.zeros(64, np.float32), floats(64))


def test_windows_and_reshaped_tiles_keep_their_bounds():
    def window(y):
        part = y[8 + cuda.threadIdx.x :]
        part[56 - 8] = np.float32(0.0)

    def tile(y):
        acc = registers(6).reshape(2, 3)
        acc[0, 3] = np.float32(0.0)

    def outside(y):
        y[60:65][0] = np.float32(0.0)

    for body, message in (
        (window, r"y\[48\] is out of bounds: the size is 48"),
        (tile, r"acc\[0, 3\] is out of bounds on axis 1"),
        (outside, r"y\[60:65\] is no part of an array of \(64,\)"),
    ):
        with pytest.raises(TraceError, match=message):
            trace(simple(body), np.zeros(64, np.float32))


def test_misaligned_wide_access():
    def body(y):
        store4(y, cuda.threadIdx.x * 4 + 2, 0.0, 0.0, 0.0, 0.0)

    with pytest.raises(TraceError, match=r"y\[2\] is misaligned"):
        trace(simple(body), np.zeros(256, np.float32))


def test_float_index():
    def body(y):
        y[np.float32(1.0)] = 0.0

    with pytest.raises(TraceError, match="expected an integer"):
        trace(simple(body), np.zeros(2, np.float32))


def test_uninitialised_reads():
    def shared(y):
        s_x = cuda.shared.array(32, np.float32)
        y[cuda.threadIdx.x] = s_x[cuda.threadIdx.x]

    def local(y):
        acc = cuda.local.array(4, np.float32)
        y[cuda.threadIdx.x] = acc[0]

    def output(y):
        y[cuda.threadIdx.x] += np.float32(1.0)

    for body, name in ((shared, "s_x"), (local, "acc"), (output, "y")):
        with pytest.raises(TraceError, match=rf"{name}\[0\] is read before any thread wrote it"):
            trace(simple(body), np.zeros(32, np.float32), outputs=("y",))


def test_shared_memory_does_not_survive_its_block():
    def body(y):
        s_x = cuda.shared.array(1, np.float32)
        if cuda.blockIdx.x == 0 and cuda.threadIdx.x == 0:
            s_x[0] = np.float32(1.0)
        cuda.syncthreads()
        y[cuda.grid(1)] = s_x[0]

    with pytest.raises(TraceError, match=r"block \(1, 0, 0\)"):
        trace(simple(body, 32, 2), np.zeros(64, np.float32))


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


def test_unwritten_output():
    def body(y):
        if cuda.threadIdx.x:
            y[cuda.threadIdx.x] = np.float32(0.0)

    with pytest.raises(TraceError, match=r"leaves 1 of 32 cells of y unwritten, the first is y\[0\]"):
        trace(simple(body), np.zeros(32, np.float32), outputs=("y",))


def test_wrong_calls_say_what_was_expected():
    with pytest.raises(TraceError, match=r"takes 2 arguments \(y, x\), got 1"):
        trace(transpose(4, 4), floats(16))
    with pytest.raises(TraceError, match="C-contiguous"):
        trace(transpose(4, 4), np.zeros(16, np.float32), floats(4, 8)[:, ::2])
    with pytest.raises(TraceError, match="no array 'z'"):
        trace(transpose(4, 4), np.zeros(16, np.float32), floats(16)).select("z")
