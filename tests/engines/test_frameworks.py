"""The engines that call a framework do the same work as the oracle, whatever the geometry and form."""

import sys
from importlib.util import find_spec

import pytest
from activated import ACTIVATED, check_derivative_at_zero
from framework_cases import (
    NETWORKS,
    OPTIMIZER,
    PADDED,
    TINY,
    check_bf16,
    check_evaluation,
    check_losses,
    check_schedule,
    check_state,
    dataset_for,
)

from helpers.engines import make_engine
from helpers.layers import Conv2D, Dense, Flatten, ReLU
from helpers.network import Network
from helpers.optimizers import SGD

PACKAGES = {"pytorch": "torch", "jax": "jax", "tensorflow": "tensorflow"}
# the form that stands for its engine where forms do not matter comes first
FORMS = {"pytorch": ("eager",), "jax": ("scan", "jit"), "tensorflow": ("function", "eager", "XLA", "epoch function")}
EVERY_FORM = pytest.mark.parametrize("name, form", [(name, form) for name, forms in FORMS.items() for form in forms])
EVERY_ENGINE = pytest.mark.parametrize("name", PACKAGES)


@pytest.fixture(autouse=True)
def _installed(request):
    package = PACKAGES[request.getfixturevalue("name")]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@EVERY_FORM
def test_losses_agree_with_float64(name, form):
    check_losses(name, form=form)


@EVERY_FORM
def test_schedule_and_plain_descent_agree(name, form):
    check_schedule(name, form=form)


@EVERY_FORM
def test_state_continues_a_run(name, form):
    check_state(name, form=form)


@EVERY_ENGINE
@pytest.mark.parametrize("network", [*NETWORKS.values(), PADDED], ids=[*NETWORKS, "padding 1"])
def test_every_geometry_agrees(name, network):
    check_losses(name, network, form=FORMS[name][0])


@EVERY_ENGINE
def test_derivatives_at_zero(name):
    check_derivative_at_zero(name)


@EVERY_ENGINE
def test_a_relu_behind_flatten_agrees(name):
    """Its tensor is still an image there, in the framework's own layout."""
    network = Network((5, 4, 2), [Conv2D(3, 2), Flatten(), ReLU(), Dense(3)])
    check_losses(name, network, form=FORMS[name][0])


@EVERY_ENGINE
@pytest.mark.parametrize("network", ACTIVATED.values(), ids=ACTIVATED)
def test_every_activation_agrees(name, network):
    check_losses(name, network, form=FORMS[name][0])


@EVERY_ENGINE
def test_evaluation_takes_the_last_partial_batch(name):
    check_evaluation(name)


@EVERY_ENGINE
def test_bf16_agrees_within_its_own_rounding(name):
    check_bf16(name)


@EVERY_ENGINE
def test_a_loss_that_overflows_is_named(name):
    engine = make_engine(name, TINY, SGD(1e30), 16)
    engine.load(dataset_for(TINY))
    with pytest.raises(FloatingPointError, match="the loss of step . of epoch 0 is nan; choose a lower learning rate"):
        engine.train(0)


@EVERY_ENGINE
def test_bad_input_is_named(name, monkeypatch):
    with pytest.raises(ValueError, match=f"form is 'fast'; engine '{name}' offers '"):
        make_engine(name, TINY, OPTIMIZER, 16, form="fast")
    if not make_engine(name, TINY, OPTIMIZER, 16).on_gpu:
        with pytest.raises(ValueError, match="precision 'tf32' needs a GPU that"):
            make_engine(name, TINY, OPTIMIZER, 16, "tf32")
    package = PACKAGES[name]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"engine '{name}' needs {package}, which cannot be .*pip install {package}"):
        make_engine(name, TINY, OPTIMIZER, 16)
