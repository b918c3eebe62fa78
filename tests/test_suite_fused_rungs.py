"""Cells of the rungs and of the phases: what they ask for, and what their records say."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.benchmark import MeasurementError
from helpers.engines import make_engine
from helpers.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.optimizers import SGD
from helpers.suites import fused_rungs
from helpers.suites.workloads import Workload, make_workload
from helpers.workers import EngineServer

NETWORK = Network((6, 6, 1), [Conv2D(3, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)], name="sketch")
NAMES = ["conv1 forward", "loss", "conv1 backward", "conv1 backward", "load", "update"]
IMAGE_BLOCKS, BLOCKS, SEEN = 3, 4, 1000


def profile():
    """Cycles of a launch: the last block has no images and waits longer."""
    cycles = np.array([[30, 3, 20, 10, 5, 12], [32, 3, 20, 10, 5, 10], [34, 3, 20, 10, 5, 8], [0, 0, 0, 0, 0, 80]])
    return SEEN * cycles.astype(np.int64)


class ProfiledEngine:
    """Stands in for a profiled engine on a card."""

    phases, plan, steps_per_epoch = NAMES, SimpleNamespace(image_blocks=IMAGE_BLOCKS), 4

    def __init__(self, losses, cycles):
        self.losses, self.counted, self.trained, self.states = losses, cycles, [], []

    def load(self, dataset):
        self.dataset = dataset

    def initial_state(self):
        return "the first one"

    def load_state(self, state):
        self.states.append(state)

    def train(self, first_epoch, epochs=1, steps=None):
        self.trained.append((first_epoch, epochs, steps))
        return self.losses[None, :steps]

    def cycles(self):
        _, epochs, _ = self.trained[-1]
        return self.counted * epochs // fused_rungs.EPOCHS


@pytest.fixture
def on_card(monkeypatch):
    """A function that lets the suite find an engine with these losses and cycles."""

    def place(losses, cycles):
        engine, data = ProfiledEngine(losses, cycles), ToyDataset(NETWORK.input_shape, samples=8)
        work = Workload(NETWORK, data, SGD(0.01), "toy")
        answers = {
            "make_workload": lambda **_: work,
            "make_engine": lambda *_, **options: engine,
            "oracle": lambda *_: (np.ones(4), np.full(4, 0.1)),
            "device_properties": lambda: SimpleNamespace(fp32_flops=2e9, clock_khz=1000),
        }
        for name, answer in answers.items():
            monkeypatch.setattr(fused_rungs, name, answer)
        return engine

    return place


def test_rungs_are_asked_for_as_plain_data():
    systems = fused_rungs.SYSTEMS
    assert [system.engine for system in systems] == ["layerwise"] + ["fused"] * 6
    server, tiny = EngineServer(make_engine, make_workload), {"network": "tiny", "dataset": "synthetic"}
    for system in systems[1:]:
        asked = json.loads(json.dumps({"engine": system.made_by, "options": system.options}))
        made = server.make(**asked, workload=tiny, batch_size=8, precision="fp32", seed=0)
        assert made["steps_per_epoch"] > 0 and system.named["system"] == "fused"


def test_rungs_are_measured_in_turns_and_numbered(monkeypatch):
    def measure(workload, systems, batch_size, **options):
        assert workload["network"] == "lenet5" and batch_size == 128 and options["workers"] == "lent"
        return [{"experiment": options["experiment"], **system.named} for system in reversed(systems)]

    monkeypatch.setattr(fused_rungs, "measure", measure)
    cells = fused_rungs.rung_cells("lent")
    records = cells["rungs"]([])
    assert {record["form"]: record["position"] for record in records} == {
        system.form: position for position, system in enumerate(fused_rungs.SYSTEMS)
    }
    assert cells["rungs"].asks == {(record["system"], record["form"]) for record in records}
    assert list(cells) == ["rungs", "phases"]


def test_phases_are_counted_a_step_and_a_block():
    steps, clock = 100, 2e9
    records = fused_rungs.phase_records(NAMES, profile(), IMAGE_BLOCKS, clock, steps)
    assert [record["phase"] for record in records] == list(dict.fromkeys(NAMES))
    assert [record["position"] for record in records] == [0, 1, 2, 3, 4]
    forward, backward = records[0], records[2]
    assert (forward["median"], forward["min"], forward["max"]) == (320, 300, 340) and backward["median"] == 300
    assert all(record["runs"] == IMAGE_BLOCKS and record["unit"] == "cycles" for record in records)
    assert all(record["clock_hz"] == clock for record in records)


def test_a_profile_is_proven_before_and_after(on_card):
    engine = on_card(np.full(4, 1.05), profile())
    records = fused_rungs.phases()
    epochs, launches = fused_rungs.EPOCHS, fused_rungs.LAUNCHES
    assert engine.trained[0] == engine.trained[-1] == (0, 1, 4) and engine.states == ["the first one"] * 2
    assert engine.trained[1:-1] == [(0, epochs, None)] + [(0, 1, None)] * launches + [(0, epochs, None)] * launches
    assert records[0]["median"] == pytest.approx(32 * SEEN / (epochs * 4))
    assert all(record["network"] == "sketch" and record["agreement"] == pytest.approx(0.5) for record in records)
    assert json.dumps(records)


def test_the_clock_does_not_count_how_a_launch_begins(on_card, monkeypatch):
    """A launch takes a second before its first epoch, and every epoch a tenth."""
    engine, now = on_card(np.ones(4), profile()), [0.0]
    train = engine.train

    def timed(first_epoch, epochs=1, steps=None):
        now[0] += 1.0 + 0.1 * epochs
        return train(first_epoch, epochs, steps)

    monkeypatch.setattr(engine, "train", timed)
    monkeypatch.setattr(fused_rungs.time, "perf_counter", lambda: now[0])
    (record, *_) = fused_rungs.phases()
    assert record["clock_hz"] == pytest.approx(80 * SEEN / fused_rungs.EPOCHS / 0.1)


def test_a_wrong_profile_is_refused(on_card):
    on_card(np.full(4, 1.2), profile())
    with pytest.raises(AssertionError, match="fused, profiled"):
        fused_rungs.phases()
    on_card(np.ones(4), -profile())
    with pytest.raises(MeasurementError, match="more cycles than 32 bits count"):
        fused_rungs.phases()


def test_the_floor_counts_each_product_of_a_step():
    """Forward, weights' gradient, and of all but the first layer the inputs' gradient; one product a cycle here.

    Of the convolution's gradient, one output of each pooled window.
    """
    convolution, dense, batch = 4 * 4 * 3 * 9, 12 * 3, 8
    card = SimpleNamespace(fp32_flops=2e9, clock_khz=1_000_000)
    assert fused_rungs.floor_cycles(NETWORK, batch, card) == batch * (convolution + convolution / 4 + 3 * dense)
