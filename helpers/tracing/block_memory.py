"""Shared and local memory of a traced block: fresh and poisoned, one array for each place that asks for one.

Must not learn about threads or barriers.
"""

import sys
from math import prod

import numpy as np

from helpers.tracing.memory import CheckedArray, TracedArray, assigned_name, place, poison


class SharedMemory:
    """`cuda.shared`: fresh for each block, poisoned, one array for each place of the source that asks for one."""

    def __init__(self, log, dynamic_bytes, record):
        self.log, self.dynamic_bytes = log, dynamic_bytes
        self.make = TracedArray if record else CheckedArray
        self.arrays, self.places, self.block = {}, {}, {}
        self.begin_block()

    def begin_block(self, kept=None):
        """Forget what the last block left; dynamic memory is `kept` where another kernel of this block left it."""
        fresh = np.full(self.dynamic_bytes, 0xFF, np.uint8), bytearray(self.dynamic_bytes)
        self.dynamic, self.dynamic_written = kept or fresh
        self.block = {}

    def array(self, shape, dtype):
        """Shared array of `shape`; shape 0 is all dynamic shared memory, read as `dtype`."""
        frame = sys._getframe(1)
        key = (id(frame.f_code), frame.f_lasti)
        if key not in self.places:
            self.places[key] = place(frame)
        where = self.places[key]
        if where not in self.block:
            self.block[where] = self._allocate(where, frame, shape, numpy_type(dtype))
        return self.block[where]

    def _allocate(self, where, frame, shape, dtype):
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)
        if prod(shape):
            data, written, unit = poison(np.empty(prod(shape), dtype)), bytearray(prod(shape)), 1
        elif not self.dynamic_bytes:
            return self.log.fail(
                "a shared array of size 0 means dynamic shared memory: Kernel.shared_bytes is 0", frame
            )
        else:
            unit = dtype.itemsize
            data, written = self.dynamic[: self.dynamic_bytes // unit * unit].view(dtype), self.dynamic_written
            shape = data.shape
        if where not in self.arrays:
            name = assigned_name(frame, "shared")
            self.arrays[where] = self.make(data, shape, name, self.log, written, "shared", unit=unit)
        array = self.arrays[where]
        array.data, array.written = data, written
        array.memory = "dynamic" if written is self.dynamic_written else array.name
        return array


class LocalMemory:
    """`cuda.local` and `registers`: poisoned at each call; checked while recording, plain NumPy otherwise."""

    def __init__(self, log, record):
        self.log, self.record = log, record

    def array(self, shape, dtype):
        return self._make(shape, dtype, sys._getframe(1))

    def registers(self, *shape):
        """The stand-in of unroll.registers: float32."""
        return self._make(shape, np.float32, sys._getframe(1))

    def _make(self, shape, dtype, frame):
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)
        data = poison(np.empty(shape, numpy_type(dtype)))
        if not self.record:
            return data
        return CheckedArray(
            data.reshape(-1), shape, assigned_name(frame, "local"), self.log, bytearray(data.size), "local"
        )


def numpy_type(dtype):
    """NumPy's dtype of a NumPy or Numba scalar type."""
    return np.dtype(getattr(dtype, "name", dtype))
