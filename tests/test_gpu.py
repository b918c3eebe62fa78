"""What only a card can show: every production kernel on every shape class, and training as users run it."""

import numpy as np
import pytest

from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import lenet5
from helpers.check import check
from helpers.compiler import load
from helpers.data import load_dataset
from helpers.device import SIMULATOR
from helpers.engines import make_engine
from helpers.kernels.catalogue import MODULES
from helpers.optimizers import SGD
from helpers.suites.sanitizer import operations, shape_class_kernels

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(SIMULATOR, reason="needs a CUDA device")]


@pytest.fixture(scope="module", params=[8, 17])
def tile(request):
    """Cells of a tile; the kernels for its shape classes are compiled together."""
    load(shape_class_kernels(request.param))
    return request.param


@pytest.mark.parametrize(("kind", "mode"), operations())
def test_every_production_kernel_on_every_shape_class(kind, mode, tile):
    check(MODULES[kind].production, kind, tile=tile, mode=mode)


@pytest.mark.parametrize("capability", ["", "7.5"])
def test_lenet5_agrees_with_the_oracle_on_mnist(monkeypatch, capability):
    """Twenty steps, also by the code that a T4 gets."""
    if capability:
        monkeypatch.setenv("CNN_CAPABILITY", capability)
    data, optimizer = load_dataset("mnist"), SGD(0.01, 0.9)
    engine = make_engine("layerwise", lenet5(), optimizer, 128, seed=0)
    engine.load(data)
    reference, bound = agreement_bound(lenet5(), optimizer, data, 128, 0, 20)
    check_agreement(engine.train(0, steps=20)[0], reference, bound, "layerwise")


def test_two_epochs_with_one_seed_are_bit_equal():
    ends = []
    for _ in range(2):
        engine = make_engine("layerwise", lenet5(), SGD(0.01, 0.9), 128, seed=3)
        engine.load(load_dataset("mnist"))
        ends.append((engine.train(0, epochs=1), engine.state()["parameters"]))
    assert all(np.array_equal(a, b) for a, b in zip(*ends))
