"""Suites: what is measured, as named cells that give records. A suite resumes where it stopped and is written whole.

Knows result files; must not learn how a cell measures. Each module here offers
`cells(quick) -> {key: function of the records so far -> list of records}`.
"""

import json
from importlib import import_module
from pathlib import Path

from helpers.atomic import write_atomically
from helpers.benchmark import MeasurementError
from helpers.results import RESULTS, ROOT, describe_environment, write_results

SUITES = ("epoch", "baselines", "accuracy", "kernels", "compile", "transfers", "sanitizer")
OUTPUT = ROOT / "output"
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
    cells = import_module(f"helpers.suites.{name}").cells(quick) if cells is None else cells
    if not cells:
        raise MeasurementError(f"suite {name!r} measures the card, and there is none; run it on a machine with a GPU")
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


def _resume(path, environment):
    """Cells of an interrupted run; {} where there is none, or it had other code, packages or another machine."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = all(before["environment"].get(key) == environment.get(key) for key in SAME)
    return before["done"] if same else {}
