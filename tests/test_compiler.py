"""Compiling without a card: keys follow the source, resources are read, errors are named."""

import numpy as np
import pytest
from numba import float32

from helpers.compiler import CompileError, cache_folder, clear_cache, kernel_key, launch
from helpers.device import SIMULATOR, cuda
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, quotient, remainder, shared_floats, store4
from helpers.kernels.probe import probe


def scale_kernel(factor, size=64):
    """y = factor x by 128-bit accesses through shared memory."""

    def body(y, x):
        i = cuda.grid(1)
        tile = shared_floats(4)
        if 4 * i < size:
            a, b, c, d = load4(x, 4 * i)
            store4(tile, 4 * cuda.threadIdx.x, a, b, c, d)
        cuda.syncthreads()
        if 4 * i < size:
            a, b, c, d = load4(tile, 4 * cuda.threadIdx.x)
            s = float32(factor)
            store4(y, 4 * i, a * s, b * s, c * s, d * s + float32(remainder(i, 3) + quotient(i, 3)))

    return Kernel("probe", body, (2, 1, 1), (32, 1, 1), shared_bytes=4 * (4 + 128))


def test_launch_runs_in_place():
    x, y = np.arange(64, dtype=np.float32), np.full(64, np.nan, np.float32)
    launch(scale_kernel(3), y, x)
    wanted = 3 * x
    wanted[3::4] += np.arange(16) % 3 + np.arange(16) // 3
    np.testing.assert_array_equal(y, wanted)


def test_keys_follow_closures_and_source_but_not_the_object():
    assert kernel_key(scale_kernel(3), (7, 5)) == kernel_key(scale_kernel(3), (7, 5))
    different = {
        kernel_key(scale_kernel(3), (7, 5)),
        kernel_key(scale_kernel(3), (9, 0)),
        kernel_key(scale_kernel(4), (7, 5)),
        kernel_key(probe(64), (7, 5)),
    }
    assert len(different) == 4


def test_clearing_the_cache_removes_the_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_CACHE", str(tmp_path / "kernels"))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "old.cubin").write_bytes(b"x")
    clear_cache()
    assert not cache_folder().exists()


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_resources_without_a_card(capability):
    from helpers.assembly import resources

    used = resources(scale_kernel(3), capability)
    assert 0 < used.registers < 40
    assert used.spill_bytes == used.stack_bytes == 0
    assert used.shared_bytes == 4 * 132


@pytest.mark.assemble
def test_a_kernel_that_does_not_compile_is_named():
    def body(y, x):
        y[0] = x.no_such_attribute

    with pytest.raises(CompileError, match="probe does not compile"):
        from helpers.compiler import compile_ptx

        assert not SIMULATOR
        compile_ptx(Kernel("probe", body, (1, 1, 1), (1, 1, 1)), (7, 5))
