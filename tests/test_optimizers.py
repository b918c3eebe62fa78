"""The optimizers' rules: PyTorch's in float64, float32 throughout on the card; settings, factors, checkpoints."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import float32, njit, types

from helpers.checkpoint import build_optimizer, describe_optimizer
from helpers.optimizers import SGD, Adam, cosine

# both branches of every choice that a rule makes
OPTIMIZERS = [
    SGD(0.0625, 0.9),
    SGD(0.0625, 0.9, weight_decay=0.03),
    SGD(0.0625, 0.9, nesterov=True),
    SGD(0.0625, 0.9, nesterov=True, weight_decay=0.03),
    Adam(0.0625),
    Adam(0.0625, beta1=0.8, beta2=0.99, epsilon=1e-3, weight_decay=0.03),
]
EACH = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)

fractions = st.floats(0, 0.9999)
positive = st.floats(1e-6, 10)
sgds = st.builds(SGD, positive, st.floats(0.01, 0.9999), st.booleans(), st.floats(0, 1))
adams = st.builds(Adam, positive, fractions, fractions, st.floats(1e-12, 1), st.floats(0, 1))


def torch_twin(torch, optimizer, parameter):
    """PyTorch's optimizer of the same settings."""
    common = {"lr": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
    if isinstance(optimizer, SGD):
        return torch.optim.SGD([parameter], momentum=optimizer.momentum, nesterov=optimizer.nesterov, **common)
    return torch.optim.Adam([parameter], betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.epsilon, **common)


def exact_factors(optimizer, step):
    """Scale and correction of step `step`, counted from 1, not rounded to float32."""
    if isinstance(optimizer, SGD):
        return optimizer.learning_rate, 0.0
    return optimizer.learning_rate / (1 - optimizer.beta1**step), 1 / (1 - optimizer.beta2**step)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, SGD(0.0625), SGD(0.0625, weight_decay=0.03)], ids=str)
def test_rules_are_pytorchs(torch, optimizer):
    generator = np.random.default_rng(3)
    weight = generator.normal(size=50)
    parameter = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    twin, rule = torch_twin(torch, optimizer, parameter), optimizer.rule(np.float64, np.sqrt)
    first, second = np.zeros(50), np.zeros(50)
    for step in range(1, 13):
        gradient = generator.normal(size=50) * generator.choice([0, 1e-3, 1], 50)
        weight, first, second = rule(weight, gradient, first, second, *exact_factors(optimizer, step))
        parameter.grad = torch.from_numpy(gradient)
        twin.step()
        np.testing.assert_allclose(weight, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_plain_sgd_is_the_update_that_all_engines_compute():
    """To the bit, and the second slot comes back as it went."""
    weight, gradient, velocity = np.random.default_rng(1).normal(size=(3, 100)).astype(np.float32)
    rate, momentum, unused = np.float32(0.03), np.float32(0.9), object()
    changed, kept, second = SGD(0.03, 0.9).rule(np.float32, np.sqrt)(weight, gradient, velocity, unused, rate, 0)
    assert np.array_equal(kept, momentum * velocity + gradient) and second is unused
    assert np.array_equal(changed, weight - rate * kept)


@EACH
def test_float32_stays_float32(optimizer):
    """Scalars with Python's square root, as a simulated thread has them, give what arrays give."""
    generator = np.random.default_rng(2)
    values = [*generator.normal(size=(3, 40)), generator.random(40)]
    arrays = [array.astype(np.float32) for array in values]
    factors = optimizer.step_factors(2, 7)[3]
    wanted = optimizer.rule(np.float32, np.sqrt)(*arrays, *factors)
    rule = optimizer.rule(np.float32, math.sqrt)
    rows = [rule(*scalars, *factors) for scalars in zip(*arrays)]
    assert {type(value) for row in rows for value in row} == {np.float32}
    assert all(array.dtype == np.float32 for array in wanted)
    np.testing.assert_array_equal(np.array(rows).T, np.array(wanted))


@EACH
def test_compiled_nothing_is_promoted(optimizer):
    compiled = njit(optimizer.rule(np.float32, math.sqrt))
    compiled.compile((float32,) * 6)
    (result,) = compiled.overloads.values()
    used = set(result.type_annotation.typemap.values())
    assert types.float32 in used and types.float64 not in used
    assert result.signature.return_type == types.UniTuple(float32, 3)


@given(sgds | adams, st.integers(0, 2**32 - 1))
def test_one_source_serves_arrays_and_scalars(optimizer, seed):
    generator = np.random.default_rng(seed)
    arrays = [*generator.normal(size=(3, 5)), generator.random(5)]
    factors = exact_factors(optimizer, 1 + seed % 100)
    wanted = np.array(optimizer.rule(np.float64, np.sqrt)(*arrays, *factors))
    rule = optimizer.rule(np.float64, math.sqrt)
    assert np.array_equal(np.array([rule(*scalars, *factors) for scalars in zip(*arrays)]).T, wanted)


@given(fractions, fractions, st.floats(0.01, 100), st.sampled_from([-1, 1]))
def test_adam_steps_by_the_rate_along_a_constant_gradient(beta1, beta2, size, sign):
    """Whatever the means forget: the factors make up for what they have not yet seen."""
    optimizer = Adam(0.25, beta1, beta2)
    rule, weight, first, second = optimizer.rule(np.float64, math.sqrt), 0.0, 0.0, 0.0
    for step, factors in enumerate(np.concatenate([optimizer.step_factors(epoch, 3) for epoch in range(4)]), 1):
        weight, first, second = rule(weight, sign * size, first, second, *map(float, factors))
        assert math.isclose(weight, -sign * 0.25 * step, rel_tol=1e-5)


@settings(deadline=None)
@given(fractions, fractions, st.integers(0, 20), st.integers(1, 30))
def test_adams_factors_are_the_exact_ones_rounded_once(beta1, beta2, epoch, steps):
    factors = Adam(0.001, beta1, beta2).step_factors(epoch, steps)
    assert factors.shape == (steps, 2) and factors.dtype == np.float32
    for step, (scale, correction) in enumerate(factors, epoch * steps + 1):
        for found, top, beta in ((scale, 0.001, beta1), (correction, 1.0, beta2)):
            wanted = float(Fraction(top) / (1 - Fraction(beta) ** step))
            assert math.isclose(found, wanted, rel_tol=2**-23)


def test_factors_of_a_schedule():
    schedule = cosine(0.5, epochs=4, warmup=1.0)
    sgd, adam = SGD(schedule, 0.9), Adam(schedule, beta1=0.5)
    rates = [schedule(1 + s / 5) for s in range(5)]
    assert np.array_equal(sgd.learning_rates(1, 5), np.float32(rates))
    assert np.array_equal(sgd.step_factors(1, 5), np.stack([np.float32(rates), np.zeros(5)], axis=1))
    assert np.array_equal(adam.learning_rates(1, 5), sgd.learning_rates(1, 5))
    np.testing.assert_allclose(adam.step_factors(1, 5)[:, 0], rates / (1 - 0.5 ** np.arange(6, 11)), rtol=1e-7)


def test_slots_and_which_optimizers_are_plain():
    assert SGD.slots == ("velocity",) and Adam.slots == ("first_moment", "second_moment")
    plain = [optimizer for optimizer in [SGD(0.1), *OPTIMIZERS] if optimizer.plain]
    assert plain == [SGD(0.1), SGD(0.0625, 0.9)]


@pytest.mark.parametrize(
    "make, setting, sentence",
    [
        (SGD, {"momentum": 1.0}, "momentum is 1.0; expected 0 up to but not including 1"),
        (SGD, {"learning_rate": 0.0}, "learning_rate is 0.0; expected a positive number or a schedule"),
        (SGD, {"weight_decay": -1e-4}, "weight_decay is -0.0001; expected a number of at least 0"),
        (SGD, {"nesterov": True}, "nesterov is True with a momentum of 0; expected a positive momentum"),
        (Adam, {"learning_rate": math.nan}, "learning_rate is nan; expected a positive number or a schedule"),
        (Adam, {"beta1": -0.1}, "beta1 is -0.1; expected 0 up to but not including 1"),
        (Adam, {"beta2": 1.0}, "beta2 is 1.0; expected 0 up to but not including 1"),
        (Adam, {"epsilon": 0.0}, "epsilon is 0.0; expected a number that is positive in float32"),
        (Adam, {"epsilon": 1e-60}, "epsilon is 1e-60; expected a number that is positive in float32"),
        (Adam, {"weight_decay": math.nan}, "weight_decay is nan; expected a number of at least 0"),
    ],
)
def test_settings_that_are_refused(make, setting, sentence):
    with pytest.raises(ValueError) as error:
        make(**setting)
    assert str(error.value) == sentence


@given(sgds | adams)
def test_an_optimizer_survives_its_description(optimizer):
    assert build_optimizer(json.loads(json.dumps(describe_optimizer(optimizer)))) == optimizer


def test_a_description_is_of_json_values():
    described = describe_optimizer(SGD(np.float32(0.5), np.float64(0.5), np.bool_(True), 0))
    assert json.loads(json.dumps(described)) == {
        "optimizer": "SGD", "learning_rate": 0.5, "momentum": 0.5, "nesterov": True, "weight_decay": 0.0
    }  # fmt: skip


def test_descriptions_of_old_files_are_of_sgd():
    assert build_optimizer({"learning_rate": 0.25, "momentum": 0.5}) == SGD(0.25, 0.5)
    with pytest.raises(ValueError, match=r"learning-rate schedule; pass optimizer=SGD\(schedule, ...\)"):
        build_optimizer({"learning_rate": None, "momentum": 0.5})


def test_descriptions_that_do_not_say_all():
    with pytest.raises(ValueError, match=r"learning-rate schedule; pass optimizer=Adam\(schedule, ...\)"):
        build_optimizer(describe_optimizer(Adam(cosine(0.01, 3))))
    with pytest.raises(ValueError, match="the checkpoint's optimizer is 'Lion'; expected 'SGD', 'Adam'"):
        build_optimizer({"optimizer": "Lion", "learning_rate": 0.1})
