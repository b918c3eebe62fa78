"""Suite "activity": how many kernels a step of each system is, and how long they keep the card busy.

The driver counts, not the systems. Must not learn how an engine works.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from helpers.device import gpu_available
from helpers.suites.epoch import PROOF_RATES
from helpers.suites.frameworks import ORDINARY_AND_BEST, OURS
from helpers.suites.race import SHARED_CACHES
from helpers.suites.rivals import Absent, enter
from helpers.suites.workloads import cifar10_or_shapes, make_workload
from helpers.workers import WorkerError, Workers

BATCH, STEPS = 128, 20
# the host feeds Keras, so that its kernels alone say little; of a graph with a loop in it (JAX's command buffers) the
# driver records some kernels only
SYSTEMS = tuple(s for s in OURS if s.gpu) + tuple(
    s for s in ORDINARY_AND_BEST if s.engine != "keras" and "command buffers" not in s.form
)


def cells(quick):
    """A cell for each network; none without a GPU."""
    if not gpu_available():
        return {}
    data = {"lenet5": "mnist"} if quick else {"lenet5": "mnist", "vgg_small": cifar10_or_shapes()}
    works = {name: {"network": name, "dataset": data[name], "rate": PROOF_RATES[name]} for name in data}
    systems = SYSTEMS[:1] if quick else SYSTEMS
    return {name: lambda _, work=work: acted(work, systems) for name, work in works.items()}


def acted(workload, systems, batch_size=BATCH, steps=STEPS):
    """Records of experiment "activity" of the systems that can run here.

    Parameters
    ----------
    workload : dict
        Arguments of `make_workload`.
    systems : sequence of System
        Made at once, then asked one by one, when no other works.
    batch_size, steps : int

    Returns
    -------
    list of dict
        `median` is the number of kernels a step, `busy_seconds` what they take of the card in a step, `longest` names
        those that take the most of it.
    """
    work, records = make_workload(**workload), []
    base = {"network": work.network.name, "dataset": work.label, "batch_size": batch_size, "precision": "fp32"}
    with closing(Workers(SHARED_CACHES)) as workers, ThreadPoolExecutor(len(systems)) as pool:
        lent = {system: workers.take(system.name, system.environment) for system in systems}
        made = {system: pool.submit(enter, lent[system], system, workload, batch_size) for system in systems}
        for system in systems:
            try:
                made[system].result()
                records.append({**base, **_counted(system, lent[system], steps)})
            except (Absent, WorkerError) as reason:
                if not system.framework:
                    raise
                print(f"  {system.name} is left out: {str(reason).splitlines()[0]}", flush=True)
    return records


def _counted(system, worker, steps):
    for _ in range(2):  # compiles, captures
        worker.call("train", epoch=0, steps=steps)
    seen = worker.call("activity", epoch=0, steps=steps)
    kernels, busy = seen["kernels"] / steps, seen["busy_seconds"] / steps
    print(f"  {system.name}: {kernels:.1f} kernels a step, the card is busy for {1e6 * busy:.1f} us", flush=True)
    counted = {"unit": "kernels", "median": kernels, "min": kernels, "max": kernels, "runs": 1, "steps": steps}
    return {"experiment": "activity", **system.named, **counted, "busy_seconds": busy, "longest": seen["longest"]}
