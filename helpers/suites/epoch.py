"""Suite "epoch": the time of one training epoch by the project's own engines, rivals in turns.

Must not learn how an engine works.
"""

from helpers.suites.race import measure
from helpers.suites.rivals import System
from helpers.suites.workloads import cifar10_or_shapes

# slow enough that rounding is not amplified from step to step; the time of a step is the same
PROOF_RATES = {"lenet5": 0.003, "small_cnn": 0.003, "vgg_small": 0.0001}

TINY = {"network": "tiny", "dataset": "synthetic"}

SYSTEMS = (
    System("loops", "plain Python", {"compiled": False}, slice_batch={"lenet5": 8, "tiny": 2}, skips=("vgg_small",)),
    System("loops", "njit, one core", {"compiled": True}, slice_batch={"vgg_small": 16}),
    System("vectorized", "BLAS, all cores"),
    System("layerwise", "copy per batch", {"mode": "copy per batch"}, gpu=True, skips=("vgg_small",)),
    System("layerwise", "resident", {"mode": "resident"}, gpu=True, skips=("vgg_small",)),
    System("layerwise", "epoch graph", {"mode": "graph"}, gpu=True),
)


def cells(quick):
    """One cell a network: lenet5 on MNIST, vgg_small on CIFAR-10 or its shapes."""
    if quick:
        small = {"network": "lenet5", "dataset": "mnist", "train": 1024, "test": 256}
        return {"lenet5": lambda _: measure(small, SYSTEMS, runs=2),
                "tiny": lambda _: measure(TINY, SYSTEMS, batch_size=8, runs=2)}  # fmt: skip
    lenet5 = {"network": "lenet5", "dataset": "mnist", "rate": PROOF_RATES["lenet5"]}
    vgg_small = {"network": "vgg_small", "dataset": cifar10_or_shapes(), "rate": PROOF_RATES["vgg_small"]}
    return {"lenet5": lambda _: measure(lenet5, SYSTEMS),
            "vgg_small": lambda _: measure(vgg_small, SYSTEMS, proof_steps=5)}  # fmt: skip
