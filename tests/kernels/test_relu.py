"""ReLU's kernels against NumPy, bit for bit."""

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.kernels.relu import production, relu_forward, relu_input_gradient, variants
from helpers.lowering import Op

FORWARD, GRADIENT = Op("relu_forward", "relu1", (), ()), Op("relu_input_gradient", "relu1", (), ())
SHAPES = [(1, 1, 1), (1, 31, 1), (8, 4, 1), (3, 11, 1), (2, 3, 4, 6), (4, 4, 8)]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient(shape, batch):
    rng = np.random.default_rng(batch)
    x, dy = rng.normal(size=(2, batch, *shape)).astype(np.float32)
    x.flat[0] = 0.0
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    launch(relu_forward(FORWARD, batch, shape, threads=32), y, x)
    assert np.array_equal(y, np.maximum(x, 0))
    launch(relu_input_gradient(GRADIENT, batch, shape, threads=32), dx, dy, y)
    assert np.array_equal(dx, np.where(x > 0, dy, 0))


def test_forward_keeps_nan():
    y = np.zeros(4, np.float32)
    launch(relu_forward(FORWARD, 1, (4,), threads=32), y, np.array([1, np.nan, -1, np.nan], np.float32))
    assert np.array_equal(np.isnan(y), [False, True, False, True])


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("op", [FORWARD, GRADIENT], ids=lambda op: op.kind)
def test_no_spill(op, capability):
    for kernel in [production(op, 2, (3, 3, 4)), production(op, 1, (3, 3, 3)), *variants(op, 2, (3, 3, 4))]:
        used = resources(kernel, capability)
        assert used.stack_bytes == used.spill_bytes == 0
