"""The fused engine without a card, its phases interpreted: what it trains is what the float64 oracle trains."""

from types import SimpleNamespace

import numpy as np
import pytest
from activated import check_derivative_at_zero
from fused_cases import DENSE, NETWORKS, POOLED, SHARING, SMALL, networks, scatter_many_channels, share_small_layers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from toy_data import ToyDataset

from helpers.agreement import MARGIN, agreement_bound, check_agreement
from helpers.architectures import vgg_small
from helpers.device import SIMULATOR
from helpers.engines import ENGINES, make_engine
from helpers.kernels.fused.input_gradients import channels_at_once
from helpers.kernels.fused.places import Card, DoesNotFit
from helpers.kernels.fused.plan import plan_epoch
from helpers.layers import Dense, Flatten, ReLU
from helpers.network import Network
from helpers.optimizers import SGD, Adam, cosine

pytestmark = pytest.mark.skipif(not SIMULATOR, reason="interpreted; test_fused_gpu.py is for the card")
OPTIMIZER = SGD(0.05, momentum=0.9)
OTHERS = [
    SGD(0.05),
    SGD(0.02, 0.9, nesterov=True),
    SGD(0.05, 0.5, weight_decay=0.01),
    Adam(0.01),
    Adam(0.01, weight_decay=0.01),
]
BATCH, STEPS, SEED = 4, 3, 5


def engine(network=SMALL, optimizer=OPTIMIZER, batch=BATCH, steps=STEPS, name="fused", precision="fp32", **options):
    """An engine whose epochs have `steps` steps and leave a few samples over."""
    made = make_engine(name, network, optimizer, batch, precision, SEED, **options)
    made.load(dataset(network, batch, steps))
    return made


def dataset(network, batch=BATCH, steps=STEPS):
    return ToyDataset(network.input_shape, samples=batch * steps + min(batch - 1, 2))


def assert_equal_states(left, right):
    assert list(left) == list(right)
    for name in left:
        assert np.array_equal(left[name], right[name]), name


def assert_agrees(network, optimizer, batch, steps, **options):
    """Losses within the bound of agreement.py; parameters and slots as near float64 as NumPy's float32 must be."""
    made = engine(network, optimizer, batch, steps, **options)
    bound = agreement_bound(network, optimizer, dataset(network, batch, steps), batch, SEED, steps)
    check_agreement(made.train(0)[0], *bound, "fused")
    states = []
    for precision, reverse in (("fp64", False), ("fp32", False), ("fp32", True)):
        name = "vectorized" if optimizer.plain else "vectorized_optimizers"
        oracle = engine(network, optimizer, batch, steps, name, precision, processes=1, reverse=reverse)
        oracle.train(0)
        states.append(oracle.state())
    for name in ("parameters", *optimizer.slots):
        exact, *rounded = (state[name] for state in states)
        allowed = MARGIN * max(error(other, exact) for other in rounded) + np.finfo(np.float32).eps
        assert np.linalg.norm(exact) > 0 and error(made.state()[name], exact) <= allowed, name


def error(values, exact):
    return np.linalg.norm(values - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_losses_parameters_and_slots_are_the_oracles(network):
    assert_agrees(network, OPTIMIZER, batch=5, steps=3)


def test_derivatives_at_zero():
    check_derivative_at_zero("fused")


def test_a_thread_may_scatter_the_gradients_of_several_channels():
    several = set()
    with scatter_many_channels():
        for network in NETWORKS:
            stages = plan_epoch(network, 3, Card(3, 1 << 16, (7, 5)), 32).convolutions
            scattering = (stage for stage in stages if stage.pooled and stage.input_gradient is not None)
            if found := {channels_at_once(stage) for stage in scattering} - {1}:
                assert_agrees(network, OPTIMIZER, batch=3, steps=2)
                several |= found
    assert several >= {3, 4}


@pytest.mark.parametrize("batch, images", [(1, (1, 1)), (2, (2, 1)), (3, (3, 1)), (5, (3, 2)), (10, (3, 4))], ids=str)
def test_any_batch_is_shared_by_the_blocks(batch, images):
    """Fewer images than blocks, as many, and several a block, of which the last blocks have one less."""
    made = engine(batch=batch)
    assert (made.plan.image_blocks, made.plan.rounds) == images and made.plan.blocks == 3
    assert_agrees(SMALL, OPTIMIZER, batch, 3)


@pytest.mark.parametrize("sharing", SHARING, ids=str)
@pytest.mark.parametrize("batch", [4, 8])
def test_dense_weights_may_be_shared_by_groups_of_blocks(sharing, batch):
    card = Card(4, SHARING[sharing], (9, 0))
    with share_small_layers():
        plan = plan_epoch(DENSE, batch, card, 64)
        assert (plan.members, len(plan.shards)) == sharing and plan.rounds == batch // 4
        assert_agrees(DENSE, OPTIMIZER, batch, 3, card=card, threads=64)


@given(networks(), st.integers(2000, 12000))
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks_agree_on_cards_of_any_memory(network, memory):
    card = Card(4, memory, (7, 5))
    with share_small_layers():
        try:
            plan_epoch(network, 4, card, 32)
        except DoesNotFit:
            assume(False)
        assert_agrees(network, SGD(0.02, momentum=0.5), 4, 2, card=card)


def test_the_smallest_network_has_room_for_its_report():
    """Its stages and its update need less shared memory than the sums of its losses."""
    assert_agrees(Network((5, 5, 1), [Flatten(), Dense(3)]), OPTIMIZER, batch=1, steps=3)


@pytest.mark.parametrize("optimizer", OTHERS, ids=str)
def test_every_optimizer_is_the_oracles(optimizer):
    assert_agrees(SMALL, optimizer, BATCH, 5)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_random_networks_are_the_oracles(network):
    assert_agrees(network, OPTIMIZER, batch=4, steps=2)


@pytest.mark.parametrize("threads", [64, 96])
def test_other_shares_of_the_work_agree(threads):
    assert_agrees(POOLED, OPTIMIZER, BATCH, 2, threads=threads)


def test_parameters_arrive_alike_however_they_are_copied():
    plain, *others = (engine(POOLED, card=Card(3, 1 << 16, (major, 0))).train(0) for major in (7, 8, 9))
    assert all(np.array_equal(plain, losses) for losses in others)


def test_streamed_weights_train_as_resident_ones():
    network = Network((8, 8, 1), [Flatten(), Dense(41), ReLU(), Dense(3)])
    card = Card(3, 8192, (7, 5))
    assert [layer.resident for layer in engine(network, card=card).plan.dense] == [False, True]
    assert_agrees(network, OPTIMIZER, BATCH, 3, card=card)


@pytest.mark.parametrize(
    "optimizer", [OPTIMIZER, Adam(0.01), SGD(cosine(0.05, 2, warmup=0.5), 0.9)], ids=["sgd", "adam", "schedule"]
)
def test_two_epochs_in_one_launch_are_two_launches(optimizer):
    whole, parts = engine(optimizer=optimizer), engine(optimizer=optimizer)
    losses = whole.train(0, 2)
    assert losses.shape == (2, STEPS) and np.array_equal(losses, np.concatenate([parts.train(0), parts.train(1)]))
    assert_equal_states(whole.state(), parts.state())
    oracle = engine(optimizer=optimizer, name="vectorized_optimizers", precision="fp64")
    np.testing.assert_allclose(losses, oracle.train(0, 2), rtol=1e-5)
    assert whole.state()["epoch"] == 2


def test_a_schedule_goes_on_where_the_last_launch_ended():
    """A second epoch whose rates are next to nothing leaves what the first one, of a constant rate, has made."""
    still = engine(optimizer=SGD(lambda epoch: 1e-30 if epoch >= 1 else 0.05))
    still.train(0)
    before = still.state()["parameters"]
    still.train(1)
    assert np.array_equal(still.state()["parameters"], before)
    constant = engine(optimizer=SGD(0.05))
    constant.train(0)
    assert np.array_equal(constant.state()["parameters"], before)


def test_epochs_may_end_early():
    whole, first = engine(), engine()
    assert np.array_equal(first.train(0, steps=2), whole.train(0)[:, :2])
    both, oracle = engine(), engine(name="vectorized", precision="fp64")
    np.testing.assert_allclose(both.train(0, 2, steps=1), oracle.train(0, 2, steps=1), rtol=1e-5)
    for steps in (0, STEPS + 1):
        with pytest.raises(ValueError, match=f"steps is {steps}; an epoch of toy has {STEPS}"):
            both.train(0, steps=steps)


@pytest.mark.parametrize("optimizer", [OPTIMIZER, Adam(0.01)], ids=str)
def test_a_state_goes_on_bit_for_bit(optimizer):
    whole, half, resumed = (engine(optimizer=optimizer) for _ in range(3))
    losses = whole.train(0, 2)
    half.train(0)
    before = half.state()
    resumed.load_state(before)
    assert list(before) == ["parameters", *optimizer.slots, "epoch"] and before["epoch"] == 1
    assert_equal_states(resumed.state(), before)
    assert np.array_equal(resumed.train(1)[0], losses[1])
    assert_equal_states(resumed.state(), whole.state())


def test_two_runs_are_bit_equal():
    one, other = engine(POOLED), engine(POOLED)
    assert np.array_equal(one.train(0), other.train(0))
    assert_equal_states(one.state(), other.state())


def test_state_moves_to_and_from_the_oracle():
    made, oracle = engine(), engine(name="vectorized", precision="fp64")
    made.train(0)
    oracle.load_state(made.state())
    np.testing.assert_allclose(made.train(1), oracle.train(1), rtol=1e-5)
    back = engine()
    back.load_state(oracle.state())
    np.testing.assert_array_equal(back.state()["parameters"], oracle.state()["parameters"].astype(np.float32))


def test_evaluation_and_prediction_use_the_trained_parameters():
    made, oracle = engine(), engine(name="vectorized", precision="fp64")
    for epoch in range(2):  # the second time with what the epoch between has changed
        made.train(epoch)
        oracle.load_state(made.state())
        got, wanted = made.evaluate("test"), oracle.evaluate("test")
        assert got["accuracy"] == wanted["accuracy"] and got["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
    images = made.dataset.test_images[:5]
    np.testing.assert_allclose(made.predict(images), oracle.predict(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", [0, -1])
def test_a_parameter_that_is_no_number_stops_the_first_step(which):
    """Also where it is the last layer's bias, behind every ReLU."""
    made = engine()
    state = made.state()
    state["parameters"][which] = np.nan
    made.load_state(state)
    with pytest.raises(FloatingPointError, match="not finite at step 0 of epoch 3; lower the learning rate"):
        made.train(3)


def test_the_step_that_fails_is_named_and_changes_nothing():
    explode = SGD(lambda epoch: 1e30 if epoch > 1.1 else 0.01)  # from the second step of the second epoch on
    made, sound = engine(optimizer=explode), engine(optimizer=explode)
    with pytest.raises(FloatingPointError, match="not finite at step 2 of epoch 1"):
        made.train(0, 2)
    sound.train(0)
    sound.train(1, steps=2)
    assert np.array_equal(made.state()["parameters"], sound.state()["parameters"])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"network": vgg_small()}, "shared memory, the card has 65,536; conv6 takes the most"),
        ({"precision": "fp64"}, "precision is 'fp64'; engine 'fused' offers 'fp32'"),
        ({"batch": 0}, "batch_size is 0; expected an integer of at least 1"),
    ],
)
def test_what_it_cannot_train_is_refused_when_it_is_made(options, words):
    with pytest.raises(ValueError, match=words):
        engine(**options)
    assert issubclass(DoesNotFit, ValueError)


def test_memory_is_counted_by_purpose():
    adam, sgd = engine(optimizer=Adam()), engine()
    adam.train(0)
    memory = adam.memory
    assert set(memory) == {"parameters", "optimizer", "exchange", "data set"}
    assert memory["optimizer"] == 2 * memory["parameters"] >= 8 * SMALL.parameter_count
    assert memory["data set"] == adam.dataset.train_images.nbytes + adam.dataset.train_labels.nbytes
    assert sgd.memory["optimizer"] == sgd.memory["parameters"] and memory["exchange"] > sgd.memory["exchange"]


def test_a_restart_is_a_new_engine_of_another_seed_and_schedule():
    """Nothing is compiled; the rule of the kernel cannot be changed so."""
    optimizer = SGD(cosine(0.05, 2), 0.9)
    used, new = engine(), make_engine("fused", SMALL, optimizer, BATCH, seed=8)
    new.load(dataset(SMALL))
    used.train(0)
    used.restart(8, optimizer)
    assert np.array_equal(used.train(0, 2), new.train(0, 2))
    assert_equal_states(used.state(), new.state())
    with pytest.raises(ValueError, match="only its learning rate may change"):
        used.restart(8, SGD(0.05, 0.8))


def test_a_plan_of_ones_own_must_be_of_the_network_and_batch():
    plan = plan_epoch(SMALL, BATCH, Card(2, 1 << 16, (7, 5)), 64)
    assert_agrees(SMALL, OPTIMIZER, BATCH, 3, plan=plan)
    with pytest.raises(ValueError, match="the plan is of small at batch 4; expected pooled at batch 4"):
        engine(POOLED, plan=plan)


@pytest.mark.parametrize(
    "network, optimizer, options, name",
    [
        (SMALL, OPTIMIZER, {}, "fused"),
        (SMALL, Adam(0.01), {}, "fused"),
        (SMALL, OPTIMIZER, {"mode": "launches"}, "layerwise"),
        (vgg_small(), OPTIMIZER, {}, "layerwise"),
        (vgg_small(), Adam(0.01), {}, "vectorized_optimizers"),
    ],
    ids=["fits", "adam", "options", "too large", "too large for adam"],
)
def test_auto_takes_what_fits_a_card(monkeypatch, network, optimizer, options, name):
    properties = SimpleNamespace(multiprocessors=132, shared_bytes_per_block=232448, capability=(9, 0))
    answers = {"gpu_available": True, "device_properties": properties, "capability": (9, 0)}
    for asked, answer in answers.items():
        monkeypatch.setattr(f"helpers.device.{asked}", lambda answer=answer: answer)
    made = []
    monkeypatch.setattr("helpers.engines.import_module", lambda module: made.append(module) or SimpleNamespace(
        **{cls: lambda *settings, **more: None for _, cls in ENGINES.values()}
    ))  # fmt: skip
    make_engine("auto", network, optimizer, 128, **options)
    assert made == [ENGINES[name][0]]
