"""The fused kernel and its phases as kernels: no race, nothing read before it is written, all written that must be.

Interpreted by the tracer; the whole epoch's kernel too, on a card of one multiprocessor, where no block waits in vain.
"""

import numpy as np
import pytest
from fused_cases import (
    DENSE,
    H100,
    NETWORKS,
    POOLED,
    SHARING,
    SMALL,
    T4,
    THREE_CHANNELS,
    arguments,
    scatter_many_channels,
    share_small_layers,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.architectures import lenet5
from helpers.engines.fused_rung import RUNGS
from helpers.initialization import initial_parameters
from helpers.kernels.fused.barrier import LATE
from helpers.kernels.fused.epoch import epoch_kernel
from helpers.kernels.fused.layout import pack, parameter_cells, unpack
from helpers.kernels.fused.phases import TURN, phase_kernels
from helpers.kernels.fused.places import Card, DoesNotFit
from helpers.kernels.fused.plan import plan_epoch
from helpers.kernels.state import STATUS, STEP
from helpers.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.optimizers import SGD, Adam
from helpers.order import sample_order
from helpers.trace import trace

OPTIMIZER = SGD(0.05, momentum=0.9)
CARD = Card(3, 1 << 16, (7, 5))
ONE_DENSE = Network(
    (6, 6, 1), [Conv2D(3, 2), ReLU(), Conv2D(4, 2), ReLU(), MaxPool2D(2), Flatten(), Dense(3)], name="one dense layer"
)
IMAGES = ("partials", "order", "sample_losses", "sample_hits")  # what the phase of the images writes whole


def run_phases(plan, optimizer, values, record=False):
    """Train by the phases what `values` ask for, in place; the traces of the last step's update and of the report."""
    images, update, report = phase_kernels(plan, optimizer)
    for step in range(len(values["losses"])):
        for turn in range(plan.rounds):
            values["state"][[STEP, TURN]] = step, turn
            for part in images:
                trace(part, *values.values(), record=record, outputs=())
        two = trace(update, *values.values(), record=record)
    return two, trace(report, *values.values(), record=record, outputs=("losses", "hits"))


def check_phases(network, threads, batch=4, card=CARD, optimizer=OPTIMIZER):
    """Trace one step of the planner's plan."""
    check_plan(plan_epoch(network, batch, card, threads), optimizer)


def check_plan(plan, optimizer=OPTIMIZER):
    """Trace one step; `trace` raises for a race, a read of what nobody wrote, and outputs that are not complete."""
    batch, values = plan.batch, arguments(plan, optimizer)
    before = values["parameters"].copy()
    update, _ = run_phases(plan, optimizer, values, record=True)
    written = ("factors", "losses", "sample_losses", *(["partials"] if plan.exchange else []))
    assert all(np.isfinite(values[name]).all() for name in written) and (values["sample_hits"] >= 0).all()
    assert values["state"][STATUS] == 0 and 0 <= values["hits"][0] <= batch
    samples = len(values["labels"])
    np.testing.assert_array_equal(values["order"], sample_order(samples, 0, 0, np.arange(batch)))
    check_update(plan, update, before, values["parameters"])


def check_update(plan, traced, before, after):
    """Each parameter and each copy is written once, nothing twice; copies stay copies, and padding stays 0."""
    cells, parameters, copies = parameter_cells(plan)
    written = traced.select("parameters", "write").spread().index
    assert len(np.unique(written)) == len(written) and {*cells, *copies} <= {*written}
    np.testing.assert_array_equal(pack(plan, unpack(plan, after)), after)
    assert np.any(unpack(plan, after) != unpack(plan, before)) and np.isfinite(after).all()


@pytest.mark.parametrize("threads", [32, 64, 96])
@pytest.mark.parametrize("network", [POOLED, SMALL], ids=lambda network: network.name)
def test_phases_have_no_race_and_write_all(network, threads):
    check_phases(network, threads)


@pytest.mark.parametrize("network", [n for n in NETWORKS if n is not POOLED], ids=lambda network: network.name)
def test_phases_of_every_kind_of_stage_have_no_race(network):
    check_phases(network, 32, batch=2)


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_copies_in_the_background_have_no_race(capability):
    check_phases(POOLED, 64, card=Card(3, 1 << 16, capability))


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("sharing", SHARING)
def test_groups_that_share_dense_weights_have_no_race(sharing, capability):
    card = Card(4, SHARING[sharing], capability)
    with share_small_layers():
        plan = plan_epoch(DENSE, 8, card, 64)
        assert (plan.members, len(plan.shards)) == sharing and plan.rounds == 2
        check_phases(DENSE, 64, batch=8, card=card)


@pytest.mark.parametrize("network", [POOLED, THREE_CHANNELS], ids=str)
def test_scattering_several_channels_has_no_race(network):
    with scatter_many_channels():
        check_phases(network, 64, batch=2)


@pytest.mark.parametrize("rung", RUNGS)
def test_rungs_below_the_planners_plan_have_no_race(rung):
    check_plan(RUNGS[rung](POOLED, 4, Card(3, 1 << 16, (9, 0)), threads=(32, 64)))


@pytest.mark.parametrize("optimizer", [Adam(0.01), SGD(0.01, 0.9, True, weight_decay=0.1)], ids=["adam", "sgd"])
def test_slots_have_no_race(optimizer):
    check_phases(SMALL, 64, optimizer=optimizer)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 60), st.integers(1, 20), st.integers(2, 9))
def test_every_dense_weight_is_updated_once(inputs, outputs, blocks):
    """The rectangles of the blocks cover all weights, biases included, and do not overlap."""
    network = Network((1, inputs, 1), [Flatten(), Dense(outputs), Dense(3)])
    plan = plan_epoch(network, 2, Card(blocks, 1 << 16, (7, 5)), 32)
    values = arguments(plan, OPTIMIZER)
    values["factors"] = np.abs(np.nan_to_num(values["factors"], nan=1.0))  # every weight has a gradient
    before = values["parameters"].copy()
    traced = trace(phase_kernels(plan, OPTIMIZER)[1], *values.values())
    check_update(plan, traced, before, values["parameters"])
    np.testing.assert_allclose(unpack(plan, before) - unpack(plan, values["parameters"]), 0.05 * 2, rtol=1e-5)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("profiled", [False, True])
def test_the_epochs_kernel_does_what_its_phases_do(capability, profiled):
    """On one multiprocessor, several steps and images: bit-equal, without a race from one step to the next."""
    plan = plan_epoch(ONE_DENSE, 2, Card(1, 1 << 16, capability), 64)
    whole, parts = (arguments(plan, OPTIMIZER, steps=3) for _ in range(2))
    kernel, phases = epoch_kernel(plan, OPTIMIZER, profiled)
    outputs = (*IMAGES, "losses", "hits", *(["cycles"] if profiled else []))
    trace(kernel, *whole.values(), outputs=outputs)
    run_phases(plan, OPTIMIZER, parts)
    for name in ("parameters", "slots", "factors", "losses", "hits", "order", "sample_losses"):
        np.testing.assert_array_equal(whole[name], parts[name], err_msg=name)
    assert np.isfinite(whole["losses"]).all() and whole["state"][STATUS] == whole["state"][LATE] == 0
    assert {"loss", "load", "sum gradients", "update", *(f"{stage.name} forward" for stage in plan.stages)} <= {*phases}
    assert whole["counter"][0] == 2 * 3  # two meetings a step


def test_more_phases_than_are_counted_cannot_be_profiled():
    layers = [layer for _ in range(16) for layer in (Conv2D(2, 3, padding="same"), ReLU())]
    plan = plan_epoch(Network((4, 4, 1), [*layers, Flatten(), Dense(3)]), 1, Card(1, 1 << 16), 32)
    with pytest.raises(DoesNotFit, match=r"the kernel has \d+ phases and more; the cycles of 60 are counted"):
        epoch_kernel(plan, OPTIMIZER, profiled=True)
    assert len(epoch_kernel(plan, OPTIMIZER)[1]) > 60


def test_a_loss_that_is_not_finite_ends_the_epochs_kernel_at_its_step():
    plan = plan_epoch(ONE_DENSE, 2, Card(1, 1 << 16, (7, 5)), 32)
    values = arguments(plan, OPTIMIZER, steps=4)
    values["rates"][2] = np.inf  # of the second step: the third one cannot be computed
    trace(epoch_kernel(plan, OPTIMIZER)[0], *values.values(), record=False)
    assert values["state"][STATUS] == 1 + 2 and values["state"][LATE] == 0
    np.testing.assert_array_equal(np.isfinite(values["losses"]), [True, True, False, False])


def test_a_block_that_does_not_come_is_not_waited_for_in_vain():
    """The interpreter runs block after block, so the first waits alone: it gives up, says so, changes nothing."""
    plan = plan_epoch(SMALL, 2, Card(2, 1 << 16, (7, 5)), 32)
    values = arguments(plan, OPTIMIZER, steps=2, patience=3)
    start = values["parameters"].copy()
    trace(epoch_kernel(plan, OPTIMIZER)[0], *values.values(), record=False, blocks=[0])
    assert values["state"][LATE] == 1 + 1 and values["state"][STATUS] == 0  # at the first meeting
    assert np.isnan(values["losses"]).all() and np.array_equal(values["parameters"], start)


@pytest.mark.assemble
@pytest.mark.parametrize("card", [H100, T4], ids=["H100", "T4"])
def test_lenet5_assembles_without_stack_and_spill(card):
    from helpers.assembly import resources

    plan = plan_epoch(lenet5(), 128, card)
    used = resources(epoch_kernel(plan, SGD(0.01, momentum=0.9))[0], card.capability)
    assert used.stack_bytes == used.spill_bytes == 0
    assert 0 < used.registers * plan.threads <= 65_536
    assert plan.shared_bytes <= used.shared_bytes <= card.shared_bytes


def test_arguments_start_from_the_initial_parameters():
    plan = plan_epoch(SMALL, 2, Card(2, 1 << 16), 32)
    values = arguments(plan, OPTIMIZER, seed=3)
    np.testing.assert_array_equal(unpack(plan, values["parameters"]), initial_parameters(SMALL, 3))
