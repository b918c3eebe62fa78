"""Memory plan: where in one arena each tensor of a training step lies, and how long it lives.

Knows the lowered program; must not learn about devices, engines or who allocates the arena.
"""

from dataclasses import dataclass
from math import prod

ALIGNMENT = 256  # bytes; what a GPU allocator guarantees, and enough for any vector load
WIDTHS = {"uint8": 1, "int32": 4, "float32": 4}


@dataclass(frozen=True)
class Placement:
    """Bytes `offset` to `offset + size` of the arena, needed from operation `first` to operation `last` inclusive."""

    offset: int
    size: int
    first: int
    last: int

    @property
    def end(self):
        return self.offset + self.size

    def lives_with(self, other):
        """True where some operation needs both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Placement of every tensor by name; `size` is the arena's, in bytes."""

    placements: dict[str, Placement]
    size: int

    @property
    def purposes(self):
        """Bytes of the tensors themselves: "activations", and "gradients" for those named "d_..."."""
        sums = {"activations": 0, "gradients": 0}
        for name, placement in self.placements.items():
            sums["gradients" if name.startswith("d_") else "activations"] += placement.size
        return sums


def plan_memory(program, batch_size, itemsize=4, reuse=False):
    """Place every tensor of `program` in one arena.

    Parameters
    ----------
    program : Program
    batch_size : int
        Images a step.
    itemsize : int
        Bytes of one "float" value.
    reuse : bool
        Let tensors that are never needed together share bytes: largest first, each at the lowest place that is free
        while it lives (first fit). Otherwise every tensor has bytes of its own, in the order of their making.

    Returns
    -------
    MemoryPlan
        Offsets are multiples of `ALIGNMENT`.
    """
    lives = lifetimes(program)
    sizes = {name: batch_size * tensor_bytes(program.tensors[name], itemsize) for name in lives}
    order = sorted(lives, key=lambda name: -sizes[name]) if reuse else lives
    placements, top = {}, 0
    for name in order:
        placement = Placement(0 if reuse else top, sizes[name], *lives[name])
        if reuse:
            placement = _first_fit(placement, placements.values())
        placements[name] = placement
        top = max(top, _align(placement.end))
    return MemoryPlan({name: placements[name] for name in lives}, top)


def tensor_bytes(tensor, itemsize=4):
    """Bytes of one image's share of a tensor."""
    return prod(tensor.shape) * WIDTHS.get(tensor.dtype, itemsize)


def lifetimes(program):
    """{tensor: (operation that makes it, last operation that reads it)}; what none reads lives to the end."""
    made, read = {}, {}
    for index, op in enumerate(program.ops):
        for name in (*op.inputs, *((op.mask,) if op.mask else ())):
            read[name] = index
        for name in op.outputs:
            made.setdefault(name, index)
    return {name: (first, read.get(name, len(program.ops) - 1)) for name, first in made.items()}


def _first_fit(placement, placed):
    """`placement` moved to the lowest offset where it meets none of `placed` that lives with it."""
    offset = 0
    for other in sorted((p for p in placed if p.lives_with(placement)), key=lambda p: p.offset):
        if offset + placement.size <= other.offset:
            break
        offset = max(offset, _align(other.end))
    return Placement(offset, placement.size, placement.first, placement.last)


def _align(offset):
    return -(-offset // ALIGNMENT) * ALIGNMENT
