"""Suite "kernels": the time of every kernel of one training step, against the floor that the card sets for it.

Knows what `layerwise` shows of its step; must not learn how a kernel works.
"""

import numpy as np

from helpers.benchmark import MeasurementError, time_kernel
from helpers.device import device_properties, gpu_available
from helpers.engines import make_engine
from helpers.roofline import floor, operation_work
from helpers.suites.workloads import CIFAR_SHAPES, make_workload

PROOF_STEPS = 20
PASSES = {"_forward": "forward", "_input_gradient": "input gradient", "_weight_gradient": "weight gradient"}


def cells(quick):
    """One cell a network; `quick` takes the tiny one."""
    if not gpu_available():
        return {}
    if quick:
        return {"tiny": lambda _: measure({"network": "tiny", "dataset": "synthetic"}, batch_size=8, runs=2)}
    return {
        "lenet5": lambda _: measure({"network": "lenet5", "dataset": "mnist"}),
        "vgg_small": lambda _: measure({"network": "vgg_small", "dataset": CIFAR_SHAPES}),
    }


def measure(workload, batch_size=128, runs=9):
    """kernel_time records of one step's kernels, in the order of the step.

    Each kernel runs on the step's own arrays, so its data may lie in the cache, as in training. The first losses of
    a fresh run must be the same bit for bit before and after.

    Parameters
    ----------
    workload : dict
        Arguments of `make_workload`.

    Returns
    -------
    list of dict
    """
    work = make_workload(**workload)
    engine = make_engine("layerwise", work.network, work.optimizer, batch_size)
    engine.load(work.dataset)
    before = _first_losses(engine)
    base = {"experiment": "kernel_time", "system": "layerwise", "network": work.network.name, "dataset": work.label}
    base |= {"batch_size": batch_size, "precision": "fp32"}
    records = [{**base, **_measure_one(launch, engine.step.program, batch_size, runs)} for launch in engine.kernels]
    if not np.array_equal(before, _first_losses(engine)):
        raise MeasurementError("the losses changed while kernels were timed: a kernel leaves something behind")
    return records


def _first_losses(engine):
    engine.load_state(engine.initial_state())
    return engine.train(0, 1, min(PROOF_STEPS, engine.steps_per_epoch))


def pass_name(kind):
    """The pass that an operation belongs to: "forward", "input gradient", ..., or its own name in words."""
    return next((words for end, words in PASSES.items() if kind.endswith(end)), kind.replace("_", " "))


def _measure_one(launch, program, batch_size, runs):
    op, kernel, launchable, arrays = launch
    work, properties = operation_work(op, program, batch_size), device_properties()
    timing, least = time_kernel(launchable, arrays, runs=runs, work=work), floor(work, properties)
    record = {
        **{"form": kernel.operation, "layer": op.layer, "pass": pass_name(op.kind), **timing.record("us")},
        **{"gflop": work.flops / 1e9, "megabytes": work.bytes / 1e6, "floor": least.seconds * 1e6},
        **{"limit": least.limit, "roofline_share": least.seconds / timing.median},
        **{"registers": launchable.registers, "blocks": int(np.prod(kernel.grid)), "threads": kernel.threads},
    }
    print(f"  {op.layer} {record['pass']}: {record['median']:.1f} us, {record['roofline_share']:.0%}", flush=True)
    return record
