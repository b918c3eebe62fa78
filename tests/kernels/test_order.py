"""The device twin of the sample order against its NumPy version, index by index."""

import numpy as np
import pytest

from helpers import order
from helpers.compiler import launch
from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.order import sample_index


@pytest.mark.parametrize("samples", [1, 2, 3, 17, 60000, 70000])
@pytest.mark.parametrize("seed, epoch", [(0, 0), (7, 3), (-1, 2**31 - 1)])
def test_device_twin_equals_numpy(samples, seed, epoch):
    count = min(samples, 12)
    positions = np.linspace(0, samples - 1, count).astype(np.int32)

    def body(y, x):
        i = cuda.grid(1)
        if i < count:
            y[i] = sample_index(x[i], np.int32(samples), np.int32(seed), np.int32(epoch))

    found = np.full(count, np.nan, np.float32)  # the probe's arguments are float32, exact for these numbers
    launch(Kernel("probe", body, (1, 1, 1), (32, 1, 1)), found, positions.astype(np.float32))
    assert found.astype(np.int64).tolist() == order.sample_order(samples, seed, epoch, positions).tolist()
