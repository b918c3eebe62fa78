"""Suite "sanitizer": errors that compute-sanitizer finds while every kernel runs, one record a tool.

The exercise (`python -m helpers.suites.sanitizer`) runs whole training steps and evaluations of the shared networks,
then every operation on the shape classes of the checks. Must not learn what a kernel computes.
"""

import os
import re
import shutil
import subprocess
import sys

from helpers.benchmark import MeasurementError
from helpers.check import CheckError, check
from helpers.checking.shape_classes import shape_classes
from helpers.compiler import load
from helpers.device import gpu_available
from helpers.engines import make_engine
from helpers.kernels.catalogue import MODULES
from helpers.suites.workloads import make_workload

TOOLS = ("memcheck", "racecheck", "synccheck")
SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)")
NETWORKS = (("tiny", "synthetic", 8), ("lenet5", "mnist", 128), ("vgg_small", "CIFAR-10 shapes", 32))


def cells(quick):
    """One cell a tool; none without a GPU."""
    return {tool: lambda _, tool=tool: [measure(tool, quick)] for tool in TOOLS} if gpu_available() else {}


def measure(tool, quick=False):
    """sanitizer record: `median` is the number of errors or hazards that `tool` reports."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise MeasurementError("compute-sanitizer was not found; it is part of the CUDA toolkit, put it on PATH")
    exercise(quick)  # fills the cache of compiled kernels: the tool need not watch the compiler
    command = [program, "--tool", tool, sys.executable, "-m", "helpers.suites.sanitizer", *(["quick"] if quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    found = SUMMARY.search(done.stdout)
    if found is None or "exercised" not in done.stdout:
        raise MeasurementError(f"{tool} gave no verdict: {(done.stdout + done.stderr).strip()[-2000:]}")
    errors, kernels = int(found[1] or found[2]), int(re.search(r"exercised (\d+)", done.stdout)[1])
    print(f"  {tool}: {errors} errors over {kernels} kernels", flush=True)
    record = {"experiment": "sanitizer", "system": "layerwise", "form": tool, "network": "all", "precision": "fp32"}
    return {**record, "unit": "errors", "median": errors, "min": errors, "max": errors, "runs": 1, "kernels": kernels}


def exercise(quick=False):
    """Run every kernel; the number of kernels run. Each operation's results are compared with the oracle as well."""
    load(shape_class_kernels())  # compiled many at a time; the checks then find them
    kernels = 0
    for network, dataset, batch in NETWORKS[: 1 if quick else None]:
        work = make_workload(network, dataset, train=2 * batch, test=batch + 3)
        engine = make_engine("layerwise", work.network, work.optimizer, batch, mode="resident")
        engine.load(work.dataset)
        engine.train(0)
        engine.evaluate("test")
        kernels += len(engine.kernels) + 1  # and the one that collects the metrics
    for kind, mode in operations():
        try:
            kernels += len(check(MODULES[kind].production, kind, mode=mode))
        except CheckError as error:
            sys.exit(f"{kind}: {error}")
    return kernels


def shape_class_kernels(tile=8):
    """The production kernel of every operation on every shape class."""
    return [
        MODULES[kind].production(op, batch)
        for kind, mode in operations()
        for op, batch in shape_classes(kind, tile, mode).values()
    ]


def operations():
    """(kind, pooling mode) of every operation that has a geometry."""
    kinds = [kind for kind in MODULES if kind.startswith(("conv", "dense", "pool"))]
    return [(kind, mode) for kind in kinds for mode in (("max", "average") if kind.startswith("pool") else ("max",))]


if __name__ == "__main__":
    print("exercised", exercise("quick" in sys.argv))
