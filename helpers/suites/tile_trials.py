"""What suite "tune" tries: the problems of a step on tensor cores, the tiles of each, the proof of their results.

Knows kernels of layers and what their arguments hold; must not learn about clocks or files.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from helpers import device
from helpers.benchmark import MeasurementError
from helpers.kernels.tensor import layers
from helpers.kernels.tensor.catalogue import LAYERS, surroundings
from helpers.kernels.tensor.correlation import Correlation
from helpers.kernels.tensor.fragments import SHAPES
from helpers.kernels.tensor.layout import LANE_CHANNELS, padded
from helpers.kernels.tensor.tables import key_of
from helpers.kernels.tensor.tiling import strip_candidates, tile_candidates
from helpers.rounding import round_to

OUTPUTS = ("y", "dx", "gradient")
# a step of the format, relatively: what a sum near the middle between two of its values may be off by
STEP = {"3xtf32": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-7, "fp16": 2.0**-10}
SUMS = 2e-4  # of the largest value: float32 sums in another order
FLIPPED = 1e-3  # of gates, whose sum lies so near to 0, or to another of its window, that the order decides
PATTERN = (1 << 20) + 7  # random values, repeated: a period that no size of a tensor is a multiple of


@dataclass(frozen=True)
class Trial:
    """A problem and everything in a step that has it: (Op, Surroundings) of each. A tile serves all of these."""

    key: str
    problem: object
    window_rows: int
    uses: tuple

    def candidates(self, form, card, most):
        """The first `most` tiles of the rule for `card`, the rule's choice first."""
        if isinstance(self.problem, Correlation):
            return tile_candidates(self.problem, form.packed, card, self.window_rows)[:most]
        return strip_candidates(self.problem, form.packed, card)[:most]

    def kernels(self, batch, form, card, tile):
        """A kernel for each use."""
        return [LAYERS[op.kind](op, batch, form, around, card, tile) for op, around in self.uses]


def trials_of(programs, batch, form):
    """The `Trial` of every distinct problem in programs of tensor_program.py, in the order of their steps.

    Parameters
    ----------
    programs : sequence of lowering.Program
    batch : int
    form : Format

    Returns
    -------
    list of Trial
    """
    found = {}
    for program in programs:
        for op in program.ops:
            if op.kind in LAYERS:
                around = surroundings(program, op)
                problem, rows = _problem(op, batch, around), _window_rows(op)
                uses = found.setdefault(key_of(problem, form.name, rows), (problem, rows, []))[2]
                uses.append((op, around))
    return [Trial(key, problem, rows, tuple(uses)) for key, (problem, rows, uses) in found.items()]


def _problem(op, batch, around):
    if op.kind.endswith("_forward"):
        return layers.forward_problem(op, batch, around)
    if op.kind.endswith("_input_gradient"):
        return layers.input_gradient_problem(op, batch, around)
    return layers.weight_problem(op, batch, around)


def _window_rows(op):
    """Rows of the pooling that a forward pass has behind it."""
    return op.pool.window[1] if op.pool and op.kind.endswith("_forward") else 1


class Launches:
    """The launches of one tile for all uses of a trial, on noise; outputs of their own, inputs from `noise`.

    Parameters
    ----------
    trial : Trial
    kernels, runs : sequences
        Of each use: its kernel, and that loaded.
    form : Format
    noise : Noise
        The same for every tile of the trial, so that they can be held against each other.
    """

    def __init__(self, trial, kernels, runs, form, noise):
        self.trial, self.form, self._kernels, self._runs, self._arrays = trial, form, kernels, runs, []
        for number, ((op, around), kernel) in enumerate(zip(trial.uses, kernels)):
            sizes, arrays = _sizes(op, around, trial.problem, kernel.splits, form), {}
            for name, kind in kernel.arguments:
                if name in OUTPUTS or (name == "gate" and "y" in sizes):
                    arrays[name] = device.empty(sizes[name], np.dtype(kind))
                else:
                    arrays[name] = noise.array((number, name), sizes[name], kind)
            self._arrays.append(arrays)

    def queue(self, stream=None):
        """Launch all kernels once, in order."""
        for run, arrays in zip(self._runs, self._arrays):
            run(*arrays.values(), stream=stream)

    def results(self):
        """{(number of the use, argument): words on the host} of one run on outputs that were poisoned before."""
        outputs = {
            (number, name): array
            for number, arrays in enumerate(self._arrays)
            for name, array in arrays.items()
            if name in OUTPUTS or (name == "gate" and "y" in arrays)
        }
        for array in outputs.values():
            device.fill(array, 0xFF)
        self.queue()
        return {key: device.to_host(array) for key, array in outputs.items()}

    def summed(self):
        """`results`, partial sums added up.

        Raises
        ------
        MeasurementError
            Where a second run has other bits.
        """
        found, again = self.results(), self.results()
        for (number, name), words in found.items():
            if not np.array_equal(words.view(np.uint32), again[number, name].view(np.uint32)):
                raise MeasurementError(f"{self.trial.key}: two runs of one tile make different {name}: they race")
            if name == "gradient":
                sums = words.reshape(self._kernels[number].splits, -1).sum(0, dtype=np.float64)
                found[number, name] = sums.astype(np.float32)
        return found

    def decoded(self, number, name, words):
        """Values of words of a use's output."""
        plain = name == "gradient" or name == "y" and self.trial.uses[number][1].logits
        if plain or self.form.name == "3xtf32":
            return words
        return SHAPES[f"mma_{self.form.name}"].decode(words).reshape(-1)


def _sizes(op, around, problem, splits, form):
    """{argument: elements} of a kernel that solves `problem` for `op`."""
    p, packed = problem, form.packed
    before, behind = p.batch * prod(p.in_shape), p.batch * prod(p.out_shape)
    if op.kind.endswith("_weight_gradient"):
        sums = splits * (p.size + p.shape[2])
        return {"gradient": sums, "x": before * p.channels // packed, "dy": behind * p.filters // packed}
    read, weights = before * p.channels // packed, p.channels * p.filters * prod(p.kernel) // packed
    if op.kind.endswith("_forward"):
        cells = p.batch * prod(op.pool.out_shape[:3]) if op.pool else behind
        made = cells * p.filters // (1 if around.logits else packed)
        return {"y": made, "gate": cells * p.filters // LANE_CHANNELS, "x": read, "w": weights, "b": p.filters}
    made = behind * p.filters
    if op.pool:  # the image in front of the pooling, also where a dense layer reads what was pooled
        made = p.batch * prod(op.pool.in_shape[:3]) * padded(op.pool.in_shape[3])
    return {"dx": made // packed, "dy": read, "w": weights, "gate": behind * p.filters // LANE_CHANNELS}


class Proof:
    """Holds the results of a trial's tiles against those of the first one, as far as its rounding allows."""

    def __init__(self):
        self._expected, self._scales = None, {}

    def take(self, launches, tile):
        """Run a tile's launches and judge what they wrote.

        Raises
        ------
        MeasurementError
            Where two runs differ, a value is off by more than a step of the format and another order of the sums, or
            was not written.
        """
        found = launches.summed()
        if self._expected is None:
            self._expected = found
            for key, words in found.items():
                self._scales[key] = 0.0 if key[1] == "gate" else _largest(launches.decoded(*key, words))
        for key, words in found.items():
            if wrong := self._difference(launches, key, words):
                raise MeasurementError(f"{launches.trial.key}: {tile} makes another {key[1]} than the first: {wrong}")

    def _difference(self, launches, key, words):
        """What is wrong with an output, in words; "" where nothing is. Few words differ, so only these are decoded."""
        where = words.view(np.uint32) != self._expected[key].view(np.uint32)
        if key[1] == "gate":
            return f"{where.mean():.2%} of its words differ" if where.mean() > FLIPPED else ""
        found, expected = (launches.decoded(*key, part[where]) for part in (words, self._expected[key]))
        missing = int((np.isnan(found) != np.isnan(expected)).sum())
        if missing or not self._scales[key] > 0:
            return f"{missing} values are written by one of them only" if missing else "nothing is written"
        step = 0.0 if key[1] == "gradient" else STEP[launches.form.name]
        wrong = int((np.abs(found - expected) > step * np.abs(expected) + SUMS * self._scales[key]).sum())
        return f"{wrong} values are off by more than their rounding" if wrong else ""


def _largest(values):
    """The largest magnitude of what was written; 0 where nothing was."""
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))


class Noise:
    """Random operands of one trial on the card, each made when it is first asked for."""

    def __init__(self, form, seed=0):
        self._rng, self._made = np.random.default_rng(seed), {}
        values = self._rng.standard_normal(PATTERN).astype(np.float32)
        bits = self._rng.integers(-(2**31), 2**31, PATTERN)
        self._pools = {"float32": _words(values, form), "b": values, "int32": bits}

    def array(self, key, size, kind):
        """The operand known by `key`, whose last part is the argument's name: `size` elements of `kind`."""
        if key not in self._made:
            pool = self._pools["b" if key[-1] == "b" else kind]
            shifted = np.roll(pool, int(self._rng.integers(len(pool))))
            self._made[key] = device.to_device(np.resize(shifted, size).astype(kind))
        return self._made[key]


def _words(values, form):
    """Words of random values, as the format rounds them."""
    if form.packed == 1:
        return values if form.name == "3xtf32" else round_to(values, form.name)
    values = round_to(np.resize(values, 2 * len(values)), form.name)
    if form.name == "fp16":
        return values.astype(np.float16).view(np.float32)
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16).view(np.float32)
