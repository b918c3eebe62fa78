"""The ladder from a CUDA graph to the fused kernel's own plan: what each rung changes, and what limits it then.

Knows rungs by name and their records; must not learn how a stage computes or how anything is measured.
"""

from dataclasses import dataclass

import pandas as pd

from helpers.drawing.charts import SEPARATOR
from helpers.drawing.phase_pictures import draw_phases
from helpers.drawing.system_lines import time_of
from helpers.engines.fused_rung import RUNGS
from helpers.number_text import show_ratio
from helpers.plotting import plot_ladder
from helpers.report import origin
from helpers.results import find_records

RUNG, PHASE = "fused_rung", "fused_phase"  # experiments
CELL = {"network": "lenet5", "dataset": "mnist", "batch_size": 128, "precision": "fp32"}


@dataclass(frozen=True)
class Rung:
    """One rung: its name, what changed against the rung below, what limits it now.

    `plan` makes the Plan of (network, batch, card); None for the graph, which has none.
    """

    name: str
    change: str
    limit: str
    plan: object = None


def _rung(name, change, limit):
    return Rung(name, change, limit, RUNGS[name])


LADDER = (
    Rung("epoch graph", "all kernels of an epoch in one CUDA graph", "every kernel starts, reads memory, ends"),
    _rung("one launch", "one kernel; images stay in shared memory", "long sums, each by one thread; weights from L2"),
    _rung("weights at hand", "dense weights in shared memory", "long sums, each by one thread: most threads wait"),
    _rung("shared sums", "threads share a sum (parallel reduction)", "few warps; a read serves few products"),
    _rung("more from a read", "a read serves more (register blocking)", "few warps: while they wait, nobody computes"),
    _rung("more threads", "more warps take turns (occupancy)", "a step begins with copies; nobody computes"),
    _rung("copies that run on", "no wait for dense weights (async copies)", "reads, barriers, meetings: see below"),
)


def rung_records(records=None):
    """fused_rung records of lenet5 on one card, in the order of the ladder; [] where none was measured."""
    return _in_order(RUNG, records)


def phase_records(records=None):
    """fused_phase records of lenet5 on one card, in the order of a step; [] where none was measured."""
    return _in_order(PHASE, records)


def _in_order(experiment, records):
    return sorted(find_records(records, experiment=experiment, **CELL), key=lambda record: record["position"])


def draw_rungs(records):
    """Chart of the rungs' epoch times, the graph on top.

    Parameters
    ----------
    records : list of dict
        As `rung_records` returns them.

    Returns
    -------
    Chart
    """
    ratio = show_ratio(records[0]["median"] / records[-1]["median"])
    title = f"{records[-1]['network']}: on its last rung one kernel is {ratio} as fast as the graph"
    return plot_ladder(records, title)


def rung_table(records):
    """Every rung with what it changes and what limits it; with an epoch's time where that was measured.

    Parameters
    ----------
    records : list of dict
        As `rung_records` returns them.

    Returns
    -------
    pandas.DataFrame
    """
    times = {record["form"]: time_of(record) for record in records}
    rows = [[times.get(rung.name), rung.change, rung.limit] for rung in LADDER]
    index = pd.Index([rung.name for rung in LADDER], name="rung")
    frame = pd.DataFrame(rows, index, ["one epoch", "what changed", "what limits it now"])
    return frame.dropna(axis=1, how="all")


def draw_measured_phases(records):
    """`draw_phases` of a step as it was measured, above what its arithmetic alone would take.

    Parameters
    ----------
    records : list of dict
        As `phase_records` returns them.

    Returns
    -------
    Chart
    """
    first = records[0]
    blocks = f"median of {first['runs']} blocks"
    parts = first.get("gpu"), f"batch {first['batch_size']}", first["precision"], blocks, origin(first)
    names, cycles = [record["phase"] for record in records], [record["median"] for record in records]
    note = SEPARATOR.join(part for part in parts if part)
    return draw_phases(names, cycles, first["clock_hz"], note, first["floor_cycles"])
