"""That the sequential and the vectorized engine are honest baselines: timings, on demand (MEASURE=1, idle machine)."""

import os

import pytest
from threadpoolctl import threadpool_limits

from helpers.architectures import lenet5, vgg_small
from helpers.suites import baselines

pytestmark = pytest.mark.skipif("MEASURE" not in os.environ, reason="a timing, made on demand on an idle machine")

NETWORKS = pytest.mark.parametrize("network", [lenet5(), vgg_small()], ids=lambda network: network.name)
IMAGES, RUNS = 16, 9


@NETWORKS
def test_loops_take_at_most_1_2_times_a_plain_convolution(network):
    records = baselines.loops_ratio(network, IMAGES, RUNS)
    assert len(records) == len(baselines.convolutions(network))
    assert not {record["layer"]: record["median"] for record in records if not record["median"] <= 1.2}


@NETWORKS
def test_vectorized_reaches_half_of_the_blas_rate(network, monkeypatch):
    """All convolutions of a network together, on one core."""
    monkeypatch.setattr(baselines, "available_cores", lambda: 1)
    with threadpool_limits(1, "blas"):
        total = baselines.gemm_share(network, IMAGES, RUNS)[-1]
    assert total["form"] == "all convolutions" and total["median"] >= 0.5
