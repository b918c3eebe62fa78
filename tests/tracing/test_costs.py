"""What a warp pays: sectors of global memory, passes over the banks of shared memory."""

import numpy as np
import pytest
from traced_kernels import floats, simple

from helpers.device import cuda
from helpers.kernels.intrinsics import load4
from helpers.trace import trace


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
