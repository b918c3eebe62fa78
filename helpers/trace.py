"""Runs a kernel's Python body without a GPU and tells what it read and wrote; raises on what a GPU forbids.

The CPU route of the notebooks, the source of their drawings, and a detector of races, out-of-bounds and uninitialised
accesses at once. Must not learn about operations beyond their argument names, nor about engines.
"""

import linecache
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.kernels.base import ARGUMENTS, OUTPUTS, Kernel
from helpers.tracing import warp_costs
from helpers.tracing.cuda_stand_in import WARP, flat_index, index_at
from helpers.tracing.execution import Execution
from helpers.tracing.memory import (
    ARRAY_SHIFT,
    INDEX_SHIFT,
    KINDS,
    MAX_ARRAYS,
    MAX_SITES,
    READ,
    SITE_SHIFT,
    Log,
    TraceError,
)
from helpers.tracing.races import Accesses, find_race


def trace(kernel, *arrays, blocks=None, record=True, outputs=None):
    """Run `kernel` on NumPy `arrays`, in place, and record its accesses.

    Parameters
    ----------
    kernel : Kernel
    *arrays : ndarray or scalar
        The body's arguments in order, C-contiguous; used flat, as on the card. Scratch memory may be left out.
    blocks : iterable of int or (x, y, z), optional
        Run only these blocks; outputs are then not required to be complete.
    record : bool
        False: only bounds, uninitialised reads, alignment and barriers are checked; faster, no races, no counts.
    outputs : tuple of str, optional
        Arguments that the kernel must write whole: they start poisoned. Default: as the operation demands
        (kernels.base.OUTPUTS).

    Returns
    -------
    Trace

    Raises
    ------
    TraceError
        For an access out of bounds, misaligned, or of a cell nobody wrote; for a barrier that some threads miss; for
        two threads that touch one cell unordered, one writing; for an output cell never written.
    """
    execution = Execution(kernel, record)
    outputs = _outputs(kernel, execution.names) if outputs is None else outputs
    chosen = None if blocks is None else [_flat(block, kernel.grid) for block in blocks]
    arguments = execution(*arrays, blocks=chosen, outputs=outputs)
    result = Trace(kernel, execution.cuda.log, record)
    if record:
        result.check_races(execution.cuda.fenced)
    if blocks is None:
        for argument in arguments:
            if getattr(argument, "name", None) in outputs:
                _check_complete(kernel, argument)
    return result


def _outputs(kernel, names):
    """The body's own names for what its operation must write whole."""
    operation = [name for name, _ in ARGUMENTS.get(kernel.operation, ())]
    return tuple(names[operation.index(name)] for name in OUTPUTS.get(kernel.operation, ()))


def _check_complete(kernel, array):
    missing = array.written.count(0)
    if missing:
        raise TraceError(
            f"{kernel.operation} leaves {missing} of {array.size} cells of {array.name} unwritten, "
            f"the first is {array.name}[{array.written.index(0)}]"
        )


def _flat(index, size):
    return flat_index(index, size) if isinstance(index, tuple) else int(index)


@dataclass
class Trace:
    """What one run of `kernel` read and wrote. Blocks and threads are named by number or by (x, y, z)."""

    kernel: Kernel
    log: Log
    recorded: bool = True

    @cached_property
    def accesses(self):
        """Every access in order, an `Accesses`."""
        if not self.recorded:
            raise TraceError("nothing was recorded; trace with record=True")
        packed = np.array(self.log.accesses, np.int64)
        marks = np.array(self.log.marks, np.int64).reshape(-1, 5)
        lengths = np.diff(np.append(marks[:, 0], len(packed)))
        block, thread, phase, step = (np.repeat(marks[:, column], lengths) for column in range(1, 5))
        site = packed >> SITE_SHIFT & (MAX_SITES - 1)
        cells = np.array([cells for _, _, cells in self.log.sites] or [1])[site]
        array = packed >> ARRAY_SHIFT & (MAX_ARRAYS - 1)
        return Accesses(array, packed >> INDEX_SHIFT, cells, packed & 3, site, block, thread, phase, step)

    @property
    def arrays(self):
        """{name: CheckedArray} of the arguments and the shared arrays."""
        return {array.name: array for array in self.log.arrays}

    def select(self, array, kind=None, block=None, thread=None):
        """Accesses to `array`, of one kind ("read", "write", "atomic"), block and thread where given."""
        if array not in self.arrays:
            raise TraceError(f"{self.kernel.operation} has no array {array!r}; it has {', '.join(self.arrays)}")
        found = self.accesses
        numbers = [number for number, other in enumerate(self.log.arrays) if other.name == array]
        mask = np.isin(found.array, numbers)
        if kind is not None:
            mask &= found.kind == KINDS.index(kind)
        if block is not None:
            mask &= found.block == _flat(block, self.kernel.grid)
        if thread is not None:
            mask &= found.thread == _flat(thread, self.kernel.block)
        return found[mask]

    def touched(self, array, shape=None, kind=None, block=None, thread=None):
        """Boolean array of the cells accessed, of `shape` (default: flat)."""
        cells = self.select(array, kind, block, thread).spread().index
        mask = np.zeros(self.arrays[array].size, bool)
        mask[cells] = True
        return mask if shape is None else mask.reshape(shape)

    def counts(self):
        """Table of traffic: a row an array.

        Returns
        -------
        pandas.DataFrame
            reads, writes, atomics: cells moved; read bytes, written bytes; reads and writes of a thread, maximum and
            mean over all threads that ran.
        """
        threads = len(np.unique(np.array(self.log.marks)[:, 1:3], axis=0)) if self.log.marks else 0
        rows = [self._count(name, max(threads, 1)) for name in self.arrays]
        return pd.DataFrame(rows).set_index("array")

    def _count(self, name, threads):
        part, array = self.select(name), self.arrays[name]
        cells = [int(part.cells[part.kind == kind].sum()) for kind in range(3)]
        worker = part.block * self.kernel.threads + part.thread
        most = [int(_sums(worker[part.kind == k], part.cells[part.kind == k]).max(initial=0)) for k in range(2)]
        return {
            "array": name,
            "space": array.space,
            **dict(zip(("reads", "writes", "atomics"), cells)),
            "read bytes": cells[0] * array.data.itemsize,
            "written bytes": cells[1] * array.data.itemsize,
            **{"thread reads, max": most[0], "thread reads, mean": cells[0] / threads},
            **{"thread writes, max": most[1], "thread writes, mean": cells[1] / threads},
        }

    def sectors(self, array, kind=None):
        """32-byte sectors that each warp-wide access to a global `array` touches (see warp_costs.sectors)."""
        return warp_costs.sectors(self.select(array, kind), self.arrays[array].data.itemsize)

    def bank_conflicts(self, array, kind=None):
        """Passes that each access to a shared `array` needs, 1 at best (see warp_costs.passes)."""
        return warp_costs.passes(self.select(array, kind), self.arrays[array].data.itemsize)

    def by_line(self):
        """Table of source lines: array, kind, warp-wide accesses, and sectors (global) or passes (shared) of each.

        Returns
        -------
        pandas.DataFrame
        """
        found, rows = self.accesses, []
        for number, (code, line, cells) in enumerate(self.log.sites):
            for which in np.unique(found.array[found.site == number]):
                array, part = self.log.arrays[which], found[(found.site == number) & (found.array == which)]
                cost = "passes" if array.space == "shared" else "sectors"
                costs = getattr(warp_costs, cost)(part, array.data.itemsize)
                source = linecache.getline(code.co_filename, line).strip()
                rows.append({"line": line, "source": source, "array": array.name, "kind": KINDS[part.kind[0]]})
                rows[-1] |= {"cells at once": cells, "accesses": len(costs), "cost": cost}
                rows[-1] |= {"mean": costs.mean(), "max": int(costs.max())}
        return pd.DataFrame(rows)

    def check_races(self, fenced=False):
        """Raise TraceError where two threads touch one cell unordered and one of them writes."""
        race = find_race(self.accesses, self.log.arrays, WARP, fenced)
        if race is None:
            return
        array = self.log.arrays[race[0].array[0]]
        raise TraceError(
            f"race on {array.name}[{race[0].index[0]}] of {self.kernel.operation}: "
            + " and ".join(map(self._describe, race))
            + ", with no barrier between and not both atomic"
        )

    def _describe(self, access):
        code, line, _ = self.log.sites[access.site[0]]
        verb = "reads" if access.kind[0] == READ else "writes"
        block = tuple(map(int, index_at(access.block[0], self.kernel.grid)))
        thread = tuple(map(int, index_at(access.thread[0], self.kernel.block)))
        return f"thread {thread} of block {block} {verb} it ({code.co_name}, line {line})"


def _sums(worker, cells):
    """Cells moved by each worker."""
    return np.bincount(np.unique(worker, return_inverse=True)[1].reshape(-1), cells)
