"""Suite "fused": small networks trained by one kernel, against one CUDA graph and the frameworks' forms.

A cell is a file of its own. Must not learn how an engine works.
"""

from helpers.device import gpu_available
from helpers.suites import asking
from helpers.suites.epoch import PROOF_RATES
from helpers.suites.frameworks import ORDINARY_AND_BEST, OURS
from helpers.suites.fused_rungs import WORKLOAD, rung_cells
from helpers.suites.fused_sanitizer import watch
from helpers.suites.fused_start import CACHED, FIRST, starts
from helpers.suites.goal import goal
from helpers.suites.race import SHARED_CACHES, measure
from helpers.suites.rivals import System
from helpers.suites.transfers import measure as count_transfers
from helpers.workers import Workers

EXPERIMENT, TRANSFERS = "small_epoch_time", "small_transfers"
FULL_BATCH = 128  # every form runs at this one; each framework's best ones at the others
FUSED = System("fused", "one kernel for all steps", gpu=True)
BEST = (
    "compile + epoch graph",
    "compile + epoch graph, channels last",
    "scan",
    "scan, command buffers",
    "fit, best settings, backend jax",
    "epoch function",
)
# network, data, batch and the steps whose losses are proven: the oracle takes them on one core
CELLS = (
    ("lenet5", "mnist", 128, 10),
    ("small_cnn", "fashion_mnist", 128, 4),
    ("lenet5", "mnist", 32, 20),
    ("lenet5", "mnist", 512, 4),
    ("lenet5", "mnist", 2048, 2),
)


def cells(quick):
    """A cell for each network and batch, and for what one kernel brings and costs beside that; none without a GPU."""
    if not gpu_available():
        return {}
    workers = Workers(SHARED_CACHES)  # alive until the last cell is measured
    epochs = {
        f"{network}-b{batch}": asking(
            systems(batch), lambda _, cell=(network, data, batch, steps): compare(*cell, workers)
        )
        for network, data, batch, steps in (CELLS[:1] if quick else CELLS)
    }
    if quick:
        return epochs | _costs(quick)
    return epochs | {"goal": lambda _: goal()} | _costs(quick) | rung_cells(workers)


def _costs(quick):
    """Cells that measure the engine alone, on lenet5 and MNIST or on small plans."""
    workload = WORKLOAD | ({"train": 2048, "test": 256} if quick else {})
    runs = {FIRST: 1, CACHED: 1} if quick else None
    return {
        "start": lambda _: starts(FUSED, workload, runs),
        "transfers": lambda _: count_transfers(FUSED, workload, FULL_BATCH, TRANSFERS),
        "sanitizer": lambda _: watch(quick),
    }


def systems(batch_size):
    """Systems of a cell: ours on the card, and frameworks."""
    forms = [system for system in ORDINARY_AND_BEST if batch_size == FULL_BATCH or system.form in BEST]
    return (FUSED, *(system for system in OURS if system.gpu), *forms)


def compare(network, dataset, batch_size, proof_steps, workers=None):
    """Records of one cell: small_epoch_time, and "absent" where a framework's form cannot run here."""
    workload = {"network": network, "dataset": dataset, "rate": PROOF_RATES[network]}
    rivals = systems(batch_size)
    return measure(workload, rivals, batch_size, proof_steps=proof_steps, experiment=EXPERIMENT, workers=workers)
