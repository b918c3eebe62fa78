"""Engine `fused_rung`: `fused` by a plan with some of the planner's work undone, a rung below what the planner reaches.

The same stages run on every rung; only who does how much of them differs. Knows plans; must not learn how a stage
computes, nor what a reader is told of a rung.
"""

from dataclasses import replace

from helpers.device import SIMULATOR, capability, device_properties
from helpers.engines.fused import INTERPRETED, PATIENT, FusedEngine
from helpers.kernels.fused.placing import Placing
from helpers.kernels.fused.plan import SCRATCH_LIMITS, THREADS, card_of, plan_epoch
from helpers.kernels.fused.stages import ConvPlan, DensePlan
from helpers.lowering import fuse_pool, fuse_relu, lower

FEW = 128  # threads a block on the lower rungs: a warp for each of a multiprocessor's schedulers
PLAIN = (7, 5)  # compute capability whose threads copy parameters themselves, and wait for them


def planned(network, batch, card, threads=(FEW, THREADS)):
    """The planner's own plan: parameters come by transfers that run on by themselves, where the card has them."""
    return plan_epoch(network, batch, card, threads[1])


def more_threads(network, batch, card, threads=(FEW, THREADS)):
    """`planned`, but the threads copy the parameters."""
    return _copied_by_threads(planned(network, batch, card, threads))


def more_from_a_read(network, batch, card, threads=(FEW, THREADS)):
    """`more_threads`, but few threads a block, for which the planner shares out the work."""
    return _copied_by_threads(plan_epoch(network, batch, card, threads[0]))


def shared_sums(network, batch, card, threads=(FEW, THREADS)):
    """`more_from_a_read`, but what a thread has read serves one filter, or one row of weights, at a time."""
    plan = _undo(more_from_a_read(network, batch, card, threads), ConvPlan, filters_at_once=1, splits=1, rows_at_once=1)
    return _undo(plan, DensePlan, gradient_rows=1)


def weights_at_hand(network, batch, card, threads=(FEW, THREADS)):
    """`shared_sums`, but a thread makes each sum of a gradient alone."""
    return _one_thread_a_sum(shared_sums(network, batch, card, threads))


def one_launch(network, batch, card, threads=(FEW, THREADS)):
    """`weights_at_hand`, but all dense weights stream from L2."""
    plan_epoch(network, batch, card, threads[0])  # refuses what does not fit; streaming takes less
    program = fuse_pool(fuse_relu(lower(network)))
    placings = (Placing(program, batch, card, threads[0], frozenset(), 1, limit) for limit in SCRATCH_LIMITS)
    plan = next(plan for plan in (placing.plan() for placing in placings) if plan.shared_bytes <= card.shared_bytes)
    plan = _undo(_copied_by_threads(plan), ConvPlan, filters_at_once=1, splits=1, rows_at_once=1)
    return _one_thread_a_sum(plan)


# in the order of the ladder; each makes a Plan of (network, batch, card), with few and many threads a block
RUNGS = {
    "one launch": one_launch,
    "weights at hand": weights_at_hand,
    "shared sums": shared_sums,
    "more from a read": more_from_a_read,
    "more threads": more_threads,
    "copies that run on": planned,
}


def _copied_by_threads(plan):
    return replace(plan, card=replace(plan.card, capability=min(plan.card.capability, PLAIN)))


def _one_thread_a_sum(plan):
    """No sum of a gradient is split: neither an image's nor a batch's."""
    plan = _undo(_undo(plan, ConvPlan, groups=1), DensePlan, gradient_splits=1)
    return replace(plan, update_splits=1, update_groups=1)


def _undo(plan, kind, **shares):
    """The plan with other `shares` in its stages of a kind; scratch memory stays as large as it was."""
    return replace(plan, stages=tuple(replace(s, **shares) if isinstance(s, kind) else s for s in plan.stages))


class FusedRungEngine(FusedEngine):
    """`fused` on one rung of the ladder to its plan.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed, patience
        As in `FusedEngine`.
    rung : str
        A name of `RUNGS`.
    card : Card, optional
        Plan for this card instead of the one in use.
    threads : (int, int)
        Threads a block on the lower and on the upper rungs.

    Raises
    ------
    ValueError
        For an unknown rung.
    """

    def __init__(
        self, network, optimizer, batch_size=128, precision="fp32", seed=0, rung="copies that run on", card=None,
        threads=(FEW, THREADS), patience=PATIENT,
    ):  # fmt: skip
        if rung not in RUNGS:
            raise ValueError(f"rung is {rung!r}; expected {', '.join(map(repr, RUNGS))}")
        card = card or (INTERPRETED if SIMULATOR else card_of(device_properties(), capability()))
        plan = RUNGS[rung](network, batch_size, card, threads)
        super().__init__(network, optimizer, batch_size, precision, seed, patience=patience, plan=plan)
