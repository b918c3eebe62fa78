"""Accesses that a GPU forbids or leaves undefined are named: array, index, block and thread."""

import numpy as np
import pytest
from traced_kernels import floats, simple, transpose

from helpers.device import cuda
from helpers.kernels.intrinsics import store4
from helpers.trace import TraceError, trace
from helpers.unroll import registers


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
