"""Arrays that check every access of a traced kernel and write it down: bounds, uninitialised reads, alignment.

Knows which thread runs only through the log's clock; must not learn about grids, barriers or kernels.
"""

import dis
import linecache
import re
import sys
from array import array as packed_array
from bisect import bisect_right
from math import prod

import numpy as np

READ, WRITE, ATOMIC = 0, 1, 2
KINDS = ("read", "write", "atomic")
# one access is one int: cell index, array, source site and kind, from the high bits to the low
INDEX_SHIFT, ARRAY_SHIFT, SITE_SHIFT = 24, 18, 2
MAX_ARRAYS, MAX_SITES = 1 << (INDEX_SHIFT - ARRAY_SHIFT), 1 << (ARRAY_SHIFT - SITE_SHIFT)


class TraceError(Exception):
    """A kernel did what a GPU forbids or leaves undefined; the message names array, index, block and thread."""


def poison(array):
    """Fill `array` in place with what no correct result contains: NaN for floats, bytes of 0xAA for the rest."""
    if array.dtype.kind == "f":
        array.fill(np.nan)
    else:
        array.view(np.uint8).fill(0xAA)
    return array


class Log:
    """Accesses in the order they happen, the places in the source that make them, and the clock that dates them.

    Attributes
    ----------
    accesses : array of int64
        One packed int an access.
    sites : list of (code, line, cells)
        Where an access stands and how many neighbouring cells it moves at once.
    arrays : list of CheckedArray
        Every array ever traced, by number.
    marks : list of (position, block, thread, phase, step)
        From which access on which thread of which block runs, after how many barriers of its block and its warp.
    where : callable
        Says which block and thread runs, for messages.
    """

    def __init__(self, where):
        self.accesses = packed_array("q")
        self.sites, self.arrays, self.marks, self.where = [], [], [], where
        self._numbers = {}

    def add_array(self, array):
        """Number of a newly traced array."""
        if len(self.arrays) == MAX_ARRAYS:
            raise TraceError(f"more than {MAX_ARRAYS} arrays in one kernel; trace it with record=False")
        self.arrays.append(array)
        return len(self.arrays) - 1

    def site(self, frame, cells):
        """Number of the place where `frame` stands."""
        key = (id(frame.f_code), frame.f_lasti)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._site_at(place(frame))
            if number == len(self.sites):
                self.sites.append((frame.f_code, frame.f_lineno, cells))
        return number

    def _site_at(self, where):
        if len(self.sites) == MAX_SITES:
            raise TraceError(f"more than {MAX_SITES} places access memory; trace with record=False")
        return self._numbers.setdefault(("site", *where), len(self.sites))

    def fail(self, problem, frame=None):
        """Raise TraceError: where in the source and in the grid, then `problem`."""
        place = f"{frame.f_code.co_name}, line {frame.f_lineno}: " if frame else ""
        raise TraceError(f"{place}{problem} ({self.where()})")


class CheckedArray:
    """A flat or shaped window of memory whose every access is checked.

    Parameters
    ----------
    data : ndarray, 1-D
        The cells.
    shape : tuple of int
        What indices mean; its product is the size of the window.
    name : str
    log : Log
    written : bytearray or None
        A byte for each cell (for each byte of memory where `unit` is the item size); None: all are written.
    space : {"global", "shared", "local"}
    offset : int
        First cell of the window.
    unit : int
        Entries of `written` a cell.
    """

    def __init__(self, data, shape, name, log, written=None, space="global", offset=0, unit=1):
        self.data, self.shape, self.name, self.log = data, shape, name, log
        self.written, self.space, self.offset, self.unit = written, space, offset, unit
        self.size = prod(shape)
        self.dtype, self.ndim = data.dtype, len(shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if type(index) is slice:
            return self._window(index, sys._getframe(1))
        cell = self._locate(index, 2)
        if self.written is not None and not self.written[cell * self.unit]:
            self._fail_uninitialised(cell, sys._getframe(1))
        self._record(cell, READ, 1)
        return self.data[cell]

    def __setitem__(self, index, value):
        cell = self._locate(index, 2)
        self._mark(cell, 1)
        self._record(cell, WRITE, 1)
        self.data[cell] = value

    def load(self, index, cells, depth):
        """Tuple of `cells` neighbours from `index`, one wide access made by the caller `depth` frames up."""
        cell = self._locate_wide(index, cells, depth + 1)
        if self.written is not None and 0 in self.written[cell * self.unit : (cell + cells) * self.unit : self.unit]:
            self._fail_uninitialised(cell, sys._getframe(depth))
        self._record(cell, READ, cells, depth + 1)
        return tuple(self.data[cell : cell + cells])

    def store(self, index, values, depth):
        """Write `values` to neighbours from `index`, one wide access made by the caller `depth` frames up."""
        cell = self._locate_wide(index, len(values), depth + 1)
        self._mark(cell, len(values))
        self._record(cell, WRITE, len(values), depth + 1)
        self.data[cell : cell + len(values)] = values

    def exchange(self, index, change, depth):
        """Replace the cell by `change(old)` in one atomic access; the old value."""
        cell = self._locate(index, depth + 1)
        if self.written is not None and not self.written[cell * self.unit]:
            self._fail_uninitialised(cell, sys._getframe(depth))
        self._record(cell, ATOMIC, 1, depth + 1)
        old = self.data[cell]
        self.data[cell] = change(old)
        return old

    def reshape(self, *shape):
        """The same memory read in another shape of equal size."""
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        if prod(shape) != self.size:
            self.log.fail(f"{self.name} has {self.size} cells, which do not make the shape {shape}", sys._getframe(1))
        return self._part(shape, self.offset)

    def _part(self, shape, offset):
        """Another window of the same memory."""
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__, shape=shape, size=prod(shape), ndim=len(shape), offset=offset)
        return part

    def _record(self, cell, kind, cells, depth=2):
        """Nothing is written down here; TracedArray does."""

    def _locate(self, index, depth):
        """Cell of `index`, an int or one int an axis, each within bounds; the accessing frame is `depth` up."""
        indices = index if type(index) is tuple else (index,)
        if len(indices) == self.ndim:
            cell = 0
            try:
                for i, size in zip(indices, self.shape):
                    i = i.__index__()
                    if not 0 <= i < size:
                        break
                    cell = cell * size + i
                else:
                    return self.offset + cell
            except AttributeError:
                pass  # no integer: said below
        return self._fail_index(indices, sys._getframe(depth))

    def _fail_index(self, index, frame):
        if not all(hasattr(i, "__index__") for i in index):
            self.log.fail(f"{self.name} is indexed by {index!r}; expected an integer for each axis", frame)
        if len(index) != self.ndim:
            self.log.fail(f"{self.name} has {self.ndim} axes but {len(index)} indices", frame)
        axis = next(axis for axis, (i, size) in enumerate(zip(index, self.shape)) if not 0 <= int(i) < size)
        which = f" on axis {axis}" if self.ndim > 1 else ""
        self.log.fail(f"{self.name}{_brackets(index)} is out of bounds{which}: the size is {self.shape[axis]}", frame)

    def _locate_wide(self, index, cells, depth):
        cell = self._locate(index, depth + 1)
        if cell + cells > self.offset + self.size:
            problem = f"is out of bounds: {cells} cells at once, the size is {self.size}"
        elif cell % cells:
            problem = f"is misaligned: {cells} cells at once start at a multiple of {cells}"
        else:
            return cell
        return self.log.fail(f"{self.name}{_brackets((index,))} {problem}", sys._getframe(depth))

    def _mark(self, cell, cells):
        if self.written is None:
            return
        if cells * self.unit == 1:
            self.written[cell] = 1
        else:
            self.written[cell * self.unit : (cell + cells) * self.unit] = b"\1" * (cells * self.unit)

    def _window(self, index, frame):
        """The part of a flat array that a slice names; it stays part of the same memory."""
        start, stop, step = index.indices(self.size)
        ends = [int(end) for end in (index.start, index.stop) if end is not None]
        if self.ndim != 1 or step != 1 or start > stop or not all(0 <= end <= self.size for end in ends):
            self.log.fail(f"{self.name}[{index.start}:{index.stop}] is no part of an array of {self.shape}", frame)
        return self._part((stop - start,), self.offset + start)

    def _fail_uninitialised(self, cell, frame):
        index = np.unravel_index(cell - self.offset, self.shape)
        self.log.fail(
            f"{self.name}{_brackets(index)} is read before any thread wrote it: fill it first, or wait at a barrier",
            frame,
        )


class TracedArray(CheckedArray):
    """A CheckedArray whose every access goes into the log."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.number = self.log.add_array(self)

    def _record(self, cell, kind, cells, depth=2):
        log = self.log
        site = log.site(sys._getframe(depth), cells)
        log.accesses.append(cell << INDEX_SHIFT | self.number << ARRAY_SHIFT | site << SITE_SHIFT | kind)


def place(frame):
    """(code, instruction) where `frame` stands: the same however far CPython has specialised the instruction."""
    starts = [instruction.offset for instruction in dis.get_instructions(frame.f_code)]
    return id(frame.f_code), starts[bisect_right(starts, frame.f_lasti) - 1]


def assigned_name(frame, otherwise):
    """The variable that the line of `frame` assigns, as the reader calls the array made there."""
    match = re.match(r"\s*(\w+)\s*=", linecache.getline(frame.f_code.co_filename, frame.f_lineno))
    return match[1] if match else otherwise


def _brackets(index):
    return "[" + ", ".join(str(int(i)) for i in index) + "]"
