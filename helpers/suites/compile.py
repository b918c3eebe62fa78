"""Suite "compile": seconds until an engine's kernels are ready, with an empty cache and with a full one.

Knows the cache's environment variable; must not learn how kernels are compiled.
"""

import tempfile

from helpers.benchmark import summarise
from helpers.device import gpu_available
from helpers.suites.workloads import CIFAR_SHAPES, make_workload
from helpers.workers import Worker

RUNS = 3


def cells(quick):
    """One cell a network; none without a GPU, where nothing is compiled for one."""
    if not gpu_available():
        return {}
    workloads = {"lenet5": {"network": "lenet5", "dataset": "mnist"}}
    if not quick:
        workloads["vgg_small"] = {"network": "vgg_small", "dataset": CIFAR_SHAPES}
    runs = {"lenet5": 1 if quick else RUNS, "vgg_small": 1}  # half a minute each
    return {name: lambda _, name=name, work=work: measure(work, runs[name]) for name, work in workloads.items()}


def measure(workload, runs=RUNS, batch_size=128):
    """compile_time records: fresh processes, each pair with a cache folder of its own.

    Returns
    -------
    list of dict
    """
    seconds = {"empty cache": [], "full cache": []}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            for times in seconds.values():  # the second process finds what the first one compiled
                times.append(_compile_seconds(workload, batch_size, folder))
    work = make_workload(**workload)
    base = {"experiment": "compile_time", "system": "layerwise", "network": work.network.name, "dataset": work.label}
    base |= {"batch_size": batch_size, "precision": "fp32"}
    return [{**base, "form": form, **summarise(times).record("s")} for form, times in seconds.items()]


def _compile_seconds(workload, batch_size, folder):
    settings = {"batch_size": batch_size, "precision": "fp32", "seed": 0}
    with Worker(environment={"CNN_CACHE": folder}) as worker:
        return worker.call("make", engine="layerwise", workload=workload, **settings)["compile_seconds"]
