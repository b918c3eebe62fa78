"""Ladders: versions of one operation, numbered, each checked against the oracle and timed where there is a GPU.

Knows operations, the checker, the tracer and the clock; must not learn how a kernel works. A rung is a factory like
any other, written wherever its reader wants to change it.
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import device
from helpers.check import Loaded, check_made, compare
from helpers.checking.kernel_arrays import fit_arrays
from helpers.checking.oracle_cases import make_case
from helpers.compiler import compile_ptx, load
from helpers.lowering import lower
from helpers.report import say
from helpers.results import RESULTS, find_records, write_results
from helpers.roofline import floor, operation_work
from helpers.teaching.planes import plane_problems
from helpers.trace import trace

SMALL_TILE, TILE = 3, 8  # cells of a shape class along an axis: in the tracer, on the card
LAUNCHES, GRAPH_SECONDS = 50, 0.02  # of one timed graph, whichever is less
RIGHT = "Rung {rung}, {form}: right on {shapes} shapes, at most {percent:.0f} % of the allowed error."
TIMED = (
    "{gpu}, {layer} of {network}, batch {batch_size}: {median:,.1f} {unit}, {share:.1f} % of the roofline{gain} "
    "({origin})."
)
FINDING = (
    "{gpu}, {layer} of {network}, batch {batch_size}: {form} takes {median:,.1f} {unit}, {ratio:.1f} times less than "
    "{baseline}, and reaches {share:.1f} % of the roofline ({origin})."
)
COLUMNS = {
    **{"rung": "rung", "form": "name", "change": "what changed", "median": "time, us", "share": "% of roofline"},
    **{"registers": "registers", "blocks": "blocks", "threads": "threads"},
}
# arithmetic of PTX that a float32 kernel with small indices does not need
WIDE = {
    "float64 instructions": r"(?m)^\s*(?!ld|st|mov)\S+\.f64\b",
    "64-bit integer instructions": r"(?m)^\s*(?:add|sub|mul|mad|div|rem|shl|shr|and|or|setp)\S*\.[subp]64\b",
}


@dataclass
class Rung:
    """One version: its factory and options, what changed, and its measurement (None without a GPU)."""

    factory: object
    options: dict
    change: str
    record: dict | None


class Ladder:
    """The rungs of one operation, measured on one layer.

    Parameters
    ----------
    kind : str
        Operation, e.g. "conv_forward".
    network : Network
    layer : str
        The layer, e.g. "conv4", whose shapes are timed.
    batch : int
        Images of the timed launch.
    runs : int
        Timed runs.

    Raises
    ------
    ValueError
        If the network has no such operation.
    """

    def __init__(self, kind, network, layer, batch=128, runs=9):
        self.kind, self.network, self.layer, self.batch, self.runs = kind, network, layer, batch, runs
        self.program, self.rungs = lower(network), {}
        found = [op for op in self.program.ops if (op.kind, op.layer) == (kind, layer)]
        if not found:
            known = ", ".join(op.layer for op in self.program.ops if op.kind == kind)
            raise ValueError(f"{network.name} has no {kind} in {layer!r}; layers with it: {known or 'none'}")
        self.op = found[0]
        self.shape = None if self.op.geometry else self.program.tensors[self.op.inputs[0]].shape

    def climb(self, factory, change, traced=None, **options):
        """Check `factory` on every shape class, time it where there is a GPU, print both; a name climbs once.

        Parameters
        ----------
        factory : callable
            `factory(op, batch, **options) -> Kernel`.
        change : str
            What is new against the rung before, for the table.
        traced : dict, optional
            Options of smaller tiles, for the check by the tracer.

        Raises
        ------
        CheckError, TraceError
            If the kernel is wrong; it then is no rung.
        """
        percent = self.check(factory, traced, **options)
        record = self._time(factory, options) if device.gpu_available() else None
        name = factory.__name__
        self.rungs[name] = Rung(factory, options, change, record)
        say(RIGHT, rung=self._number(name), form=name, percent=percent, shapes=len(self.problems))
        self._say_time(name)

    def check(self, factory, traced=None, **options):
        """Largest error of `factory` over the shape classes, in % of the allowed one; raises where it is more.

        On the card the compiled kernel runs; without one the tracer runs its body and tests every access.
        """
        on_card = device.gpu_available()
        if not on_card:
            options = {**options, **(traced or {})}
        cases = [(_make(factory, *problem, options), *problem) for problem in self.problems.values()]
        runner = Loaded([kernel for kernel, *_ in cases]) if on_card else trace
        return max(check_made(kernel, op, batch, runner=runner, shape=shape) for kernel, op, batch, shape in cases)

    def records(self):
        """Records of the rungs in order: measured here, or else those that are committed; empty without either."""
        here = [
            {"gpu": device.device_properties().name, **rung.record, "form": name, "change": rung.change}
            | {"rung": self._number(name)}
            for name, rung in self.rungs.items()
            if rung.record
        ]
        found = here or find_records(experiment="ladder_time", operation=self.kind)
        return [{**record, "share": 100 * record["roofline_share"]} for record in found]

    def table(self):
        """Rungs in order: what changed, time, share of the roofline, registers, launch shape.

        Returns
        -------
        pandas.DataFrame
            Whole texts and plain numbers; how wide a notebook shows them is not decided here.
        """
        climbed = [{"rung": self._number(name), "form": name, "change": r.change} for name, r in self.rungs.items()]
        frame = pd.DataFrame(self.records() or climbed, columns=None)
        frame = frame[[name for name in COLUMNS if name in frame]].rename(columns=COLUMNS)
        return frame.set_index("rung").round({"time, us": 1, "% of roofline": 1})

    def finding(self):
        """Print the last rung's time against the first one's."""
        records = self.records()
        if len(records) < 2:
            say("{kind}: times need a GPU; this ladder has not been measured on any card yet.", kind=self.kind)
            return
        first, last = records[0], records[-1]
        say(FINDING, last, baseline=first["form"], ratio=first["median"] / last["median"])

    def dissect(self, *names):
        """Table of registers, float64 and 64-bit integer instructions in the code of rungs; needs a GPU or records."""
        for name in names:
            rung = self.rungs[name]
            if rung.record:
                ptx = compile_ptx(
                    _make(rung.factory, self.op, self.batch, self.shape, rung.options), device.capability()
                )
                rung.record |= {what: len(re.findall(pattern, ptx)) for what, pattern in WIDE.items()}
        rows = [r for r in self.records() if r["form"] in names and set(WIDE) <= set(r)]
        if not rows:
            print("Registers and instructions need a GPU; they have not been counted on any card yet.")
            return None
        return pd.DataFrame(rows, columns=["form", "registers", *WIDE]).set_index("form")

    def save(self):
        """Write what was measured here to the folder CNN_RESULTS, or data/results; nothing where nothing was."""
        if any(rung.record for rung in self.rungs.values()):
            folder = Path(os.environ.get("CNN_RESULTS", RESULTS))
            print(f"wrote {write_results(f'ladder-{self.kind}', self.records(), folder=folder).name}")

    def plot(self):
        """Chart of the rungs' times, or None with a sentence where nothing was measured."""
        from helpers.plotting import plot_ladder

        records = self.records()
        if not records:
            print("No chart: this ladder has not been measured on any card yet.")
            return None
        return plot_ladder(records)

    @cached_property
    def problems(self):
        """{shape class: (Op, batch, shape)} on which every rung is checked."""
        return plane_problems(self.kind, TILE if device.gpu_available() else SMALL_TILE)

    @cached_property
    def _case(self):
        """The problem that is timed; its result is compared again after the timing."""
        return make_case(self.op, self.batch, shape=self.shape)

    def _number(self, name):
        return list(self.rungs).index(name)

    def _say_time(self, name):
        records = self.records()
        at = next((i for i, record in enumerate(records) if record["form"] == name), None)
        if at is None:
            print("Times need a GPU; this rung has not been measured on any card yet.")
            return
        faster = records[at - 1]["median"] / records[at]["median"]
        gain = f", {faster:.2f} times as fast as the rung before" if at else ""
        say(TIMED, records[at], gain=gain)

    def _time(self, factory, options):
        """Record of a rung's time on the ladder's layer."""
        from helpers.benchmark import time_kernel

        kernel = _make(factory, self.op, self.batch, self.shape, options)
        (run,) = load([kernel])
        arrays = {name: device.to_device(host) for name, host in fit_arrays(kernel, self._case).items()}
        work, properties = operation_work(self.op, self.program, self.batch), device.device_properties()
        once = time_kernel(run, list(arrays.values()), launches=1, runs=1).median
        launches = max(1, min(LAUNCHES, int(GRAPH_SECONDS / once)))
        timing = time_kernel(
            *(run, list(arrays.values())), launches=launches, runs=self.runs, work=work,
            verify=lambda: self._verify(kernel, run, arrays),
        )  # fmt: skip
        least = floor(work, properties)
        return {
            **{"experiment": "ladder_time", "system": "kernel", "operation": self.kind, "network": self.network.name},
            **{"layer": self.layer, "pass": self.kind.replace("_", " "), "batch_size": self.batch},
            **{"precision": "fp32", **timing.record("us"), "floor": least.seconds * 1e6, "limit": least.limit},
            **{"roofline_share": least.seconds / timing.median, "registers": run.registers},
            **{"blocks": int(np.prod(kernel.grid)), "threads": kernel.threads},
        }

    def _verify(self, kernel, run, arrays):
        """Raise CheckError where the timed launches left a wrong result, or one more leaves poison in the outputs."""

        def compare_now(when):
            hosts = {name: device.to_host(array) for name, array in arrays.items()}
            compare(kernel, self._case, hosts, f"{self.kind} {when}")

        compare_now("after the timed launches")
        fresh = fit_arrays(kernel, self._case)
        for name in self._case.wanted:  # scratch stays: a kernel must not find its work done there
            device.write(arrays[name], fresh[name])
        run(*arrays.values())
        compare_now("after one more launch, on poisoned outputs")


def _make(factory, op, batch, shape, options):
    return factory(op, batch, *([shape] if shape else []), **options)


def observe(factory, op, batch=1, **options):
    """Trace of a rung on random data of a small `op`: what each block and thread reads and writes.

    Returns
    -------
    Trace
    """
    kernel = factory(op, batch, **options)
    return trace(kernel, *fit_arrays(kernel, make_case(op, batch)).values())


def say_epochs(histories):
    """Print the time of the last epoch of each run, {name: History}, against the first run; without a GPU say so."""
    if not device.gpu_available():
        print("Times need a GPU; the losses above were computed in the simulator.")
        return
    seconds = {name: history.seconds[-1] for name, history in histories.items()}
    baseline = next(iter(seconds.values()))
    for name, epoch in seconds.items():
        say("{name}: {ms:.1f} ms an epoch, {ratio:.2f} of the first", name=name, ms=1e3 * epoch, ratio=epoch / baseline)
