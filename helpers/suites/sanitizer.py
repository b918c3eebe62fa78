"""Suite "sanitizer": compute-sanitizer watches every kernel run; one record a tool that finds nothing, else an error.

The exercise (`python -m helpers.suites.sanitizer`) trains and evaluates the shared networks launch by launch, then
runs every operation on the shape classes of the checks. Must not learn what a kernel computes.
"""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib import import_module

from helpers.benchmark import MeasurementError
from helpers.checking.production import ProductionChecks, operations
from helpers.device import gpu_available
from helpers.engines import make_engine
from helpers.results import ROOT
from helpers.suites import OUTPUT
from helpers.suites.workloads import make_workload

TOOLS = ("memcheck", "synccheck", "racecheck")
LIMIT_SECONDS = 180.0  # of one tool
# Failed calls of the driver are not reported: device.call raises on them, while the driver's bindings ask at their
# import for functions that an older driver lacks. The timeout is that of the first call, behind Python's imports.
OPTIONS = ("--target-processes=all", "--launch-timeout=0", "--report-api-errors=no")
# at the end of a line: a further "ERROR SUMMARY" tells how many errors were not printed
SUMMARY = re.compile(r"(?m)ERROR SUMMARY: (\d+) errors?$|RACECHECK SUMMARY: (\d+) hazards? displayed")
EXERCISED = re.compile(r"(?m)^exercised (\d+) kernels$")
FINDING = re.compile(r"(?m)^=+ (?!COMPUTE-SANITIZER)(\S.*)$")
NETWORKS = (("tiny", "synthetic", 8), ("lenet5", "mnist", 128), ("vgg_small", "CIFAR-10 shapes", 32))


@dataclass(frozen=True)
class Exercise:
    """What the tools watch: a program, and what its records say.

    `module` is started by name; its function exercise(quick) raises an AssertionError where a kernel is wrong and
    returns how many ran, which the program prints in the end.
    """

    module: str
    experiment: str
    system: str
    network: str


LAYERS = Exercise("helpers.suites.sanitizer", "sanitizer", "layerwise", "all")


def cells(quick):
    """One cell a tool; none without a GPU."""
    return {tool: lambda _, tool=tool: [measure(tool, quick)] for tool in TOOLS} if gpu_available() else {}


def measure(tool, quick=False, watched=LAYERS):
    """A record of an Exercise: `median` is the number of errors that `tool` reports, 0; `kernels` is what it watched.

    Raises
    ------
    MeasurementError
        If the tool is missing, reports an error or a hazard, ends without a verdict or runs past its time; what it
        printed is then kept in output/.
    """
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise MeasurementError("compute-sanitizer was not found; it is part of the CUDA toolkit, put it on PATH")
    _rehearse(watched.module, quick)
    log = OUTPUT / f"{watched.experiment}-{tool}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    exercised = [sys.executable, "-m", watched.module, *(["quick"] if quick else [])]
    status = _watch([program, "--tool", tool, *OPTIONS, *exercised], log)
    kernels = _kernels_without_error(tool, status, log)
    log.unlink()
    print(f"  {tool}: no error over {kernels} kernels", flush=True)
    named = {"experiment": watched.experiment, "system": watched.system, "network": watched.network}
    record = {**named, "form": tool, "precision": "fp32", "unit": "errors", "kernels": kernels}
    return {**record, "median": 0, "min": 0, "max": 0, "runs": 1}


@functools.cache
def _rehearse(module, quick):
    """The exercise without a tool: proves it right, and fills the cache, so that no tool need watch the compiler."""
    try:
        import_module(module).exercise(quick)
    except AssertionError as error:
        raise MeasurementError(f"a kernel is wrong before any tool watches it: {error}") from error


def _watch(command, log):
    """Run a tool, its output in the file `log`, the exercise's own lines on the terminal too.

    Returns
    -------
    int or None
        Exit status; None where the time limit ended it.
    """
    process = subprocess.Popen(
        *(command,), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,  # the tool and the program it watches end together
    )  # fmt: skip
    late = threading.Event()
    timer = threading.Timer(LIMIT_SECONDS, lambda: (late.set(), _end(process)))
    timer.start()
    try:
        with log.open("w", encoding="utf-8") as file, process.stdout:
            for line in process.stdout:
                file.write(line)
                if not line.startswith("="):
                    print(f"    {line.rstrip()}", flush=True)
        status = process.wait()
    finally:
        timer.cancel()
        _end(process)
    return None if late.is_set() else status


def _end(process):
    with contextlib.suppress(ProcessLookupError):  # where all of them have ended
        os.killpg(process.pid, signal.SIGKILL)


def _kernels_without_error(tool, status, log):
    """Number of kernels that `tool` watched; MeasurementError unless its output is a whole verdict without errors."""
    output = log.read_text(encoding="utf-8")
    lines = output.strip().splitlines() or ["nothing"]
    summary, exercised = SUMMARY.search(output), EXERCISED.search(output)
    errors = int(summary[1] or summary[2]) if summary else 0
    if errors:
        what = f"reports errors ({errors}), the first: {FINDING.search(output)[1]!r}"
    elif status is None:
        what = f"was stopped after {LIMIT_SECONDS:g} s, its limit; the last it printed: {lines[-1]!r}"
    elif status or not summary or not exercised:
        what = f"gave no verdict and ended with status {status}; the last it printed: {lines[-1]!r}"
    else:
        return int(exercised[1])
    raise MeasurementError(f"{tool} {what}; all of its output is in {log}")


def exercise(quick=False):
    """Run every kernel and compare every operation with the oracle.

    Returns
    -------
    int
        Kernels run.

    Raises
    ------
    CheckError
    """
    kernels = 0
    for network, dataset, batch in NETWORKS[: 1 if quick else None]:
        work = make_workload(network, dataset, train=2 * batch, test=batch + 3)
        engine = make_engine("layerwise", work.network, work.optimizer, batch, mode="resident")
        engine.load(work.dataset)
        engine.train(0)
        engine.evaluate("test")
        kernels += len(engine.kernels) + 1  # and the one that collects the metrics
        print(f"{network}: trained and evaluated, {kernels} kernels so far", flush=True)
    checks = ProductionChecks()
    for kind, mode in operations():
        kernels += checks.check(kind, mode)
        print(f"{kind}, {mode}: right, {kernels} kernels so far", flush=True)
    return kernels


if __name__ == "__main__":
    print("exercised", exercise("quick" in sys.argv), "kernels", flush=True)
