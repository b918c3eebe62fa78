"""What only a card shows of the fused engine: blocks that meet, transfers that run on, and what the driver saw."""

import numpy as np
import pytest
from fused_cases import DENSE, NETWORKS, SHARING, T4, arguments, share_small_layers
from toy_data import ToyDataset

from helpers import device
from helpers.activity import activity, kernels_of
from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import lenet5, small_cnn, tiny
from helpers.compiler import load
from helpers.data import load_dataset
from helpers.device import SIMULATOR, DeviceError
from helpers.engines import make_engine
from helpers.kernels.fused.barrier import LATE, MOST_BLOCKS
from helpers.kernels.fused.epoch import epoch_kernel
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import plan_epoch
from helpers.optimizers import SGD, Adam
from helpers.suites.transfers import count_copies

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(SIMULATOR, reason="needs a CUDA device")]
OPTIMIZER = SGD(0.01, momentum=0.9)
STEPS = 20


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.fixture(scope="module")
def bounds(mnist):
    """{batch: (reference, bound)} of lenet5's first steps, each made at its first use."""

    class Bounds(dict):
        def __missing__(self, batch):
            self[batch] = agreement_bound(lenet5(), OPTIMIZER, mnist, batch, 0, STEPS)
            return self[batch]

    return Bounds()


def engine(dataset, network=None, optimizer=OPTIMIZER, batch=128, seed=0, **options):
    made = make_engine("fused", network or lenet5(), optimizer, batch, seed=seed, **options)
    made.load(dataset)
    return made


def toy(network, batch, steps):
    return ToyDataset(network.input_shape, samples=batch * steps + 3)


def assert_equal_states(left, right):
    assert list(left) == list(right)
    for name in left:
        assert np.array_equal(left[name], right[name]), name


@pytest.mark.parametrize("batch", [32, 128, 512])
def test_lenet5_agrees_with_the_oracle_on_mnist(batch, mnist, bounds):
    check_agreement(engine(mnist, batch=batch).train(0, steps=STEPS)[0], *bounds[batch], "fused")


@pytest.mark.parametrize("forced", ["plan", "capability"])
def test_lenet5_agrees_by_the_plan_and_the_code_of_a_t4(monkeypatch, forced, mnist, bounds):
    if forced == "capability":
        monkeypatch.setenv("CNN_CAPABILITY", "7.5")
    made = engine(mnist, **({"card": T4} if forced == "plan" else {}))
    assert made.plan.card.copies == "plain" and not all(layer.resident for layer in made.plan.dense)
    check_agreement(made.train(0, steps=STEPS)[0], *bounds[128], "fused")


@pytest.mark.parametrize("network", NETWORKS[:4], ids=lambda network: network.name)
@pytest.mark.parametrize("optimizer", [OPTIMIZER, Adam(0.01)], ids=["sgd", "adam"])
def test_small_networks_agree_with_the_oracle(network, optimizer):
    data = toy(network, 10, STEPS)
    bound = agreement_bound(network, optimizer, data, 10, 0, STEPS)
    check_agreement(engine(data, network, optimizer, 10).train(0)[0], *bound, "fused")


@pytest.mark.parametrize("batch", [128, 512])
def test_groups_that_share_dense_weights_agree_and_are_bit_equal(batch, mnist):
    bound = agreement_bound(small_cnn(), OPTIMIZER, mnist, batch, 0, 4)
    one, two = (engine(mnist, small_cnn(), batch=batch) for _ in range(2))
    assert one.plan.members > 1 and one.plan.rounds == batch // 128
    check_agreement(one.train(0, steps=4)[0], *bound, "fused")
    assert np.array_equal(one.train(1, steps=60), [two.train(0, steps=4), two.train(1, steps=60)][1])
    assert_equal_states(one.state(), two.state())


@pytest.mark.parametrize("capability", ["9.0", "8.0", "7.5"])
@pytest.mark.parametrize("sharing", [(4, 3), (2, 1)], ids=str)
def test_small_groups_agree_by_every_kind_of_copy(monkeypatch, sharing, capability):
    monkeypatch.setenv("CNN_CAPABILITY", capability)
    card, data = Card(4, SHARING[sharing], tuple(int(part) for part in capability.split("."))), toy(DENSE, 8, STEPS)
    with share_small_layers():
        made = engine(data, DENSE, batch=8, card=card, threads=64)
    assert (made.plan.members, len(made.plan.shards)) == sharing
    check_agreement(made.train(0)[0], *agreement_bound(DENSE, OPTIMIZER, data, 8, 0, STEPS), "fused")


def test_two_runs_are_bit_equal_and_two_epochs_are_one_launch(mnist):
    whole, again, parts = (engine(mnist, seed=3) for _ in range(3))
    losses = whole.train(0, 2)
    assert losses.shape == (2, 468) and losses[1].mean() < 0.5 * losses[0].mean()
    assert np.array_equal(again.train(0, 2), losses)
    assert np.array_equal(np.concatenate([parts.train(0), parts.train(1)]), losses)
    assert_equal_states(whole.state(), again.state())
    assert_equal_states(whole.state(), parts.state())


def test_a_thousand_launches_of_one_step_are_bit_equal():
    """A race, between blocks or with a transfer, would show in some of them."""
    made = engine(toy(tiny(), 64, 1), tiny(), batch=64)
    start = made.state()
    first = made.train(0, steps=1), made.state()
    assert np.any(first[1]["parameters"] != start["parameters"])
    for number in range(1000):
        made.load_state(start)
        assert np.array_equal(made.train(0, steps=1), first[0]), number
        assert_equal_states(made.state(), first[1])


def test_a_state_goes_on_bit_for_bit(mnist):
    whole, half, resumed = (engine(mnist, optimizer=Adam(0.001)) for _ in range(3))
    losses = whole.train(0, 2)
    half.train(0)
    resumed.load_state(half.state())
    assert np.array_equal(resumed.train(1)[0], losses[1])
    assert_equal_states(resumed.state(), whole.state())


def test_a_profiled_kernel_gives_the_same_losses_and_counts_every_phase(mnist, bounds):
    made = engine(mnist, profiled=True)
    check_agreement(made.train(0, steps=STEPS)[0], *bounds[128], "fused, profiled")
    cycles = made.cycles()
    assert cycles.shape == (made.plan.blocks, len(made.phases)) and "sum gradients" in made.phases
    assert (cycles >= 0).all() and (cycles.sum(axis=0) > 0).all()


@pytest.fixture(scope="module")
def oversized():
    """A plan of lenet5 for more blocks than the card has room for: each takes most of a multiprocessor's memory."""
    properties = device.device_properties()
    blocks = min(2 * properties.multiprocessors, MOST_BLOCKS)
    card = Card(blocks, properties.shared_bytes_per_block, device.capability())
    return plan_epoch(lenet5(), 128, card)


def test_a_grid_that_is_not_resident_is_refused_before_it_is_launched(oversized):
    with pytest.raises(DeviceError, match=f"{oversized.blocks} blocks wait for each other, but the card holds"):
        make_engine("fused", lenet5(), OPTIMIZER, 128, card=oversized.card)


def test_blocks_that_find_no_room_end_the_others_wait(oversized, mnist, bounds):
    """Launched past the engine's check: whoever waits gives up, says so, and the card serves the next kernel."""
    (run,) = load([epoch_kernel(oversized, OPTIMIZER)[0]])
    assert run.resident_blocks < oversized.blocks
    arrays = {
        name: device.to_device(array)
        for name, array in arguments(oversized, OPTIMIZER, steps=2, patience=1000).items()
    }  # fmt: skip
    run(*arrays.values())
    assert device.to_host(arrays["state"])[LATE] > 0
    check_agreement(engine(mnist).train(0, steps=STEPS)[0], *bounds[128], "fused")


def test_a_block_that_comes_late_ends_training_in_one_sentence(mnist):
    """Without patience the first block to arrive gives up."""
    made = engine(mnist, patience=0)
    with pytest.raises(DeviceError, match="of the blocks one did not come in time"):
        made.train(0, steps=STEPS)


@pytest.mark.parametrize("step", [0, 7])
def test_a_loss_that_is_not_finite_stops_training_at_its_step(step, mnist):
    """An infinite rate in the step before leaves no parameter finite; in the second epoch of a launch, too."""
    explode = SGD(lambda epoch: np.inf if epoch > 1 + (step - 1.5) / 468 else 0.01, momentum=0.9)
    made, sound = (engine(mnist, optimizer=explode) for _ in range(2))
    with pytest.raises(FloatingPointError, match=f"not finite at step {step} of epoch 1; lower the learning rate"):
        made.train(0, 2)
    sound.train(0, steps=10)
    assert np.isfinite(sound.state()["parameters"]).all()  # the card serves the next kernel


def test_evaluation_and_prediction_use_the_trained_parameters(mnist):
    made = engine(mnist)
    oracle = make_engine("vectorized", lenet5(), OPTIMIZER, 128, "fp64")
    oracle.load(mnist)
    made.train(0)
    oracle.load_state(made.state())
    got, wanted = made.evaluate("test"), oracle.evaluate("test")
    assert got["accuracy"] > 0.9 and got["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    images = mnist.test_images[:300]
    np.testing.assert_allclose(made.predict(images), oracle.predict(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("epochs", [1, 2])
def test_training_is_one_kernel_and_one_copy_each_way(epochs, mnist, torch):
    """As the driver recorded it: what steers goes up before the kernel, losses and status come down behind it."""
    if not torch.cuda.is_available():
        pytest.skip("the profiler needs a PyTorch that sees the card")
    made = engine(mnist)
    made.train(0, epochs)
    activity(lambda: made.train(epochs, epochs))  # the profiler's own start is not part of it
    events = activity(lambda: made.train(2 * epochs, epochs))
    assert len(kernels_of(events)) == 1
    copies = {place: len(found) for place, found in count_copies(events).items() if found}
    assert copies == {("before", "HtoD"): 1, ("after", "DtoH"): 1}
    assert {event["cat"] for event in events} == {"kernel", "gpu_memcpy"}
