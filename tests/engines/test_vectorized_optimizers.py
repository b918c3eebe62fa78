"""The oracle of the optimizers: `vectorized` to the bit for plain SGD, PyTorch's steps for others; who refuses them."""

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import lenet5, tiny
from helpers.checkpoint import describe_network, save_checkpoint
from helpers.engines import ENGINES, EVERY_OPTIMIZER, make_engine
from helpers.optimizers import SGD, Adam, cosine
from helpers.training import Trainer

NETWORK = tiny()
DATASET = ToyDataset(NETWORK.input_shape)
OTHERS = [SGD(0.01, 0.9, nesterov=True), SGD(0.02, weight_decay=0.01), Adam(0.01), Adam(0.01, weight_decay=0.01)]
EACH = pytest.mark.parametrize("optimizer", OTHERS, ids=str)
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", "fp64"])


def engine(optimizer, precision="fp32", name="vectorized_optimizers", **options):
    made = make_engine(name, NETWORK, optimizer, 16, precision, 3, **options)
    made.load(DATASET)
    return made


def assert_equal_states(left, right):
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name]), name


@PRECISIONS
@pytest.mark.parametrize("options", [{"processes": 1}, {"processes": 2}, {"processes": 1, "reverse": True}], ids=str)
def test_plain_sgd_is_that_of_vectorized_to_the_bit(monkeypatch, precision, options):
    monkeypatch.setattr("helpers.engines.vectorized.SHARE_FLOPS", 1.0)
    optimizer = SGD(cosine(0.05, 3, warmup=1.0), momentum=0.9)
    ours, theirs = (engine(optimizer, precision, name, **options) for name in ("vectorized_optimizers", "vectorized"))
    assert np.array_equal(ours.train(0, 2), theirs.train(0, 2))
    assert_equal_states(ours.state(), theirs.state())
    assert ours.evaluate() == theirs.evaluate() and ours.memory == theirs.memory


@EACH
def test_steps_are_pytorchs(torch, monkeypatch, optimizer):
    """Over two epochs, given the same gradients: the second goes on counting where the first ended."""
    made, gradients = engine(optimizer, "fp64"), []
    compute = made._loss_and_gradient

    def watched(batch):
        loss, gradient = compute(batch)
        gradients.append(gradient.copy())
        return loss, gradient

    monkeypatch.setattr(made, "_loss_and_gradient", watched)
    parameter = torch.nn.Parameter(torch.from_numpy(made.state()["parameters"]))
    settings = {"lr": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
    if isinstance(optimizer, SGD):
        twin = torch.optim.SGD([parameter], momentum=optimizer.momentum, nesterov=optimizer.nesterov, **settings)
    else:
        twin = torch.optim.Adam([parameter], **settings)
    made.train(0, 2)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        twin.step()
    assert len(gradients) == 12
    # an engine's rates are rounded to float32
    np.testing.assert_allclose(made.state()["parameters"], parameter.detach().numpy(), rtol=1e-6, atol=1e-7)


@EACH
def test_it_learns(optimizer):
    losses = engine(optimizer).train(0, 8).mean(axis=1)
    assert losses[-1] < 0.5 * losses[0]


@EACH
@PRECISIONS
def test_a_state_goes_on_bit_for_bit(optimizer, precision):
    whole, half, resumed = (engine(optimizer, precision) for _ in range(3))
    losses = whole.train(0, 2)
    half.train(0)
    before = half.state()
    resumed.load_state(before)
    assert_equal_states(resumed.state(), before)
    assert list(before) == ["parameters", *optimizer.slots, "epoch"] and before["epoch"] == 1
    assert all(np.any(before[name]) and before[name].dtype == whole.dtype for name in optimizer.slots)
    assert np.array_equal(resumed.train(1)[0], losses[1])
    assert_equal_states(resumed.state(), whole.state())


@EACH
def test_a_state_is_a_copy(optimizer):
    made = engine(optimizer)
    made.train(0)
    taken, again = made.state(), made.state()
    for array in taken.values():
        array[...] = 7
    assert_equal_states(made.state(), again)
    made.load_state(taken)
    for array in taken.values():
        array[...] = 8
    assert all(np.all(array == 7) for array in made.state().values())


def test_a_checkpoint_keeps_optimizer_and_slots(tmp_path):
    whole, half = (Trainer(NETWORK, OTHERS[-1], 16, "vectorized_optimizers") for _ in range(2))
    losses = whole.fit(DATASET, 2, report=None).losses
    half.fit(DATASET, 1, report=None)
    half.save(tmp_path / "half.safetensors")
    resumed = Trainer.load(tmp_path / "half.safetensors")
    assert resumed.optimizer == OTHERS[-1] and resumed.engine.name == "vectorized_optimizers"
    assert np.array_equal(resumed.fit(DATASET, 1, report=None).losses[0], losses[1])
    assert_equal_states(resumed.engine.state(), whole.engine.state())


def test_a_file_from_before_adam(tmp_path):
    state = engine(SGD(0.25, 0.5), name="vectorized").state()
    settings = {"engine": "vectorized", "batch_size": 16, "precision": "fp32", "seed": 3}
    old = {"learning_rate": 0.25, "momentum": 0.5}
    description = {"network": describe_network(NETWORK), "optimizer": old, "settings": settings}
    save_checkpoint(tmp_path / "old.safetensors", state, description)
    for name in ("vectorized", "vectorized_optimizers"):
        loaded = Trainer.load(tmp_path / "old.safetensors", engine=name)
        assert loaded.optimizer == SGD(0.25, 0.5)
        assert_equal_states(loaded.engine.state(), state)


def test_a_state_of_another_optimizer_is_refused():
    expected = "the state lacks 'first_moment'; expected parameters, first_moment, second_moment, epoch"
    with pytest.raises(ValueError, match=expected):
        engine(Adam()).load_state(engine(SGD()).state())


def test_memory_counts_every_slot():
    adam, sgd = engine(Adam()).memory, engine(SGD()).memory
    assert adam["optimizer"] == 2 * sgd["optimizer"] == 8 * NETWORK.parameter_count
    assert {**adam, "optimizer": 0} == {**sgd, "optimizer": 0}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_a_number_stops_training():
    with pytest.raises(FloatingPointError, match="the loss of step 1 of epoch 0 is nan; choose a lower learning rate"):
        engine(SGD(1e30, 0.9, nesterov=True)).train(0)


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in EVERY_OPTIMIZER])
@EACH
def test_other_engines_refuse_what_they_would_not_compute(name, optimizer):
    with pytest.raises(ValueError) as error:
        make_engine(name, lenet5(), optimizer)
    kind = type(optimizer).__name__
    assert str(error.value) == (
        f"engine {name!r} offers SGD without nesterov and weight decay only; "
        f"for this {kind} choose 'fused' or 'vectorized_optimizers'"
    )


@pytest.mark.parametrize("optimizer, name", [(SGD(), "vectorized"), *((o, "vectorized_optimizers") for o in OTHERS)])
def test_the_engine_chosen_without_a_card(monkeypatch, optimizer, name):
    monkeypatch.setattr("helpers.device.gpu_available", lambda: False)
    assert make_engine("auto", NETWORK, optimizer, 16).name == name
    assert Trainer(NETWORK, optimizer, 16).engine.name == name


@EACH
def test_the_bound_on_losses_is_of_the_same_optimizer(optimizer):
    reference, bound = agreement_bound(NETWORK, optimizer, DATASET, 16, seed=3, steps=6)
    assert np.array_equal(reference, engine(optimizer, "fp64", processes=1).train(0)[0])
    assert check_agreement(engine(optimizer, processes=1).train(0)[0], reference, bound) <= 1
    plain = engine(SGD(0.01, 0.9), processes=1).train(0)[0]
    with pytest.raises(AssertionError, match="engine disagrees at step"):
        check_agreement(plain, reference, bound)
