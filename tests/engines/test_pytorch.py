"""The engine `pytorch` does the same work as the oracle, whatever the geometry, memory format and form."""

import os
import shutil
import sys

import numpy as np
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
)

from helpers.engines import make_engine
from helpers.engines.framework import spatial_rank
from helpers.lowering import lower

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("options", [{}, {"channels_last": True}], ids=str)
def test_losses_agree_with_float64(options):
    check_losses("pytorch", **options)


@pytest.mark.parametrize("network", [*NETWORKS.values(), PADDED], ids=[*NETWORKS, "padding 1"])
def test_every_geometry_agrees(network):
    check_losses("pytorch", network)


def test_schedule_and_plain_descent_agree():
    check_schedule("pytorch")


def test_state_continues_a_run():
    check_state("pytorch")


def test_evaluation_takes_the_last_partial_batch():
    check_evaluation("pytorch", channels_last=True)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
def test_compiled_form_agrees():
    check_losses("pytorch", form="compile")


GRAPHS = pytest.mark.parametrize("form", ["epoch graph", "compile + epoch graph"])


@pytest.mark.gpu
@GRAPHS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_agree_with_float64(form, precision):
    check_losses("pytorch", precision=precision, form=form)
    check_losses("pytorch", precision=precision, form=form, channels_last=True)


@pytest.mark.gpu
@GRAPHS
def test_graphs_follow_state_schedule_and_order(form):
    check_schedule("pytorch", form=form)
    check_state("pytorch", form=form)


def test_layouts_are_inverse():
    from helpers.engines.pytorch_layers import ProgramModule, from_torch, to_torch

    for network in (TINY, NETWORKS["three axes"]):
        module = ProgramModule(lower(network), spatial_rank(network))
        shapes = {p.name: p.shape for p in network.parameters}
        for name, parameter, *place in module.named_weights():
            array = np.random.default_rng(0).normal(size=shapes[name])
            converted = to_torch(array, *place).reshape(parameter.shape)
            np.testing.assert_array_equal(from_torch(converted, *place), array)


def test_bf16_agrees_within_its_own_rounding():
    check_bf16("pytorch")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_forms_that_need_a_gpu_say_so():
    with pytest.raises(ValueError, match="form 'epoch graph' needs a GPU that PyTorch finds; choose"):
        make_engine("pytorch", TINY, OPTIMIZER, 16, form="epoch graph")
    with pytest.raises(ValueError, match="precision 'tf32' needs a GPU"):
        make_engine("pytorch", TINY, OPTIMIZER, 16, "tf32")


def test_an_unknown_form_and_a_missing_framework_are_named(monkeypatch):
    with pytest.raises(ValueError, match="form is 'fast'; engine 'pytorch' offers 'eager', 'compile'"):
        make_engine("pytorch", TINY, OPTIMIZER, 16, form="fast")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="engine 'pytorch' needs torch, which cannot be imported here .*pip install"):
        make_engine("pytorch", TINY, OPTIMIZER, 16)
