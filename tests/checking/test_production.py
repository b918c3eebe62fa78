"""Every production kernel on every shape class, run by the tracer."""

import pytest

from helpers.checking.production import ProductionChecks, operations
from helpers.trace import trace


@pytest.fixture(scope="module")
def production():
    return ProductionChecks((4,), runner=lambda kernel, *arrays: trace(kernel, *arrays, record=False))


@pytest.mark.parametrize(("kind", "mode"), operations())
def test_every_production_kernel_on_every_shape_class(kind, mode, production):
    assert production.check(kind, mode) >= 4


def test_classes_that_two_tiles_share_are_there_once():
    checks = ProductionChecks((4, 5), runner=trace)
    assert len(checks.problems["dense_forward", "max"]) < 2 * 9
    assert len({problem.kernel for problem in checks.problems["pool_forward", "max"]}) == len(
        checks.problems["pool_forward", "max"]
    )
