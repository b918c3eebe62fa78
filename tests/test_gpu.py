"""What only a card can show: every production kernel on every shape class, and training as users run it."""

import numpy as np
import pytest

from helpers import device
from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import lenet5
from helpers.checking.production import ProductionChecks, operations
from helpers.data import load_dataset
from helpers.device import SIMULATOR
from helpers.engines import make_engine
from helpers.graphs import Stream
from helpers.optimizers import SGD

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(SIMULATOR, reason="needs a CUDA device")]
STEPS = 20


@pytest.fixture(scope="module")
def production():
    """The kernels for two tiles, compiled together: many processes share the work."""
    return ProductionChecks(tiles=(8, 17))


@pytest.mark.parametrize(("kind", "mode"), operations())
def test_every_production_kernel_on_every_shape_class(kind, mode, production):
    assert production.check(kind, mode) >= 4


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.fixture(scope="module")
def first_losses(mnist):
    """(reference, bound) of lenet5's first steps."""
    return agreement_bound(lenet5(), SGD(0.01, 0.9), mnist, 128, 0, STEPS)


@pytest.mark.parametrize("capability", ["", "7.5"])
def test_lenet5_agrees_with_the_oracle_on_mnist(monkeypatch, capability, mnist, first_losses):
    """Also by the code that a T4 gets."""
    if capability:
        monkeypatch.setenv("CNN_CAPABILITY", capability)
    engine = make_engine("layerwise", lenet5(), SGD(0.01, 0.9), 128, seed=0)
    engine.load(mnist)
    check_agreement(engine.train(0, steps=STEPS)[0], *first_losses, "layerwise")


def test_what_is_written_is_there_for_every_stream():
    """The driver returns from a small copy before it ends: behind queued work a kernel would read what was there."""
    busy, values, seen = device.empty(2**30, np.uint8), device.empty(64), device.empty(64)
    stream, driver = Stream(), device.driver_api()
    device.fill(values, 0)
    for _ in range(20):
        device.call(driver.cuMemsetD8Async, busy.pointer, 0, busy.nbytes, 0)
    device.write(values, np.ones(64, np.float32))
    device.call(driver.cuMemcpyDtoDAsync, seen.pointer, values.pointer, values.nbytes, stream.handle)
    assert np.all(device.to_host(seen) == 1)


def test_two_runs_with_one_seed_are_bit_equal(mnist):
    ends = []
    for _ in range(2):
        engine = make_engine("layerwise", lenet5(), SGD(0.01, 0.9), 128, seed=3)
        engine.load(mnist)
        ends.append((engine.train(0, epochs=1), engine.state()["parameters"]))
    assert all(np.array_equal(a, b) for a, b in zip(*ends))
