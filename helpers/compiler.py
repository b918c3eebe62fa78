"""Kernel -> PTX -> machine code -> launchable, compiled once and kept in the user's cache folder.

Knows kernels and the device; must not learn what an operation computes. The cache key is the source of everything
the body reaches (closures, device functions, constants), the launch shape, the capability and the versions, so an
edit anywhere makes a new entry and nothing is ever stale. `python -m helpers.compiler clear` empties the cache.
"""

import ctypes
import hashlib
import multiprocessing
import os
import shutil
import sys
import types as python_types
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from helpers import device
from helpers.atomic import write_atomically
from helpers.device import SIMULATOR, call, cuda
from helpers.digest import source_digest


class CompileError(RuntimeError):
    """A kernel could not be compiled; the message names the operation and the compiler's own words."""


def cache_folder():
    """Folder of compiled kernels: CNN_CACHE, or the user's cache folder."""
    base = os.environ.get("CNN_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cnn-kernels"
    return Path(base)


def clear_cache():
    """Delete every cached kernel."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


def compile_ptx(kernel, capability):
    """PTX text of `kernel` for `capability`, e.g. (7, 5). Needs no GPU.

    Raises
    ------
    CompileError
    """
    from numba.cuda import dispatcher

    try:
        from numba.cuda import types
    except ImportError:
        from numba.core import types

    pointers = [types.CPointer(getattr(types, dtype)) for _, dtype in kernel.arguments]
    # Numba asks for the current card when it compiles device functions, even for another capability: answer for it.
    asked = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: python_types.SimpleNamespace(compute_capability=capability)
    bounds = (kernel.threads, kernel.blocks_per_multiprocessor)
    try:
        ptx, _ = cuda.compile(
            *(kernel.body, types.void(*pointers)), device=False, abi="numba", cc=capability, launch_bounds=bounds
        )
    except Exception as error:
        raise CompileError(f"{kernel.operation} does not compile for {capability}: {error}") from error
    finally:
        dispatcher.get_current_device = asked
    return ptx


def kernel_key(kernel, capability, card=None):
    """Hexadecimal cache key of a kernel compiled for `capability` and assembled for the capability of `card`."""
    parts = [
        card or capability,
        *(source_digest(kernel.body), repr(kernel.arguments), kernel.threads, kernel.blocks_per_multiprocessor),
        *(capability, sys.version_info[:2], np.__version__, version("numba"), version("numba-cuda")),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


def assemble(ptx):
    """Machine code (cubin, bytes) of PTX text for the current card, by the driver's linker."""
    driver = device.driver_api()
    state = call(driver.cuLinkCreate, 0, [], [])
    data = ptx.encode() + b"\0"
    try:
        call(driver.cuLinkAddData, state, driver.CUjitInputType.CU_JIT_INPUT_PTX, data, len(data), b"", 0, [], [])
        pointer, size = call(driver.cuLinkComplete, state)
        return ctypes.string_at(int(pointer), size)
    finally:
        call(driver.cuLinkDestroy, state)


class Launchable:
    """A loaded kernel: call it with device arrays in the order of `kernel.arguments`."""

    def __init__(self, kernel, cubin, name):
        self.kernel, self._driver = kernel, device.driver_api()
        self._module = call(self._driver.cuModuleLoadData, cubin)
        self._function = call(self._driver.cuModuleGetFunction, self._module, name)
        limit = device.device_properties().shared_bytes_per_block
        if kernel.shared_bytes > limit:
            raise CompileError(
                f"{kernel.operation} needs {kernel.shared_bytes} bytes of shared memory a block; the card has {limit}"
            )
        if kernel.shared_bytes > 48 * 1024:
            attribute = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            call(self._driver.cuFuncSetAttribute, self._function, attribute, kernel.shared_bytes)

    @property
    def registers(self):
        """Registers a thread."""
        attribute = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NUM_REGS
        return int(call(self._driver.cuFuncGetAttribute, attribute, self._function))

    @property
    def resident_blocks(self):
        """Blocks that the card can hold at once, by registers and shared memory."""
        count = self._driver.cuOccupancyMaxActiveBlocksPerMultiprocessor
        per_multiprocessor = int(call(count, self._function, self.kernel.threads, self.kernel.shared_bytes))
        return per_multiprocessor * device.device_properties().multiprocessors

    def __call__(self, *arrays, stream=None):
        """Queue one launch; `arrays` are DeviceArrays. Returns at once."""
        self.bind(*arrays, stream=stream)()

    def bind(self, *arrays, stream=None):
        """A `BoundLaunch` on these DeviceArrays, for one that is launched over and over."""
        if len(arrays) != len(self.kernel.arguments):
            raise TypeError(f"{self.kernel.operation} takes {len(self.kernel.arguments)} arrays, got {len(arrays)}")
        handle = stream.handle if stream else 0
        if stream and getattr(self.kernel, "chained", False):
            launch = partial(call, self._driver.cuLaunchKernelEx, self._chained(handle), self._function)
        else:
            shape = (*self.kernel.grid, *self.kernel.block, self.kernel.shared_bytes)
            launch = partial(call, self._driver.cuLaunchKernel, self._function, *shape, handle)
        return BoundLaunch(launch, arrays, stream)

    def _chained(self, handle):
        """Configuration of a launch that may begin before the kernel in front of it has ended."""
        attribute = self._driver.CUlaunchAttribute()
        attribute.id = self._driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        attribute.value.programmaticStreamSerializationAllowed = 1
        config = self._driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = self.kernel.grid
        config.blockDimX, config.blockDimY, config.blockDimZ = self.kernel.block
        config.sharedMemBytes, config.hStream = self.kernel.shared_bytes, handle
        config.attrs, config.numAttrs = [attribute], 1
        return config


class BoundLaunch:
    """A launch whose arguments are ready: a call queues it once more. Keeps alive what the arguments point to.

    Parameters
    ----------
    launch : callable
        Takes the address of the arguments' addresses, as the driver wants them, and 0: no further settings.
    arrays : sequence of DeviceArray
    stream : Stream, optional
        Where it is queued.
    """

    def __init__(self, launch, arrays, stream=None):
        size = ctypes.sizeof(ctypes.c_void_p)
        self._launch, self._kept = launch, (arrays, stream)
        self._arguments = (ctypes.c_void_p * len(arrays))(*(array.pointer for array in arrays))
        first = ctypes.addressof(self._arguments)
        self._addresses = (ctypes.c_void_p * len(arrays))(*(first + size * i for i in range(len(arrays))))
        self._address = ctypes.addressof(self._addresses)

    def __call__(self):
        self._launch(self._address, 0)


class _Interpreted:
    """A kernel without a card, called like a Launchable: its Python body runs on checked arrays (tracing/execution.py).

    What has no stand-in on the CPU is refused in one sentence; Numba's own simulator is a second executor for tests.
    """

    def __init__(self, kernel):
        from helpers.tracing.execution import Execution

        self.kernel, self.registers, self._run = kernel, 0, Execution(kernel)

    def __call__(self, *arrays, stream=None):
        self._run(*arrays)


def load(kernels):
    """Launchables of `kernels`, in order; what the cache lacks is compiled, many at a time."""
    if SIMULATOR:
        return [_Interpreted(kernel) for kernel in kernels]
    capability, card = device.capability(), device.device_properties().capability
    keys = [kernel_key(kernel, capability, card) for kernel in kernels]
    found = dict(zip(keys, kernels))
    missing = {key: kernel for key, kernel in found.items() if not (cache_folder() / f"{key}.cubin").is_file()}
    for key, ptx in _compile_many(missing, capability).items():
        _store(f"{key}.name", _entry_name(ptx).encode())
        _store(f"{key}.cubin", assemble(ptx))
    return [_load(kernel, key) for kernel, key in zip(kernels, keys)]


def launch(kernel, *hosts):
    """Run `kernel` once on NumPy arrays, in place: they are copied to the card and back. For checks and teaching."""
    (run,) = load([kernel])
    arrays = [device.to_device(host) for host in hosts]
    run(*arrays)
    for array, host in zip(arrays, hosts):
        host.reshape(-1)[:] = device.to_host(array)


def _load(kernel, key):
    folder = cache_folder()
    return Launchable(kernel, (folder / f"{key}.cubin").read_bytes(), (folder / f"{key}.name").read_bytes())


def _entry_name(ptx):
    start = ptx.index(".visible .entry ") + len(".visible .entry ")
    return ptx[start : ptx.index("(", start)].strip()


def _store(name, content):
    """Write a cache file as a whole or not at all."""
    write_atomically(cache_folder() / name, content)


def _compile_many(kernels, capability):
    """{key: PTX}; in forked processes where there are enough kernels and cores to gain by it."""
    workers = min(len(kernels), os.cpu_count() or 1, 16)
    if workers < 3 or not hasattr(os, "fork"):
        return {key: compile_ptx(kernel, capability) for key, kernel in kernels.items()}
    keys, processes, shares, results = list(kernels), {}, {}, {}
    for share in (keys[i::workers] for i in range(workers)):
        receiver, process = _fork_compiler([kernels[key] for key in share], capability)
        processes[receiver], shares[receiver] = process, share
    try:
        while shares:
            for receiver in wait(shares):
                key = shares[receiver].pop(0)
                results[key] = _receive(receiver, processes[receiver], kernels[key])
                if not shares[receiver]:
                    del shares[receiver]
    finally:
        for process in processes.values():
            process.terminate()
    return results


def _fork_compiler(kernels, capability):
    """(connection, process) of a child that compiles `kernels` and sends (PTX, None) or (None, words) of each."""
    context = multiprocessing.get_context("fork")  # bodies are closures: only a forked child has them
    receiver, sender = context.Pipe(duplex=False)

    def work():
        for kernel in kernels:
            try:
                sender.send((compile_ptx(kernel, capability), None))
            except CompileError as error:
                sender.send((None, str(error)))

    process = context.Process(target=work, daemon=True)
    process.start()
    sender.close()  # before the next fork: the child alone holds it, so its death ends the connection
    return receiver, process


def _receive(receiver, process, kernel):
    """PTX of `kernel` from the child that compiles it."""
    try:
        ptx, words = receiver.recv()
    except EOFError:
        process.join()
        raise CompileError(
            f"the process that compiled {kernel.operation} died with exit code {process.exitcode}; if it was killed "
            "for memory (-9), close other programs, then try again"
        ) from None
    if words:
        raise CompileError(words)
    return ptx


if __name__ == "__main__":
    if sys.argv[1:] != ["clear"]:
        sys.exit("usage: python -m helpers.compiler clear")
    clear_cache()
    print(f"emptied {cache_folder()}")
