"""Compiling without a card: keys follow the source, resources are read, errors are named."""

import ctypes
import os
import weakref

import numpy as np
import pytest
from numba import float32

from helpers import compiler
from helpers.compiler import BoundLaunch, CompileError, cache_folder, clear_cache, kernel_key, launch
from helpers.device import SIMULATOR, cuda
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, quotient, remainder, shared_floats, store4
from helpers.kernels.probe import probe
from helpers.trace import TraceError


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


def test_arrays_that_are_missing_get_one_sentence():
    with pytest.raises((TypeError, TraceError), match="probe takes 2 .*got 1"):
        launch(probe(64), np.zeros(64, np.float32))


@pytest.mark.skipif(not SIMULATOR, reason="on a card the compiler knows these names")
def test_what_has_no_stand_in_on_the_cpu_is_named():
    def nanosleep(y, x):
        cuda.nanosleep(10)

    def nanmax(y, x):
        cuda.atomic.nanmax(y, 0, x[0])

    for body in (nanosleep, nanmax):
        with pytest.raises(
            AttributeError, match=rf"{body.__name__} has no stand-in on the CPU: run the kernel on a GPU"
        ):
            launch(Kernel("probe", body, (1, 1, 1), (1, 1, 1)), *np.zeros((2, 1), np.float32))


def fake_compile(kernel, capability):
    """Stands for compile_ptx in forked children: one operation kills its process, one is refused."""
    if kernel.operation == "pool_forward":
        os._exit(7)
    if kernel.operation == "conv_forward":
        raise CompileError(f"{kernel.operation} does not compile")
    return f"{kernel.operation} for {capability}"


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("pool_forward", "the process that compiled pool_forward died with exit code 7"),
        ("conv_forward", "conv_forward does not compile"),
        ("relu_forward", None),
    ],
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_many_kernels_compile_in_processes_whose_death_is_noticed(last, words, monkeypatch):
    monkeypatch.setattr(compiler, "compile_ptx", fake_compile)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    operations = ["probe"] * 5 + [last]
    kernels = {n: Kernel(name, None, (1, 1, 1), (1, 1, 1)) for n, name in enumerate(operations)}
    if words is None:
        wanted = {n: f"{name} for (7, 5)" for n, name in enumerate(operations)}
        assert compiler._compile_many(kernels, (7, 5)) == wanted
        return
    with pytest.raises(CompileError, match=words):
        compiler._compile_many(kernels, (7, 5))


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


def test_a_bound_launch_hands_over_its_arrays_addresses_and_keeps_them_alive():
    class Array:
        def __init__(self, pointer):
            self.pointer = pointer

    seen, arrays = [], [Array(0x1000 + i) for i in range(3)]
    kept = [weakref.ref(array) for array in arrays]

    def launch(address, further):
        places = (ctypes.c_void_p * 3).from_address(address)
        seen.append([ctypes.c_void_p.from_address(place).value for place in places])
        assert further == 0

    bound = BoundLaunch(launch, arrays)
    del arrays
    bound()
    bound()
    assert seen == [[0x1000, 0x1001, 0x1002]] * 2 and all(reference() for reference in kept)
