"""The CPU route of engines and checks: launched again and again, in place, with what a card forbids refused."""

import numpy as np
import pytest
from traced_kernels import floats, simple

from helpers.compiler import launch, load
from helpers.device import SIMULATOR, cuda
from helpers.kernels.base import Kernel
from helpers.trace import TraceError
from helpers.tracing.execution import Execution


def accumulate(y, x):
    y[cuda.grid(1)] += x[cuda.grid(1)]


def probe(body, **options):
    return Kernel("probe", body, (2, 1, 1), (32, 1, 1), **options)


def test_what_is_read_and_written_keeps_its_values():
    y, x = floats(64), floats(64)
    wanted = (y + x) + x
    run = Execution(probe(accumulate))
    run(y, x)
    run(y, x)
    np.testing.assert_array_equal(y, wanted)


def test_launch_works_in_place():
    y, x = np.ones(64, np.float32), floats(64)
    wanted = y + x
    launch(probe(accumulate), y, x)
    np.testing.assert_array_equal(y, wanted)


def test_outputs_start_poisoned_where_asked():
    run = Execution(probe(accumulate))
    with pytest.raises(TraceError, match=r"y\[0\] is read before any thread wrote it"):
        run(floats(64), floats(64), outputs=("y",))


def test_shared_memory_is_fresh_in_each_call():
    def body(y, x):
        s_x = cuda.shared.array(32, np.float32)
        if x[0] > 0:
            s_x[cuda.threadIdx.x] = x[0]
        cuda.syncthreads()
        y[cuda.grid(1)] = s_x[cuda.threadIdx.x]

    run, y = Execution(probe(body)), np.zeros(64, np.float32)
    run(y, np.ones(1, np.float32))
    assert (y == 1).all()
    with pytest.raises(TraceError, match=r"s_x\[0\] is read before any thread wrote it"):
        run(y, np.zeros(1, np.float32))


def test_scratch_may_be_left_out_and_starts_poisoned():
    def body(y, scratch):
        if fills:
            scratch[cuda.grid(1)] = np.float32(2.0)
        y[cuda.grid(1)] = scratch[cuda.grid(1)]

    y, fills = np.zeros(64, np.float32), True
    Execution(probe(body, scratch_bytes=256))(y)
    assert (y == 2).all()
    fills = False
    with pytest.raises(TraceError, match=r"scratch\[0\] is read before"):
        Execution(probe(body, scratch_bytes=256))(y, np.ones(64, np.float32))


@pytest.mark.skipif(not SIMULATOR, reason="on a card nothing watches")
def test_an_access_out_of_bounds_stops_the_launch():
    def body(y, x):
        y[cuda.grid(1)] = x[cuda.grid(1) + 1]

    (run,) = load([probe(body)])
    with pytest.raises(TraceError, match=r"x\[64\] is out of bounds: the size is 64 \(block \(1, 0, 0\)"):
        run(np.zeros(64, np.float32), floats(64))


def test_scalars_pass_as_they_are():
    def body(y, factor):
        y[cuda.threadIdx.x] = factor

    y = np.zeros(32, np.float32)
    Execution(simple(body))(y, 3)
    assert (y == 3).all()
