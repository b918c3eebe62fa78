"""The engine `tensorflow` does the same work as the oracle, whatever the geometry and form."""

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

tensorflow = pytest.importorskip("tensorflow")

FORMS = pytest.mark.parametrize("form", ["eager", "function", "XLA", "epoch function"])


@FORMS
def test_losses_agree_with_float64(form):
    check_losses("tensorflow", form=form)


@pytest.mark.parametrize("network", [*NETWORKS.values(), PADDED], ids=[*NETWORKS, "padding 1"])
def test_every_geometry_agrees(network):
    check_losses("tensorflow", network, form="function")


@FORMS
def test_schedule_and_plain_descent_agree(form):
    check_schedule("tensorflow", form=form)


@FORMS
def test_state_continues_a_run(form):
    check_state("tensorflow", form=form)


def test_evaluation_takes_the_last_partial_batch():
    check_evaluation("tensorflow")


def test_bf16_agrees_within_its_own_rounding():
    check_bf16("tensorflow")


def test_a_loss_that_overflows_is_named():
    from helpers.optimizers import SGD

    engine = make_engine("tensorflow", TINY, SGD(1e30), 16)
    engine.load(dataset_for(TINY))
    with pytest.raises(FloatingPointError, match="the loss of step . of epoch 0 is nan; choose a lower learning rate"):
        engine.train(0)


def test_bad_input_is_named(monkeypatch):
    with pytest.raises(ValueError, match="form is 'fast'; engine 'tensorflow' offers 'eager', 'function', 'XLA'"):
        make_engine("tensorflow", TINY, OPTIMIZER, 16, form="fast")
    if not tensorflow.config.list_physical_devices("GPU"):
        with pytest.raises(ValueError, match="precision 'tf32' needs a GPU that TensorFlow finds"):
            make_engine("tensorflow", TINY, OPTIMIZER, 16, "tf32")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(
        ImportError,
        match="engine 'tensorflow' needs tensorflow, which cannot be .*pip install",
    ):
        make_engine("tensorflow", TINY, OPTIMIZER, 16)
