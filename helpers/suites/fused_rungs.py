"""Cells of suite "fused" on how its kernel came about: the rungs of its plan, and the cycles of a step's phases.

Must not learn how an engine works.
"""

import time
from math import prod

import numpy as np

from helpers.agreement import check_agreement
from helpers.benchmark import MeasurementError
from helpers.device import device_properties
from helpers.engines import make_engine
from helpers.engines.fused_rung import RUNGS
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.roofline import operation_work
from helpers.suites import asking
from helpers.suites.epoch import PROOF_RATES
from helpers.suites.race import measure
from helpers.suites.rivals import System, oracle
from helpers.suites.workloads import make_workload

WORKLOAD, BATCH = {"network": "lenet5", "dataset": "mnist", "rate": PROOF_RATES["lenet5"]}, 128
PROOF_STEPS = 10
SYSTEMS = (
    System("layerwise", "epoch graph", {"mode": "graph"}, gpu=True),
    *(System("fused", rung, {"rung": rung}, gpu=True, made_by="fused_rung") for rung in RUNGS),
)
EPOCHS, LAUNCHES = 5, 5  # of a profile; a launch counts its cycles in 32 bits


def rung_cells(workers):
    """{key: function of the records so far -> list of records} of `rungs`, by these Workers, and of `phases`."""
    return {"rungs": asking(SYSTEMS, lambda _: rungs(workers)), "phases": lambda _: phases()}


def rungs(workers=None):
    """fused_rung records: an epoch's time on every rung, in turns, each proven before and after; by `position`.

    Parameters
    ----------
    workers : Workers, optional
        Lends processes.

    Returns
    -------
    list of dict
    """
    proven = {"proof_steps": PROOF_STEPS, "experiment": "fused_rung", "workers": workers}
    records = measure(WORKLOAD, SYSTEMS, BATCH, **proven)
    order = [system.form for system in SYSTEMS]
    return [{**record, "position": order.index(record["form"])} for record in records]


def phases():
    """fused_phase records: cycles of each phase of a step, by `position`, beside what its arithmetic needs.

    Returns
    -------
    list of dict
        As `phase_records`.

    Raises
    ------
    AssertionError
        Where a loss of the profiled kernel leaves the bound.
    """
    work = make_workload(**WORKLOAD)
    engine = make_engine("fused", work.network, work.optimizer, BATCH, profiled=True)
    engine.load(work.dataset)
    share = _prove(engine, work)
    cycles, clock_hz = _profile(engine)
    share = max(share, _prove(engine, work))
    named = {"network": work.network.name, "dataset": work.label, "batch_size": BATCH, "precision": "fp32"}
    steps = LAUNCHES * EPOCHS * engine.steps_per_epoch
    floor = floor_cycles(work.network, BATCH, device_properties())
    made = phase_records(engine.phases, cycles, engine.plan.image_blocks, clock_hz, steps)
    return [{**named, **record, "floor_cycles": floor, "agreement": share} for record in made]


def _prove(engine, work):
    """The share of the allowed gap that the first losses use; raises where they leave it."""
    engine.load_state(engine.initial_state())
    steps = min(PROOF_STEPS, engine.steps_per_epoch)
    losses = engine.train(0, 1, steps)[0]
    return check_agreement(losses, *oracle(work, BATCH, steps, "fp32"), "fused, profiled")


def _profile(engine):
    """(cycles, clock): cycles of several launches of EPOCHS epochs together, shape (blocks, phases); cycles a second.

    The clock comes from what these launches take longer than such of one epoch, so that it does not count how a launch
    begins and ends.
    """
    engine.train(0, EPOCHS)
    turns = {epochs: [_launch(engine, epochs) for _ in range(LAUNCHES)] for epochs in (1, EPOCHS)}
    (short_seconds, short), (seconds, cycles) = (map(sum, zip(*turn)) for turn in turns.values())
    longer = np.median((cycles - short).sum(axis=1))
    return cycles, float(longer / (seconds - short_seconds))


def _launch(engine, epochs):
    """Seconds of a launch, and the cycles that it counted."""
    started = time.perf_counter()
    engine.train(0, epochs)
    seconds, counted = time.perf_counter() - started, engine.cycles()
    if counted.min() < 0:
        raise MeasurementError(f"{epochs} epochs take more cycles than 32 bits count; profile fewer")
    return seconds, counted


def phase_records(names, cycles, image_blocks, clock_hz, steps):
    """Records of a step's phases, those of one name added, in the order of their first.

    Parameters
    ----------
    names : sequence of str
        Of phases, as `epoch_kernel` returns them.
    cycles : ndarray of int, shape (blocks, phases)
        Counted in `steps` steps.
    image_blocks : int
        Blocks that have images, the first ones: a record's median, min and max are over them.
    clock_hz : float
        Cycles of a block in a second.
    steps : int

    Returns
    -------
    list of dict
    """
    base = {"experiment": "fused_phase", "system": "fused", "form": "profiled"}
    records = []
    for position, name in enumerate(dict.fromkeys(names)):
        which = [number for number, other in enumerate(names) if other == name]
        of_blocks = cycles[:image_blocks, which].sum(axis=1) / steps
        spread = {"median": float(np.median(of_blocks)), "min": float(of_blocks.min()), "max": float(of_blocks.max())}
        counted = {"unit": "cycles", **spread, "runs": image_blocks, "steps": steps, "clock_hz": clock_hz}
        records.append({**base, "phase": name, "position": position, **counted})
    return records


def floor_cycles(network, batch_size, properties):
    """Cycles that a multiprocessor needs for its share of a step's products, all at the card's rate.

    As in roofline.py, but behind a max-pooling only winners have a gradient: of such a convolution's gradients, one
    output of each window counts.

    Parameters
    ----------
    network : Network
    batch_size : int
    properties : DeviceProperties
        Anything with `fp32_flops` (FLOP/s) and `clock_khz`.

    Returns
    -------
    float
    """
    program, flops = fuse_pool(fuse_relu(lower(network))), 0.0
    winners = {op.layer: prod(op.pool.out_shape) / prod(op.geometry.out_shape) for op in program.forward if op.pool}
    for op in program.ops:
        share = 1.0 if op in program.forward else winners.get(op.layer, 1.0)
        flops += share * operation_work(op, program, batch_size).flops
    return flops * 1e3 * properties.clock_khz / properties.fp32_flops
