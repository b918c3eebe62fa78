"""The rungs below the fused engine's own plan train what the oracle trains, and fit the cards they are measured on."""

import numpy as np
import pytest
from fused_cases import CONSUMER, DENSE, H100, NETWORKS, POOLED, T4
from toy_data import ToyDataset

from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import lenet5, small_cnn
from helpers.device import SIMULATOR
from helpers.engines import make_engine
from helpers.engines.fused_rung import FEW, RUNGS
from helpers.kernels.fused.places import Card, DoesNotFit
from helpers.kernels.fused.plan import THREADS, plan_epoch
from helpers.optimizers import SGD

OPTIMIZER = SGD(0.05, momentum=0.9)
BATCH, STEPS, SEED = 5, 3, 5
CARD, FEW_AND_MORE = Card(3, 1 << 16, (9, 0)), (32, 64)  # interpreted threads take their time
interpreted = pytest.mark.skipif(not SIMULATOR, reason="interpreted; the suite proves the rungs on the card")


def losses_of(network, name, **options):
    made = make_engine(name, network, OPTIMIZER, BATCH, "fp32", SEED, card=CARD, **options)
    made.load(ToyDataset(network.input_shape, samples=BATCH * STEPS + 2))
    return made.train(0)[0]


@interpreted
@pytest.mark.parametrize("network", [POOLED, DENSE, NETWORKS[2]], ids=lambda network: network.name)
@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_trains_what_the_oracle_trains(rung, network):
    data = ToyDataset(network.input_shape, samples=BATCH * STEPS + 2)
    bound = agreement_bound(network, OPTIMIZER, data, BATCH, SEED, STEPS)
    check_agreement(losses_of(network, "fused_rung", rung=rung, threads=FEW_AND_MORE), *bound, rung)


@interpreted
def test_the_last_rung_is_the_engines_own_plan():
    own = losses_of(POOLED, "fused", threads=FEW_AND_MORE[1])
    assert np.array_equal(losses_of(POOLED, "fused_rung", rung=list(RUNGS)[-1], threads=FEW_AND_MORE), own)


@pytest.mark.parametrize(
    "network, card",
    [(lenet5(), H100), (lenet5(), CONSUMER), (lenet5(), T4), (small_cnn(), H100)],
    ids=["lenet5-H100", "lenet5-consumer", "lenet5-T4", "small_cnn-H100"],
)
def test_plans_of_all_rungs_fit_every_card(network, card):
    for rung, make in RUNGS.items():
        plan = make(network, 128, card)
        assert plan.shared_bytes <= card.shared_bytes and plan.blocks == card.multiprocessors, rung
        for stage in plan.convolutions:
            assert stage.forward_cells >= (stage.splits > 1) * stage.splits * stage.cell_count * stage.filters
        for stage in plan.dense:
            assert stage.streams or stage.shard or stage.backward_cells >= stage.gradient_splits * stage.inputs
    assert plan == plan_epoch(network, 128, card)


def test_each_rung_of_lenet5_undoes_one_thing():
    plans = {rung: make(lenet5(), 128, H100) for rung, make in RUNGS.items()}
    launch, at_hand, sums, reads, threads, own = plans.values()
    assert not any(layer.resident for layer in launch.dense) and all(layer.resident for layer in at_hand.dense)
    assert [plan.card.copies for plan in plans.values()] == ["plain"] * 5 + ["bulk"]
    assert [plan.threads for plan in plans.values()] == [FEW] * 4 + [THREADS] * 2
    for plan in (launch, at_hand):
        assert {layer.groups for layer in plan.convolutions} == {layer.gradient_splits for layer in plan.dense} == {1}
        assert plan.update_splits == plan.update_groups == 1
    assert [layer.groups for layer in sums.convolutions] == [layer.groups for layer in reads.convolutions]
    assert {layer.filters_at_once for plan in (launch, at_hand, sums) for layer in plan.convolutions} == {1}
    assert any(layer.filters_at_once > 1 for layer in reads.convolutions)
    assert threads.stages == own.stages


@pytest.mark.parametrize("rung", RUNGS)
def test_what_fits_no_plan_is_refused_on_every_rung(rung):
    with pytest.raises(DoesNotFit, match="conv2 takes the most"):
        RUNGS[rung](small_cnn(), 128, T4)


def test_an_unknown_rung_and_a_plan_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="rung is 'top'; expected 'one launch'"):
        make_engine("fused_rung", POOLED, OPTIMIZER, BATCH, rung="top")
    with pytest.raises(ValueError, match="the plan is of pooled at batch 6; expected pooled at batch 5"):
        make_engine("fused", POOLED, OPTIMIZER, BATCH, plan=plan_epoch(POOLED, 6, CARD))
