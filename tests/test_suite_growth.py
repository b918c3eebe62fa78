"""Suite "growth": one size grows at a time; the floor follows the work."""

import pytest

from helpers.suites import growth, rivals
from helpers.suites.workloads import make_workload

SMALL = {"batch": 4, "size": 6, "channels": 2, "depth": 1, "samples": 16}
VECTORIZED = growth.SYSTEMS[0]


class Card:
    fp32_flops, bandwidth = 1e12, 1e11


def test_what_grows_stands_in_the_record():
    (record,) = growth.grown("depth", 2, [VECTORIZED], SMALL, runs=2)
    assert (record["experiment"], record["by"], record["value"]) == ("growth", "depth", 2)
    assert record["system"] == "vectorized" and record["network"] == "plain_blocks" and record["batch_size"] == 4


def test_data_sets_of_one_name_and_several_sizes_have_an_oracle_each():
    """Otherwise the larger one is held against the losses of the smaller one, and fails."""
    for samples in (16, 32):
        (record,) = growth.grown("samples", samples, [VECTORIZED], SMALL, runs=2)
        assert record["agreement"] < 1 and record["value"] == samples


@pytest.mark.parametrize("by, ratio", [("channels", 3.5), ("depth", 2.3), ("samples", 2.0), ("size", 3.9)])
def test_the_floor_follows_the_work(by, ratio):
    """Twice as large: the data set takes twice the time, an image four times; depth, seven inner layers for three."""

    def floor(sizes):
        network = {"channels": sizes["channels"], "depth": sizes["depth"]}
        dataset = {"size": sizes["size"], "samples": sizes["samples"]}
        return growth.floor_seconds({"network": network, "dataset": dataset}, sizes["batch"], Card())

    base = {"batch": 32, "size": 16, "channels": 128, "depth": 4, "samples": 128}
    assert floor({**base, by: 2 * base[by]}) / floor(base) == pytest.approx(ratio, rel=0.25)


def test_the_base_is_a_point_of_every_line(monkeypatch):
    timed = [{"experiment": "growth", "system": "vectorized", "unit": "ms", "median": 1.0}]
    monkeypatch.setattr(growth, "measure", lambda *arguments, **options: timed)
    found = {key: [(r["by"], r["value"]) for r in cell([])] for key, cell in growth.cells(quick=False).items()}
    assert found.pop("base") == list(growth.BASE.items())
    assert found == {by: [(by, value) for value in values] for by, values in growth.VALUES.items()}


def test_plain_blocks_have_the_sizes_asked_for():
    work = make_workload({"channels": 5, "depth": 3}, {"size": 8, "samples": 20})
    assert [s.geometry.out_channels for s in work.network.stages if s.name.startswith("conv")] == [5, 5, 5]
    assert work.dataset.image_shape == (8, 8, 3) and len(work.dataset.train_labels) == 20
    assert work.label == "random images"
    assert rivals.System("jax", "scan").slice_batch.get(str({"channels": 5}), 7) == 7
