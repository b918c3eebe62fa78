"""Every production kernel on every shape class, run by the tracer."""

import pytest

from helpers.checking.production import ProductionChecks, _problems, operations
from helpers.trace import trace


@pytest.fixture(scope="module")
def production():
    return ProductionChecks((4,), runner=lambda kernel, *arrays: trace(kernel, *arrays, record=False))


@pytest.mark.parametrize(("kind", "mode"), operations())
def test_every_production_kernel_on_every_shape_class(kind, mode, production):
    assert production.check(kind, mode) >= 4


def test_classes_that_two_tiles_share_are_there_once():
    kernels = [problem.kernel for problem in _problems("pool_forward", "max", (4, 5))]
    assert 9 < len(kernels) < 2 * 9 and len(set(kernels)) == len(kernels)
