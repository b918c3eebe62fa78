"""Runs a kernel's Python body on NumPy arrays, block by block: made ready once, called for each launch.

Knows kernels, stand-ins and blocks; must not learn what is done with recorded accesses, nor which operation runs.
"""

import inspect
from math import prod

import numpy as np

from helpers.tracing.block import Block
from helpers.tracing.coroutines import Rebinder, plain
from helpers.tracing.cuda_stand_in import Cuda, stand_ins
from helpers.tracing.memory import CheckedArray, TracedArray, TraceError, poison
from helpers.tracing.warp_matrices import matrix_stand_ins


class Execution:
    """A kernel without a GPU, called with its arguments in order; arrays are changed in place, as on the card.

    Bounds, alignment, barriers and uninitialised shared memory are checked in every call.

    Parameters
    ----------
    kernel : Kernel
    record : bool
        Write accesses down in `cuda.log`, for one call.

    Raises
    ------
    ValueError
        If the source of a function that waits at a barrier is not found.
    """

    def __init__(self, kernel, record=False):
        self.kernel = kernel
        self.cuda = Cuda(kernel.grid, kernel.block, kernel.shared_bytes, record)
        self.names = list(inspect.signature(plain(kernel.body)).parameters)
        self._body = Rebinder(stand_ins(self.cuda) | matrix_stand_ins()).rebind(kernel.body)

    def __call__(self, *arrays, blocks=None, outputs=()):
        """Run every block, or those numbered `blocks`.

        Parameters
        ----------
        *arrays : ndarray or scalar
            C-contiguous; used flat. Scratch memory may be left out. Only it and `outputs` start poisoned: what a
            kernel both reads and writes keeps its values.
        blocks : iterable of int, optional
        outputs : collection of str, optional
            Arguments whose cells count as unwritten until the kernel writes them.

        Returns
        -------
        list of CheckedArray or scalar
            The arguments as the body saw them.

        Raises
        ------
        TraceError
        """
        kernel, names = self.kernel, self.names
        if kernel.scratch_bytes and len(arrays) == len(names) - 1:
            arrays = (*arrays, np.empty(kernel.scratch_bytes // 4, np.float32))
        if len(arrays) != len(names):
            raise TraceError(f"{kernel.operation} takes {len(names)} arguments ({', '.join(names)}), got {len(arrays)}")
        unwritten = {*outputs, *(names[-1:] if kernel.scratch_bytes else [])}
        arguments = [self._wrap(name, array, name in unwritten) for name, array in zip(names, arrays)]
        with np.errstate(all="ignore"):
            for block in range(prod(kernel.grid)) if blocks is None else blocks:
                self._run(block, arguments)
        return arguments

    def _run(self, block, arguments):
        """Run one block; where the kernel keeps memory, on what another kernel of the same memory left there."""
        memory = getattr(self.kernel, "kept_memory", None)
        Block(self.cuda, block, self._body, arguments, memory and memory.get(block)).run()
        if memory is not None:
            memory[block] = self.cuda.shared.dynamic, self.cuda.shared.dynamic_written

    def _wrap(self, name, array, unwritten):
        """Checked view of an argument; scalars pass as they are."""
        if not isinstance(array, np.ndarray):
            return array
        if not array.flags.c_contiguous:
            raise TraceError(f"{name} is not C-contiguous; pass np.ascontiguousarray of it")
        data = array.reshape(-1)
        if unwritten:
            poison(data)
        make = TracedArray if self.cuda.record else CheckedArray
        return make(data, data.shape, name, self.cuda.log, bytearray(data.size) if unwritten else None)
