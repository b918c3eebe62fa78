"""What the engine `pytorch` has beside the other frameworks: memory formats, compiled forms, graphs, layouts."""

import os
import shutil

import numpy as np
import pytest
from framework_cases import NETWORKS, OPTIMIZER, TINY, check_evaluation, check_losses, check_schedule, check_state

from helpers.engines import make_engine
from helpers.engines.framework import spatial_rank
from helpers.lowering import lower

torch = pytest.importorskip("torch")

GRAPHS = pytest.mark.parametrize("form", ["epoch graph", "compile + epoch graph"])


def test_channels_last_agrees():
    check_losses("pytorch", channels_last=True)
    check_evaluation("pytorch", channels_last=True)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
def test_compiled_form_agrees():
    check_losses("pytorch", form="compile")


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_graphs_need_a_gpu():
    with pytest.raises(ValueError, match="form 'epoch graph' needs a GPU that PyTorch finds; choose"):
        make_engine("pytorch", TINY, OPTIMIZER, 16, form="epoch graph")
