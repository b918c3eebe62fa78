"""Every production kernel on every shape class: made once, compiled and loaded together, then checked one by one.

For tests on the card and for compute-sanitizer. Must not learn what a kernel computes.
"""

from dataclasses import dataclass

from helpers.check import Loaded, check_made
from helpers.checking.oracle_cases import CASES
from helpers.checking.shape_classes import sample_classes, shape_classes
from helpers.kernels.base import Kernel
from helpers.kernels.catalogue import MODULES
from helpers.lowering import Op


@dataclass(frozen=True)
class Problem:
    """A production kernel and what it was made for; `shape` is None where the operation has a geometry."""

    kernel: Kernel
    op: Op
    batch: int
    shape: tuple[int, ...] | None


def operations():
    """(kind, pooling mode) of every operation that has an oracle; mode is "max" for all but pooling."""
    return [(kind, mode) for kind in CASES for mode in (("max", "average") if kind.startswith("pool") else ("max",))]


class ProductionChecks:
    """The kernels of every operation on its shape classes, ready to run.

    Parameters
    ----------
    tiles : sequence of int
        Cells of a tile; a class that is the same for two tiles is there once.
    runner : callable, optional
        `runner(kernel, *arrays)`, in place; default: the card, or the simulator.

    Attributes
    ----------
    problems : dict of (kind, mode) to list of Problem
    """

    def __init__(self, tiles=(8,), runner=None):
        self.problems = {operation: _problems(*operation, tiles) for operation in operations()}
        kernels = [problem.kernel for problems in self.problems.values() for problem in problems]
        self._runner = runner or Loaded(kernels)

    def check(self, kind, mode="max"):
        """Run one operation's kernels and compare them with the oracle; the number of kernels run.

        Raises
        ------
        CheckError
        """
        for problem in self.problems[kind, mode]:
            check_made(problem.kernel, problem.op, problem.batch, runner=self._runner, shape=problem.shape)
        return len(self.problems[kind, mode])


def _problems(kind, mode, tiles):
    production = MODULES[kind].production
    cases = {case: None for tile in tiles for case in _classes(kind, mode, tile).values()}  # each once, in order
    return [Problem(production(op, batch, *shape), op, batch, *(shape or [None])) for op, batch, *shape in cases]


def _classes(kind, mode, tile):
    plain = kind.startswith(("relu", "softmax"))
    return sample_classes(kind, tile) if plain else shape_classes(kind, tile, mode)
