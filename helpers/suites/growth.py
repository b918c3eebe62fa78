"""Suite "growth": an epoch's time against batch, image size, channels, depth and size of the data set, one at a time.

The network is a plain one whose convolutions have equally many filters, so that one number says how large it is.
Must not learn how an engine works.
"""

from functools import partial

from helpers.device import device_properties, gpu_available
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.measured_programs import GROWN, PLAIN
from helpers.roofline import roofline
from helpers.suites.frameworks import ORDINARY_AND_BEST, OURS
from helpers.suites.race import SHARED_CACHES, measure
from helpers.suites.workloads import make_workload
from helpers.workers import Workers

# what stays when another one grows; sizes small enough for a card of 16 GB
BASE = {"batch": 128, **PLAIN, "samples": 6_400}
VALUES = {"batch": (16, 64, 256, 1024), **GROWN, "samples": (1_600, 12_800, 25_600)}
PROOF_STEPS, RATE = 2, 1e-4
BEST = {("pytorch", "epoch graph"), ("jax", "scan, command buffers")}
SYSTEMS = (
    *(system for system in OURS if system.engine != "loops"),
    *(system for system in ORDINARY_AND_BEST if (system.engine, system.form) in BEST),
)


def cells(quick):
    """One cell for the base, a point of every line, and one for each thing that grows."""
    if quick:
        small = {"batch": 4, "size": 6, "channels": 2, "depth": 1, "samples": 16}
        return {"depth": lambda _: grown("depth", 1, SYSTEMS[:1], small, runs=2)}
    measured = partial(grown, workers=Workers(SHARED_CACHES))  # alive until the last cell is measured
    found = {"base": lambda _: _of_all(measured("batch", BASE["batch"]))}
    return found | {
        by: lambda _, by=by: [record for value in VALUES[by] for record in measured(by, value)] for by in VALUES
    }


def _of_all(records):
    """The base's records once for each thing that grows: it is a point of every line."""
    return [{**record, "by": by, "value": BASE[by]} for by in VALUES for record in records]


def grown(by, value, systems=SYSTEMS, base=BASE, runs=7, workers=None):
    """Records of experiment "growth": `by` says what grew, `value` to what; `floor` is the card's limit, in ms.

    Parameters
    ----------
    by : {"batch", "size", "channels", "depth", "samples"}
    value : int
    systems : sequence of System
    base : dict
        Sizes of all that does not grow.
    runs : int
    workers : Workers, optional
        As in `Race`.

    Returns
    -------
    list of dict
    """
    print(f"  {by} {value}", flush=True)
    sizes = {**base, by: value}
    network = {"channels": sizes["channels"], "depth": sizes["depth"]}
    workload = {"network": network, "dataset": {"size": sizes["size"], "samples": sizes["samples"]}, "rate": RATE}
    records = measure(workload, systems, sizes["batch"], runs, PROOF_STEPS, experiment="growth", workers=workers)
    added = {"by": by, "value": value}
    if gpu_available():
        added["floor"] = 1e3 * floor_seconds(workload, sizes["batch"])
    return [{**record, **added} for record in records]


def floor_seconds(workload, batch_size, properties=None):
    """Least seconds of an epoch on a card: each operation of a step, fused with its neighbours, at its roofline."""
    work, properties = make_workload(**workload), properties or device_properties()
    program = fuse_pool(fuse_relu(lower(work.network)))
    step = sum(roofline(op, program, batch_size, properties).seconds for op in program.ops)
    return step * (len(work.dataset.train_labels) // batch_size)
