"""Suite "tune": tiles proven and timed on the interpreter by a clock that is told what to say; the table they make."""

import json
from dataclasses import replace
from itertools import count
from math import prod
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import suites
from helpers.architectures import lenet5, vgg_small
from helpers.benchmark import MeasurementError
from helpers.device import DeviceProperties
from helpers.engines import tensor
from helpers.engines.tensor_step import TensorStep
from helpers.kernels.tensor import tables
from helpers.kernels.tensor.catalogue import LAYERS
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.tiling import Card, choose_tile
from helpers.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.suites import tile_trials, tune
from helpers.suites.tile_trials import trials_of
from helpers.tensor_program import tensor_program

NETWORK = Network((4, 4, 3), [Conv2D(5, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten(), Dense(2)], name="small")
FORM, CARD, BATCH = format_of("bf16", (9, 0)), Card(4, 64 * 1024), 2
FORWARD = "conv_pool_forward"


def trial_of(kind, form=FORM, network=NETWORK):
    """The trial of an operation."""
    found = trials_of([tensor_program(network)], BATCH, form)
    return next(trial for trial in found if kind in {op.kind for op, _ in trial.uses})


def step_packing(program, op):
    """Where the step has an operation's weights."""
    step = SimpleNamespace(program=program, form=FORM)
    forward = next(f for f in program.forward if f.layer == op.layer)
    return TensorStep._packing(step, forward)


def clock_of(*microseconds):
    """A clock by which the tiles take so long, one after the other, a little more or less from run to run."""
    told = iter(microseconds)

    def clock(queue):
        mean, turns = next(told), count()
        return lambda: 1e-6 * (mean + 0.01 * (next(turns) % 3))

    return clock


def tuned(trial, *microseconds, form=FORM):
    return tune.tuned([trial], BATCH, form, CARD, len(microseconds), clock_of(*microseconds))


def test_problems_are_distinct_and_know_who_has_them():
    same = [Conv2D(32, 3, padding="same"), Conv2D(32, 3, padding="same"), Conv2D(32, 3, padding="same")]
    program = tensor_program(Network((4, 4, 3), [*same, Flatten(), Dense(2)], name="alike"))
    found = trials_of([program, program], BATCH, FORM)
    assert len({trial.key for trial in found}) == len(found) == 7
    shared = next(trial for trial in found if len(trial.uses) > 4)
    assert [op.kind for op, _ in shared.uses] == 2 * (2 * ["conv_forward"] + 2 * ["conv_input_gradient"])


@pytest.mark.parametrize("network", [lenet5(), vgg_small()], ids=lambda network: network.name)
def test_arguments_have_the_sizes_of_the_steps_tensors(network):
    """A kernel on a card does not tell when it reads or writes beyond an array."""
    program = tensor_program(network)
    for trial in trials_of([program], 128, FORM):
        for op, around in trial.uses:
            words = {name: 128 * prod(t.shape) // 2 for name, t in program.tensors.items() if t.dtype == "float"}
            words |= {name: 128 * prod(t.shape) for name, t in program.tensors.items() if t.dtype != "float"}
            sizes, inputs = tile_trials._sizes(op, around, trial.problem, 3, FORM), list(op.inputs)
            if op.kind.endswith("_weight_gradient"):
                assert sizes.pop("gradient") == 3 * sum(p.size for p in op.parameters)
                assert sizes == {"x": words[inputs[0]], "dy": words[inputs[1]]}
                continue
            assert sizes.pop("w") * 2 == step_packing(program, op).size
            made, read, gate = ("y", "x", op.outputs[1:]) if "y" in sizes else ("dx", "dy", [op.mask] * bool(op.mask))
            assert (sizes[made], sizes[read]) == (words[op.outputs[0]], words[inputs[0]])
            assert not gate or sizes["gate"] == words[gate[0]]


@pytest.mark.parametrize("precision, card", [("3xtf32", (9, 0)), ("tf32", (9, 0)), ("bf16", (9, 0)), ("fp16", (7, 5))])
def test_the_tiles_of_every_kind_of_kernel_agree(precision, card):
    form = format_of(precision, card)
    for trial in trials_of([tensor_program(NETWORK)], BATCH, form):
        assert tuned(trial, 2.0, 2.0, form=form) == {}


def test_an_input_gradient_that_undoes_a_pooling_is_tried():
    layers = [Conv2D(5, 3, padding="same"), MaxPool2D(2), Conv2D(5, 3, padding="same"), Flatten(), Dense(2)]
    trial = trial_of("conv_input_gradient", network=Network((5, 4, 3), layers, name="two"))
    assert any(op.pool for op, _ in trial.uses if op.kind == "conv_input_gradient")
    assert tuned(trial, 2.0, 2.0) == {}


def test_the_fastest_tile_has_its_times_in_the_table():
    trial = trial_of(FORWARD)
    (made,) = tuned(trial, 3.0, 1.0, 2.0).values()
    assert made["tile"] == vars(trial.candidates(FORM, CARD, 3)[1])
    assert (made["microseconds"], made["rule_microseconds"]) == (1.01, 3.01)


@pytest.mark.parametrize("others", [(3.5, 4.0), (2.999,)], ids=["slower", "within the spread"])
def test_a_tile_that_is_not_surely_faster_leaves_the_rule(others):
    assert tuned(trial_of(FORWARD), 3.0, *others) == {}


def spoiled(monkeypatch, spoil):
    """Let the kernels of every tile but the rule's first one be followed by `spoil(their arrays by name)`."""
    made, first = LAYERS[FORWARD], trial_of(FORWARD).candidates(FORM, CARD, 1)[0]

    def make(op, batch, form, around, card, tile):
        kernel = made(op, batch, form, around, card, tile)
        return replace(kernel, splits=1 if tile == first else 99)

    def load(kernels):
        def runner(kernel, run):
            def launch(*arrays, stream=None):
                run(*arrays)
                if kernel.splits == 99:
                    spoil(dict(zip([name for name, _ in kernel.arguments], arrays)))

            return launch

        return [runner(kernel, run) for kernel, run in zip(kernels, loaded(kernels))]

    loaded = tune.load
    monkeypatch.setitem(tile_trials.LAYERS, FORWARD, make)
    monkeypatch.setattr(tune, "load", load)


def one_value(arrays):
    arrays["y"].view(np.uint16)[3] ^= 0x4000


def unwritten(arrays):
    arrays["y"].view(np.uint16)[:2] = 0xFFFF


def gates(arrays):
    arrays["gate"][:4] ^= 1


@pytest.mark.parametrize(
    "spoil, message",
    [
        (one_value, "makes another y than the first: 1 values are off by more than their rounding"),
        (unwritten, "makes another y than the first: 2 values are written by one of them only"),
        (gates, "makes another gate than the first: .* of its words differ"),
    ],
)
def test_a_tile_with_a_wrong_kernel_raises(monkeypatch, spoil, message):
    spoiled(monkeypatch, spoil)
    with pytest.raises(MeasurementError, match=rf"bf16: Correlation .* Tile\(.*{message}"):
        tuned(trial_of(FORWARD), 3.0, 1.0)


def test_a_tile_whose_runs_differ_raises(monkeypatch):
    turns = count(1)
    spoiled(monkeypatch, lambda arrays: arrays["y"].view(np.uint16)[:1].fill(next(turns)))
    with pytest.raises(MeasurementError, match="two runs of one tile make different y: they race"):
        tuned(trial_of(FORWARD), 3.0, 1.0)


def test_the_suite_writes_a_table_which_is_then_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "TILES", tmp_path)
    monkeypatch.setattr(tune, "trials_of", lambda *arguments: [trial_of(FORWARD)])
    card = replace(CARD, table="card")
    cells = {"bf16": tune.cell([NETWORK], BATCH, FORM, card, 2, clock_of(2.0, 1.0))}
    assert suites.run_cells("tune", folder=tmp_path, only=["bf16"], cells=cells) == [tmp_path / "card.json"]
    trial = trial_of(FORWARD)
    rule, faster = trial.candidates(FORM, CARD, 2)
    assert choose_tile(trial.problem, FORM, card, 2) == faster != rule == choose_tile(trial.problem, FORM, CARD, 2)
    made, tabled = (trial.kernels(BATCH, FORM, *pair)[0] for pair in ((CARD, faster), (card, None)))
    assert (made.grid, made.block, made.shared_bytes) == (tabled.grid, tabled.block, tabled.shared_bytes)
    header = json.loads((tmp_path / "card.json").read_text())["environments"]["bf16"]
    assert (
        header["networks"] == ["small"] and header["batch_size"] == BATCH and {"gpu", "packages", "date"} <= {*header}
    )


def test_a_table_that_does_not_fit_does_not_keep_the_suite_from_running(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "TILES", tmp_path)
    trial = trial_of(FORWARD)
    entry = {"tile": {"rows": 3}, "microseconds": 1.0, "rule_microseconds": 2.0}
    tables.write_table("card", "bf16", {trial.key: entry}, {"date": "today"})
    monkeypatch.setattr(tune, "trials_of", lambda *arguments: [trial])
    tune.cell([NETWORK], BATCH, FORM, replace(CARD, table="card"), 2, clock_of(2.0, 1.0))([])


@pytest.mark.parametrize("forced, table, memory", [((9, 0), "h200", 232_448), ((7, 5), "h200-75", 64 * 1024)])
def test_the_engine_names_the_table_of_its_card_and_path(monkeypatch, forced, table, memory):
    properties = DeviceProperties("NVIDIA H200", (9, 0), 132, 232_448, 1, 1, 1, 1, 1, "13.0")
    monkeypatch.setattr(tensor, "SIMULATOR", False)
    monkeypatch.setattr(tensor.device, "device_properties", lambda: properties)
    monkeypatch.setattr(tensor.device, "capability", lambda: forced)
    assert tensor.card_here() == Card(132, memory, table=table)


@pytest.mark.parametrize("quick", [False, True])
def test_without_a_card_the_suite_refuses(monkeypatch, quick, tmp_path):
    monkeypatch.setattr(tune.device, "gpu_available", lambda: False)
    with pytest.raises(MeasurementError, match="times tiles on a card, and there is none"):
        suites.run_cells("tune", quick, tmp_path)


def test_a_card_has_a_cell_for_each_of_its_precisions(monkeypatch):
    monkeypatch.setattr(tune.device, "gpu_available", lambda: True)
    for capability, names in (((9, 0), ["bf16", "fp16", "tf32", "3xtf32"]), ((7, 5), ["fp16"])):
        monkeypatch.setattr(tune.device, "capability", lambda capability=capability: capability)
        assert list(tune.cells(quick=True)) == names


@pytest.mark.gpu
def test_tiles_are_timed_on_the_card():
    form, card = format_of("fp16", tune.device.capability()), replace(tune.card_here(), table=None)
    for kind in (FORWARD, "conv_weight_gradient", "dense_input_gradient"):
        trial = trial_of(kind, form)
        assert set(tune.tuned([trial], BATCH, form, card, 2)) <= {trial.key}
