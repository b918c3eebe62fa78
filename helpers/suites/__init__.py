"""Suites: what is measured, as named cells that give records; the file of a suite, or of a cell, is written whole.

Knows result files; must not learn how a cell measures. Each module here offers
`cells(quick) -> {key: function of the records so far -> list of records}`.
"""

import json
import time
from functools import partial
from importlib import import_module
from math import inf
from pathlib import Path

from helpers.atomic import write_atomically
from helpers.benchmark import MeasurementError
from helpers.device import gpu_available
from helpers.kernels.tensor.tables import TILES
from helpers.measured_code import changes
from helpers.results import RESULTS, ROOT, describe_environment, write_results
from helpers.startup import short_name

SUITES = (
    "epoch",
    "baselines",
    "accuracy",
    "kernels",
    "compile",
    "transfers",
    "sanitizer",
    "frameworks",
    "costs",
    "growth",
    "activity",
    "fused",
    "tune",
)
OUTPUT = ROOT / "output"
# a file a cell, for no cell needs the records of another; on a card only, for without one they would take hours
BY_CELL = ("frameworks", "costs", "growth", "activity", "fused", "tune")
FOLDERS = {"tune": TILES}  # of a suite's files, where they are no measurement files; it refuses to run by itself
NO_CARD = "suite {!r} measures the card, and there is none; run it on a machine with a GPU, or try --quick"
FAILURES = (AssertionError, RuntimeError)  # a loss outside its bound, a figure beyond the card, a process that ended
SAME = ("gpu", "driver", "cpu", "cores", "packages", "code_digest")  # what must not change within one file


def run_suite(name, quick=False, folder=None, cells=None):
    """Measure every cell of a suite and write its file.

    Parameters
    ----------
    name : str
        One of `SUITES`.
    quick : bool
        Small sizes; written to output/quick unless `folder` says otherwise.
    folder : path, optional
        Of the result; data/results by default.
    cells : dict, optional
        Instead of the suite's own.

    Returns
    -------
    Path
        The file written: <gpu>-<suite>.json.

    Raises
    ------
    MeasurementError
        If the suite needs a card and there is none.
    """
    environment = describe_environment()
    cells = _cells_of(name, quick) if cells is None else cells
    if not cells:
        raise MeasurementError(NO_CARD.format(name))
    folder = Path(folder or (OUTPUT / "quick" if quick else RESULTS))
    progress = OUTPUT / f"{name}{'-quick' if quick else ''}.partial.json"
    done = _resume(progress, environment)
    for key, cell in cells.items():
        if key in done:
            print(f"{name}: {key}: measured before, kept", flush=True)
            continue
        print(f"{name}: {key}", flush=True)
        done[key] = cell([record for records in done.values() for record in records])
        write_atomically(progress, json.dumps({"environment": environment, "done": done}))
    path = write_results(name, [record for key in cells for record in done[key]], environment, folder)
    progress.unlink(missing_ok=True)
    return path


def _cells_of(name, quick):
    """A suite's own cells."""
    if name in BY_CELL and name not in FOLDERS and not quick and not gpu_available():
        raise MeasurementError(NO_CARD.format(name))
    return import_module(f"helpers.suites.{name}").cells(quick)


def run_cells(name, quick=False, folder=None, only=(), seconds=inf, cells=None):
    """Measure cells of a suite, each written to a file of its own: <gpu>-<suite>-<cell>.json.

    A cell whose file is there, from this machine and current, is kept, unless it asks for other systems now. One with
    an attribute `keep(what it gives, environment, folder) -> Path` writes by that, and is measured again each time.

    Parameters
    ----------
    name, quick, folder, cells
        As in `run_suite`.
    only : sequence of str
        Cells to measure, again where they were before; all that are missing by default.
    seconds : float
        No cell is begun later than this after the start.

    Returns
    -------
    list of Path
        Files written.

    Raises
    ------
    ValueError
        For a cell that the suite does not have.
    MeasurementError
        After the last cell, where one failed.
    """
    environment, started, written, failed = describe_environment(), time.monotonic(), [], []
    cells = _cells_of(name, quick) if cells is None else cells
    if unknown := [key for key in only if key not in cells]:
        raise ValueError(f"suite {name!r} has no cell {unknown[0]!r}; it has {', '.join(cells)}")
    folder = Path(folder or (OUTPUT / "quick" if quick else FOLDERS.get(name, RESULTS)))
    for key in only or cells:
        if not only and _is_current(
            folder / f"{short_name(environment['gpu'])}-{name}-{key}.json", environment, cells[key]
        ):
            print(f"{name}: {key}: measured before, kept; --only {key} measures it again", flush=True)
        elif time.monotonic() - started > seconds:
            print(f"{name}: {key}: left for the next run", flush=True)
        else:
            print(f"{name}: {key}", flush=True)
            try:
                keep = getattr(cells[key], "keep", partial(write_results, f"{name}-{key}"))
                written.append(keep(cells[key]([]), environment, folder))
            except FAILURES as error:  # the others need not suffer for it
                print(f"{name}: {key}: failed: {error}", flush=True)
                failed.append(key)
    if failed:
        raise MeasurementError(f"{', '.join(failed)} failed, for the reasons above; the same command tries again")
    return written


def asking(systems, cell):
    """`cell`, a function, known to measure these systems: its file is not kept once it asks for others."""
    cell.asks = {(system.engine, system.form) for system in systems}
    return cell


def _is_current(path, environment, cell):
    """Whether a file is there from this machine, these packages and code that today's has only added to."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    before, measured = content["environment"], {(r["system"], r.get("form")) for r in content["records"]}
    if getattr(cell, "asks", measured) != measured:
        return False
    same = all(before.get(key) == environment.get(key) for key in SAME if key != "code_digest")
    return same and not changes(before["code_digest"], path.parent)


def _resume(path, environment):
    """Cells of an interrupted run; {} where there is none, or it had other code, packages or another machine."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = all(before["environment"].get(key) == environment.get(key) for key in SAME)
    return before["done"] if same else {}
