"""Arrays fit a kernel's splits and scratch, outputs start poisoned, partial sums are added up."""

import numpy as np
import pytest

from helpers.check import CheckError, check_kernel
from helpers.checking.kernel_arrays import fit_arrays, gather_results
from helpers.checking.oracle_cases import make_case
from helpers.checking.shape_classes import shape_classes
from helpers.geometry import DenseGeometry
from helpers.kernels.base import Kernel
from helpers.lowering import Op

GRADIENT = Op("dense_weight_gradient", "dense1", (), (), geometry=DenseGeometry(3, 4))


def kernel_of(operation, **options):
    return Kernel(operation, None, (1, 1, 1), (1, 1, 1), **options)


def test_partial_sums_and_scratch_are_poisoned_and_inputs_are_copies():
    case = make_case(GRADIENT, batch=5)
    arrays = fit_arrays(kernel_of("dense_weight_gradient", splits=2, scratch_bytes=24), case)
    assert {name: array.size for name, array in arrays.items()} == {"gradient": 32, "x": 15, "dy": 20, "scratch": 6}
    assert np.isnan(arrays["gradient"]).all() and np.isnan(arrays["scratch"]).all()
    arrays["x"][:] = 0.0
    assert np.any(case.inputs["x"])


def test_what_must_not_be_read_is_one_poisoned_cell():
    op, batch = shape_classes("dense_input_gradient")["tile"]
    arrays = fit_arrays(kernel_of("dense_input_gradient"), make_case(op, batch))
    assert op.mask is None and arrays["mask"].size == 1 and np.isnan(arrays["mask"][0])


def test_partial_sums_are_added_in_float64():
    case = make_case(GRADIENT, batch=5)
    kernel = kernel_of("dense_weight_gradient", splits=3)
    arrays = fit_arrays(kernel, case)
    arrays["gradient"][:] = np.repeat(np.array([1.0, 1e-9, -1.0], np.float32), 16)
    result = gather_results(kernel, case, arrays)["gradient"]
    assert result.shape == case.wanted["gradient"].shape
    assert np.allclose(result, 1e-9, rtol=1e-6, atol=0)


def test_a_kernel_of_another_operation_is_refused():
    with pytest.raises(CheckError, match="factory for dense_weight_gradient returned a kernel of dense_forward"):
        check_kernel(lambda op, batch: kernel_of("dense_forward"), GRADIENT, 5)
