"""The card: properties, memory, streams, events and graphs, through the CUDA driver.

The one module that imports numba.cuda; kernels do `from helpers.device import cuda`. Without a GPU and with
NUMBA_ENABLE_CUDASIM=1 arrays are NumPy arrays, kernels run in the tracer and nothing is captured.
Must not learn about operations, networks or engines.
"""

import functools
import os
import sys
from dataclasses import dataclass

os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")

import numpy as np  # noqa: E402
from numba import cuda  # noqa: E402

SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
MINIMUM_CAPABILITY = (7, 5)
if SIMULATOR:
    sys.setswitchinterval(1e-4)  # its threads wait for each other at every barrier


class DeviceError(RuntimeError):
    """The card, or its driver, cannot do what was asked; the message says what to do."""


def device_function(function):
    """Mark `function` as callable from kernels; always inlined on the card, plain Python in the simulator."""
    if SIMULATOR:
        function.py_func = function
        return cuda.jit(device=True)(function)
    try:
        dispatcher = cuda.jit(device=True, forceinline=True)(function)
    except (TypeError, KeyError):
        dispatcher = cuda.jit(device=True)(function)
    dispatcher.py_func = function  # of an unrolled function, Numba has copied the attribute py_func: the original
    return dispatcher


def driver_api():
    """The driver's bindings, initialised, with the first card's primary context current on this thread."""
    driver, context = _context()
    call(driver.cuCtxSetCurrent, context)
    return driver


@functools.cache
def _context():
    if SIMULATOR:
        raise DeviceError("NUMBA_ENABLE_CUDASIM=1 selects the simulator; unset it to use a GPU")
    try:
        from cuda.bindings import driver

        call(driver.cuInit, 0)
        device = call(driver.cuDeviceGet, 0)
    except Exception as error:
        raise DeviceError(
            "no NVIDIA GPU or driver was found; in Colab choose Runtime > Change runtime type > T4 GPU, elsewhere "
            "install the driver, or set NUMBA_ENABLE_CUDASIM=1 to run kernels on the CPU"
        ) from error
    return driver, call(driver.cuDevicePrimaryCtxRetain, device)


def call(function, *arguments):
    """Call a driver function; its result without the status. Raises DeviceError with the driver's own name."""
    status, *results = function(*arguments)
    if int(status) != 0:
        raise DeviceError(f"{function.__name__} failed: {status.name}")
    return results[0] if len(results) == 1 else tuple(results) or None


def gpu_available():
    """True where kernels can run on a card (never in the simulator)."""
    if SIMULATOR:
        return False
    try:
        _context()
    except DeviceError:
        return False
    return True


@dataclass(frozen=True)
class DeviceProperties:
    """What the driver says of the card; bytes and kHz."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    shared_bytes_per_block: int
    memory_bytes: int
    l2_bytes: int
    clock_khz: int
    memory_clock_khz: int
    memory_bus_bits: int
    driver: str

    @property
    def fp32_flops(self):
        """Highest fp32 rate in FLOP/s: multiprocessors x lanes x 2 x clock (lanes: CUDA Programming Guide, 17)."""
        lanes = 64 if self.capability in ((7, 5), (8, 0)) else 128
        return self.multiprocessors * lanes * 2 * self.clock_khz * 1e3

    @property
    def bandwidth(self):
        """Highest memory rate in bytes/s: two transfers a clock on the whole bus."""
        return 2 * self.memory_clock_khz * 1e3 * self.memory_bus_bits / 8


@functools.cache
def device_properties():
    """Properties of the card in use, a `DeviceProperties`."""
    driver = driver_api()
    names = driver.CUdevice_attribute

    def attribute(name):
        return int(call(driver.cuDeviceGetAttribute, getattr(names, f"CU_DEVICE_ATTRIBUTE_{name}"), 0))

    version = int(call(driver.cuDriverGetVersion))
    return DeviceProperties(
        name=call(driver.cuDeviceGetName, 100, 0).split(b"\0")[0].decode(),
        capability=(attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")),
        multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        shared_bytes_per_block=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        memory_bytes=int(call(driver.cuDeviceTotalMem, 0)),
        l2_bytes=attribute("L2_CACHE_SIZE"),
        clock_khz=attribute("CLOCK_RATE"),
        memory_clock_khz=attribute("MEMORY_CLOCK_RATE"),
        memory_bus_bits=attribute("GLOBAL_MEMORY_BUS_WIDTH"),
        driver=f"{version // 1000}.{version % 1000 // 10}",
    )


def capability():
    """Compute capability that kernels are made for: the card's, or a lower one forced by CNN_CAPABILITY ("7.5").

    Raises
    ------
    DeviceError
        For a card below 7.5.
    """
    forced = os.environ.get("CNN_CAPABILITY")
    found = tuple(map(int, forced.split("."))) if forced else device_properties().capability
    if found < MINIMUM_CAPABILITY:
        raise DeviceError(f"the card has compute capability {found[0]}.{found[1]}; 7.5 (Turing, T4) or newer is needed")
    return found


class DeviceArray:
    """A flat array on the card: `size` elements of `dtype`. Slices share its memory.

    `__cuda_array_interface__` lets other libraries and `@cuda.jit` kernels read it without a copy.
    """

    def __init__(self, size, dtype, pointer=None, owner=None):
        self.size, self.dtype, self._owner = int(size), np.dtype(dtype), owner
        if pointer is None:
            try:
                pointer = int(call(driver_api().cuMemAlloc, max(self.nbytes, 1)))
            except DeviceError as error:
                free = memory_info()[0]
                raise DeviceError(
                    f"{self.nbytes / 1e6:.1f} MB do not fit the card's memory ({free / 1e6:.1f} MB free); choose a "
                    f"smaller batch or close other programs ({error})"
                ) from None
        self.pointer = pointer

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self):
        return {"shape": (self.size,), "typestr": self.dtype.str, "data": (self.pointer, False), "version": 3}

    def view(self, offset, size, dtype=None):
        """`size` elements of `dtype` from byte `offset` on, sharing this array's memory."""
        part = DeviceArray(size, dtype or self.dtype, self.pointer + int(offset), self)
        if offset < 0 or offset + part.nbytes > self.nbytes:
            raise ValueError(f"bytes {offset} to {offset + part.nbytes} lie outside an array of {self.nbytes} bytes")
        return part

    def __del__(self):
        if self._owner is None and getattr(self, "pointer", None):
            try:
                self_driver, _ = _context()
                self_driver.cuMemFree(self.pointer)
            except Exception:  # the interpreter is shutting down: the driver frees everything
                pass


def empty(size, dtype=np.float32):
    """Uninitialised flat array on the card (in the simulator: a NumPy array filled with 0xAA)."""
    if SIMULATOR:
        return np.full(int(size) * np.dtype(dtype).itemsize, 0xAA, np.uint8).view(dtype)
    return DeviceArray(size, dtype)


def view(array, offset, size, dtype):
    """`size` elements of `dtype` from byte `offset` of `array` on, sharing its memory."""
    if SIMULATOR:
        return array.view(np.uint8)[offset : offset + size * np.dtype(dtype).itemsize].view(dtype)
    return array.view(offset, size, dtype)


def write(array, host, wait=True):
    """Copy `host` (same size and dtype) into `array`; returns when done, or, without `wait`, when `host` was read."""
    host = np.ascontiguousarray(host, array.dtype).reshape(-1)
    if host.size != array.size:
        raise ValueError(f"{host.size} elements do not fit an array of {array.size}")
    if SIMULATOR:
        array[:] = host
    elif host.size:
        call(driver_api().cuMemcpyHtoD, array.pointer, host.ctypes.data, host.nbytes)
        if wait:
            _finish_default_stream()
    return array


def _finish_default_stream():
    """Wait for copies and fills: the driver returns before they end, and the streams of graphs.py do not wait."""
    call(driver_api().cuStreamSynchronize, 0)


def to_device(host):
    """A new array on the card with the values of `host`, flattened."""
    return write(empty(host.size, host.dtype), host)


def to_host(array):
    """A NumPy copy of `array`, flat; waits for all work on the card."""
    if SIMULATOR:
        return array.copy()
    synchronize()
    host = np.empty(array.size, array.dtype)
    if host.size:
        call(driver_api().cuMemcpyDtoH, host.ctypes.data, array.pointer, host.nbytes)
    return host


def fill(array, byte):
    """Set every byte of `array` to `byte`; returns when done."""
    if SIMULATOR:
        array.view(np.uint8)[:] = byte
    else:
        call(driver_api().cuMemsetD8, array.pointer, byte, array.nbytes)
        _finish_default_stream()


def synchronize():
    """Wait for all work on the card; a failed kernel raises here."""
    if not SIMULATOR:
        call(driver_api().cuCtxSynchronize)


def memory_info():
    """(free, total) bytes of the card's memory."""
    return tuple(map(int, call(driver_api().cuMemGetInfo)))


def preflight():
    """Run one kernel on the card and print card and versions; without a GPU, say what runs instead.

    Raises
    ------
    DeviceError
        With a one-sentence remedy if a card is there but a kernel cannot run on it.
    """
    import numba

    if SIMULATOR:
        print(f"No GPU: kernels run in the simulator on tiny shapes; figures show committed measurements. "
              f"numba {numba.__version__}, numpy {np.__version__}")  # fmt: skip
        return
    properties = device_properties()
    capability()
    _launch_probe()
    print(
        f"{properties.name}: {properties.multiprocessors} multiprocessors, compute capability "
        f"{'.'.join(map(str, properties.capability))}, driver CUDA {properties.driver}, "
        f"numba {numba.__version__}, numpy {np.__version__}"
    )


def _launch_probe():
    from helpers.compiler import CompileError, launch
    from helpers.kernels.probe import probe

    values = np.arange(100, dtype=np.float32)
    result = np.full(100, np.nan, np.float32)
    try:
        launch(probe(100), result, values)
    except (CompileError, DeviceError) as error:
        raise DeviceError(
            f"a card is there but no kernel runs on it ({error}); the installed numba-cuda and the driver do not fit: "
            "in Colab restart with a fresh T4 runtime, elsewhere run ./run_all.sh, which installs a matching toolkit"
        ) from None
    if not np.array_equal(result, 2 * values):
        raise DeviceError("a test kernel gave wrong results; restart the runtime")
