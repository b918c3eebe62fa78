"""Finds two threads that touch one cell, one of them writing, with nothing that orders them.

Works on the recorded accesses of a trace; must not learn how they were recorded.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from helpers.tracing.memory import ATOMIC, READ, WRITE


@dataclass(frozen=True)
class Accesses:
    """Recorded accesses as columns of one length, in the order they happened.

    `array` and `site` are numbers of the log, `index` is the first cell, `cells` how many neighbours move at once,
    `kind` READ, WRITE or ATOMIC, `block` and `thread` flat numbers, `phase` and `step` the barriers that the block
    and the warp have passed.
    """

    array: np.ndarray
    index: np.ndarray
    cells: np.ndarray
    kind: np.ndarray
    site: np.ndarray
    block: np.ndarray
    thread: np.ndarray
    phase: np.ndarray
    step: np.ndarray

    def __len__(self):
        return len(self.index)

    def __getitem__(self, selection):
        """The accesses that a mask or an index array selects."""
        return Accesses(*(getattr(self, column.name)[selection] for column in fields(self)))

    def spread(self, width=1):
        """One row for each cell moved (each of its `width` parts), `cells` all 1."""
        count = self.cells * width
        rows = np.repeat(np.arange(len(self)), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        spread = self[rows]
        return replace(spread, index=spread.index * width + within, cells=np.ones_like(rows))


def find_race(accesses, arrays, warp, fenced):
    """First race among `accesses`.

    Within a block, accesses are ordered by its barriers, and within a warp also by syncwarp. Blocks are ordered by
    nothing; after a threadfence only writes by two blocks count, since a kernel that fences hands data over.

    Parameters
    ----------
    accesses : Accesses
    arrays : list of CheckedArray
        By number; arrays of one `memory` alias each other.
    warp : int
        Lanes of a warp.
    fenced : bool
        Whether the kernel called threadfence.

    Returns
    -------
    (writer, other) : two rows as Accesses of length 1, or None
    """
    memories = [(array.space, getattr(array, "memory", array.name)) for array in arrays]
    for memory in dict.fromkeys(memories):
        numbers = [number for number, other in enumerate(memories) if other == memory]
        part = accesses[np.isin(accesses.array, numbers)]
        if not np.any(part.kind != READ):
            continue
        widths = {number: arrays[number].data.itemsize for number in numbers}
        if len(set(widths.values())) > 1:  # one memory read as several types: compare bytes
            pieces = [part[part.array == number].spread(width) for number, width in widths.items()]
            part = Accesses(*(np.concatenate([getattr(p, c.name) for p in pieces]) for c in fields(Accesses)))
        else:
            part = part.spread()
        warps = part.thread // warp
        pair = _conflict(part, (part.index, part.phase, part.block), warps)
        pair = pair or _conflict(part, (part.index, part.step, warps, part.phase, part.block), part.thread)
        if memory[0] == "global" and not pair:
            across = part[part.kind != READ] if fenced else part
            pair = _conflict(across, (across.index,), across.block)
        if pair:
            return pair
    return None


def _conflict(accesses, keys, actor):
    """First two rows of equal `keys` and different `actor` of which one writes and not both are atomic."""
    if not len(accesses):
        return None
    order = np.lexsort(keys)
    changes = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    sorted_actor, kind = actor[order], accesses.kind[order]
    several = np.minimum.reduceat(sorted_actor, starts) != np.maximum.reduceat(sorted_actor, starts)
    wrote = np.logical_or.reduceat(kind != READ, starts)
    plain = np.logical_or.reduceat(kind != ATOMIC, starts)
    bad = np.flatnonzero(several & wrote & plain)
    if not len(bad):
        return None
    stop = starts[bad[0] + 1] if bad[0] + 1 < len(starts) else len(order)
    rows = order[starts[bad[0]] : stop]
    kinds = accesses.kind[rows]
    writer = rows[np.argmax(kinds == WRITE if np.any(kinds == WRITE) else kinds != READ)]
    other = rows[np.argmax(actor[rows] != actor[writer])]
    return accesses[[writer]], accesses[[other]]
