"""The engine `jax` does the same work as the oracle, whatever the geometry and form."""

import sys

import pytest
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

jax = pytest.importorskip("jax")

FORMS = pytest.mark.parametrize("form", ["jit", "scan"])


@FORMS
def test_losses_agree_with_float64(form):
    check_losses("jax", form=form)


@pytest.mark.parametrize("network", [*NETWORKS.values(), PADDED], ids=[*NETWORKS, "padding 1"])
def test_every_geometry_agrees(network):
    check_losses("jax", network, form="scan")


@FORMS
def test_schedule_and_plain_descent_agree(form):
    check_schedule("jax", form=form)


@FORMS
def test_state_continues_a_run(form):
    check_state("jax", form=form)


def test_evaluation_takes_the_last_partial_batch():
    check_evaluation("jax")


def test_bf16_agrees_within_its_own_rounding():
    check_bf16("jax")


def test_a_loss_that_overflows_is_named():
    from helpers.optimizers import SGD

    engine = make_engine("jax", TINY, SGD(1e30), 16)
    engine.load(dataset_for(TINY))
    with pytest.raises(FloatingPointError, match="the loss of step . of epoch 0 is nan; choose a lower learning rate"):
        engine.train(0)


def test_bad_input_is_named(monkeypatch):
    with pytest.raises(ValueError, match="form is 'fast'; engine 'jax' offers 'jit', 'scan'"):
        make_engine("jax", TINY, OPTIMIZER, 16, form="fast")
    if jax.default_backend() != "gpu":
        with pytest.raises(ValueError, match="precision 'tf32' needs a GPU that JAX finds"):
            make_engine("jax", TINY, OPTIMIZER, 16, "tf32")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match="engine 'jax' needs jax, which cannot be imported here .*pip install jax"):
        make_engine("jax", TINY, OPTIMIZER, 16)
