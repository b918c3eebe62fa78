"""Suite "fused": an epoch of small networks in one kernel, against one CUDA graph and the fastest form of JAX.

A cell is a network and a batch, in a file of its own. Must not learn how an engine works.
"""

from helpers.device import gpu_available
from helpers.suites.epoch import PROOF_RATES
from helpers.suites.frameworks import ORDINARY_AND_BEST, OURS
from helpers.suites.race import SHARED_CACHES, measure
from helpers.suites.rivals import System
from helpers.workers import Workers

EXPERIMENT = "small_epoch_time"
FUSED = System("fused", "one kernel for all steps", gpu=True)
SYSTEMS = (
    FUSED,
    *(system for system in OURS if system.gpu),
    *(system for system in ORDINARY_AND_BEST if system.form == "scan, command buffers"),
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
    """A cell for each network and batch; none without a GPU."""
    if not gpu_available():
        return {}
    workers = Workers(SHARED_CACHES)  # alive until the last cell is measured
    return {
        f"{network}-b{batch}": lambda _, cell=(network, data, batch, steps): compare(*cell, workers)
        for network, data, batch, steps in (CELLS[:1] if quick else CELLS)
    }


def compare(network, dataset, batch_size, proof_steps, workers=None):
    """Records of one cell: small_epoch_time, and "absent" where JAX cannot run here."""
    workload = {"network": network, "dataset": dataset, "rate": PROOF_RATES[network]}
    return measure(workload, SYSTEMS, batch_size, proof_steps=proof_steps, experiment=EXPERIMENT, workers=workers)
