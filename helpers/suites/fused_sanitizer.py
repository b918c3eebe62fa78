"""compute-sanitizer on the kernel that trains whole epochs: small plans of each way to keep and to copy parameters.

The exercise (`python -m helpers.suites.fused_sanitizer`) trains a few steps by each plan, all in one launch. Must not
learn what a stage computes.
"""

import sys

from helpers import device
from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import small_plans
from helpers.compiler import load
from helpers.data import synthetic
from helpers.device import SIMULATOR
from helpers.engines import make_engine
from helpers.engines.fused import INTERPRETED
from helpers.kernels.fused.epoch import epoch_kernel
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import card_of, plan_epoch
from helpers.optimizers import SGD
from helpers.suites.sanitizer import TOOLS, Exercise, measure

EXPERIMENT = "small_sanitizer"
ONE_KERNEL = Exercise("helpers.suites.fused_sanitizer", EXPERIMENT, "fused", "small plans")
BLOCKS, BATCH, STEPS, THREADS = 16, 32, 3, 128  # a block has two images of a batch
PATIENCE = 1 << 30  # looks for a late block: under a tool all of them are late, and its time limit ends what hangs
OPTIMIZER = SGD(0.02, momentum=0.9)
NETWORKS = small_plans()
# by what is peculiar: the network, and a block's memory in bytes; where weights are shared, two groups share a layer's
RESIDENT = "resident weights"
PLANS = {
    RESIDENT: (NETWORKS["two convolutions"], 48 * 1024),
    "streamed weights": (NETWORKS["dense layers"], 7_000),
    "shared weights": (NETWORKS["a large dense layer"], 65_000),
    "every activation": (NETWORKS["every activation"], 48 * 1024),
}
# compute capabilities, by how parameters are copied
COPIES = {"bulk": (9, 0), "asynchronous": (8, 0), "plain": (7, 5)}


def plans(card, quick=False):
    """The plans to watch on a card.

    Parameters
    ----------
    card : Card
    quick : bool
        The first one only.

    Returns
    -------
    dict of (kind, copies) to Plan
        Each of PLANS by the card's own copies, where its memory suffices; resident weights by those of older cards as
        well.
    """
    known = {copies: capability for copies, capability in COPIES.items() if capability <= card.capability}
    fitting = [(kind, card.copies) for kind, (_, memory) in PLANS.items() if memory <= card.shared_bytes]
    fitting += [(RESIDENT, copies) for copies in known if copies != card.copies]
    found = {}
    for kind, copies in fitting[: 1 if quick else None]:
        network, memory = PLANS[kind]
        found[kind, copies] = plan_epoch(network, BATCH, Card(BLOCKS, memory, known[copies]), THREADS)
    return found


def exercise(quick=False):
    """Train by every plan and hold the losses against float64.

    Returns
    -------
    int
        Kernels run.

    Raises
    ------
    AssertionError
        Where a loss leaves its bound.
    """
    card = INTERPRETED if SIMULATOR else card_of(device.device_properties(), device.capability())
    wanted = plans(card, quick)
    if not SIMULATOR:
        load([epoch_kernel(plan, OPTIMIZER)[0] for plan in wanted.values()])  # at once: each takes many seconds
    for kernels, ((kind, copies), plan) in enumerate(wanted.items(), 1):
        data = synthetic(plan.network.input_shape, train=STEPS * BATCH + 3, classes=plan.network.classes)
        engine = make_engine("fused", plan.network, OPTIMIZER, BATCH, plan=plan, patience=PATIENCE)
        engine.load(data)
        bound = agreement_bound(plan.network, OPTIMIZER, data, BATCH, 0, STEPS)
        check_agreement(engine.train(0)[0], *bound, f"fused, {kind}, {copies} copies")
        print(f"{kind}, {copies} copies: right, {kernels} kernels so far", flush=True)
    return len(wanted)


def watch(quick=False):
    """small_sanitizer records, one a tool.

    Raises
    ------
    MeasurementError
        As `sanitizer.measure`.
    """
    return [measure(tool, quick, ONE_KERNEL) for tool in TOOLS]


if __name__ == "__main__":
    print("exercised", exercise("quick" in sys.argv), "kernels", flush=True)
