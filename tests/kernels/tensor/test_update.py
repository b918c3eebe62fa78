"""The update that also packs weights, against float64 NumPy; and that every weight has one place in either layout."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from helpers import reference
from helpers.assembly import resources
from helpers.compiler import launch
from helpers.device import SIMULATOR
from helpers.kernels import state as words
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.layout import CHUNK, Packing, padded, row_of
from helpers.kernels.tensor.update import LayerUpdate, pack_weights, update
from helpers.lowering import Op
from helpers.network import Parameter
from helpers.rounding import round_to
from helpers.trace import trace
from tests.kernels.tensor.words import EVERY_FORMAT

# taps, channels, filters, kernel; a dense layer's kernel is one cell whatever its taps
LAYERS = [
    (9, 1, 5, (1, 3, 3)),
    (10, 3, 5, (1, 5, 2)),
    (12, 2, 3, (2, 2, 3)),
    (1, 27, 32, (1, 1, 1)),
    (3, 17, 33, (1, 1, 3)),
    (6, 5, 10, (1, 1, 1)),
    (1, 33, 70, (1, 1, 1)),
]
FOURS = [(9, 3, 36, (1, 3, 3)), (6, 2, 8, (1, 2, 3)), (3, 5, 12, (1, 1, 1))]  # a thread updates four parameters
EVERY_LAYER = pytest.mark.parametrize("layer", LAYERS, ids=str)


def layers_of(shapes, packed, splits=(3, 1, 20), source=3):
    """Layers one after another, the first without an input gradient, and the lengths of vector, gradient and packed."""
    layers, offset, begin = [], 0, 8
    for number, (taps, channels, filters, kernel) in enumerate(shapes):
        packing = Packing(taps, channels, filters, kernel, packed)
        size, share = (taps * channels + 1) * filters, splits[number % len(splits)]
        backward = begin + packing.size + 16 if number else None
        layers.append(LayerUpdate(offset, size, share, source, packing, begin, backward))
        offset, source = offset + size, source + size * share + source % 4
        begin += (2 if number else 1) * (packing.size + 16)
    return tuple(layers), offset, source, begin


def op_of(size):
    """An update of one parameter vector of `size`."""
    return Op("update", "update", (), (), parameters=(Parameter("w", (size,), 0, 1, 1),))


def run(shapes, form, batch=3, execute=launch, splits=(3, 1, 20), source=3, **tiling):
    """Run one update on random values: (arrays after, arrays before, layers)."""
    layers, size, length, count = layers_of(shapes, form.packed, splits, source)
    rng = np.random.default_rng(length)
    before = {
        "parameters": rng.normal(size=size), "velocity": rng.normal(size=size), "gradient": rng.normal(size=length),
        "learning_rates": np.array([9.0, 9.0, 0.3, 9.0]), "losses": np.full(4, np.nan), "hits": np.full(4, -1),
        "sample_loss": rng.random(batch), "correct": rng.integers(0, 2, batch),
    }  # fmt: skip
    kinds = {"hits": np.int32, "correct": np.int32}
    before = {name: value.astype(kinds.get(name, np.float32)) for name, value in before.items()}
    before["state"] = np.zeros(words.WORDS, np.int32)
    before["state"][[words.STEP, words.CURRENT]] = 77, 2
    before["packed"] = np.full(count, 12345, form.storage)
    if form.scaled:
        before |= {"overflows": np.zeros(4, np.int32), "loss_scale": np.array([np.nan, 5, 64], np.float32)}
    after = {name: value.copy() for name, value in before.items()}
    execute(update(op_of(size), batch, layers, 0.9, form, flags=4, **tiling), *after.values())
    return after, before, layers


def bits(values):
    return values.view(np.uint16 if values.itemsize == 2 else np.uint32)


def assert_packed(after, before, layers, name):
    """Every weight after the step lies in its two places, and nothing else has changed."""
    wanted = before["packed"].copy()
    for layer in layers:
        packing, weights = layer.packing, after["parameters"][layer.offset : layer.offset + layer.weights]
        where = np.unravel_index(np.arange(weights.size), (packing.taps, packing.channels, packing.filters))
        forward, backward = pack_weights(weights, packing, name)
        places = packing.forward_place(*where)
        wanted[layer.forward + places] = forward[places]
        if layer.backward is not None:
            places = packing.backward_place(*where)
            wanted[layer.backward + places] = backward[places]
    np.testing.assert_array_equal(bits(after["packed"]), bits(wanted))


@EVERY_FORMAT
@pytest.mark.parametrize("shapes, tiling", [
    (LAYERS[:3], {"ahead": 2, "threads": 32}), (LAYERS[3:4], {}), (LAYERS[4:6], {"ahead": 1, "threads": 64}),
    (LAYERS[6:], {"threads": 128}), (FOURS, {"source": 4, "splits": (2, 20, 130), "threads": 64, "ahead": 4}),
    (FOURS[1:] + LAYERS[3:5], {"source": 0, "splits": (8, 9, 64)}),
], ids=["convolutions", "unfolded", "convolution, dense", "dense", "four at once", "four and one"])  # fmt: skip
def test_update(shapes, tiling, precision, card):
    after, before, layers = run(shapes, format_of(precision, card), **tiling)
    gradient = np.concatenate([
        before["gradient"][l.source :][: l.size * splits].reshape(splits, l.size).sum(0, dtype=np.float64)
        for l, splits in ((l, 1 if "loss_scale" in before else l.splits) for l in layers)  # scaled: summed before
    ])  # fmt: skip
    parameters, velocity = before["parameters"].astype(np.float64), before["velocity"].astype(np.float64)
    reference.sgd_update(parameters, velocity, gradient, 0.3, 0.9)
    np.testing.assert_allclose(after["velocity"], velocity, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(after["parameters"], parameters, rtol=1e-5, atol=1e-5)
    for name in ("gradient", "learning_rates", "sample_loss", "correct"):
        assert np.array_equal(after[name], before[name])
    assert_packed(after, before, layers, precision)


@pytest.mark.parametrize("batch", [1, 33, 70])
def test_metrics_and_counters(batch):
    after, before, _ = run(LAYERS[:1], format_of("tf32", (9, 0)), batch, threads=32)
    assert after["losses"][2] == pytest.approx(before["sample_loss"].mean(dtype=np.float64), rel=1e-6)
    assert after["hits"].tolist() == [-1, -1, before["correct"].sum(), -1]
    assert np.isnan(after["losses"][[0, 1, 3]]).all()
    assert after["state"][[words.STEP, words.CURRENT, words.STATUS]].tolist() == [3, 2, 0]


@pytest.mark.skipif(not SIMULATOR, reason="the tracer runs on the CPU")
@EVERY_FORMAT
def test_no_two_threads_write_one_cell(precision, card):
    after, before, layers = run(LAYERS[:2], format_of(precision, card), execute=trace, ahead=1, threads=32)
    assert_packed(after, before, layers, precision)
    fours = {"source": 0, "splits": (20, 3), "ahead": 2, "threads": 32}
    after, before, layers = run(FOURS[1:], format_of(precision, card), execute=trace, **fours)
    assert {layer.together for layer in layers} == {4}
    assert_packed(after, before, layers, precision)


@EVERY_LAYER
@pytest.mark.parametrize("packed", [1, 2])
def test_every_weight_has_one_place_in_either_layout(layer, packed):
    packing = Packing(*layer, packed)
    where = np.indices((packing.taps, packing.channels, packing.filters)).reshape(3, -1)
    for place in (packing.forward_place, packing.backward_place):
        places = place(*where)
        assert len(np.unique(places)) == places.size and 0 <= places.min() <= places.max() < packing.size


def arranged(weights, packed):
    """(kernel planes, rows, columns, inner, outer) as (chunks, planes, columns, rows, outer, chunk), flat.

    The rows of `outer` in the order of `row_of`.
    """
    planes, rows, columns, inner, outer = weights.shape
    chunk, tiled = CHUNK * packed, np.empty_like(weights)
    tiled[..., [row_of(k) for k in range(outer)]] = weights
    return tiled.reshape(planes, rows, columns, inner // chunk, chunk, outer).transpose(3, 0, 2, 1, 5, 4).reshape(-1)


@EVERY_FORMAT
@EVERY_LAYER
def test_packed_weights_are_transposed_and_turned_about(layer, precision, card):
    taps, channels, filters, kernel = layer
    packing = Packing(*layer, format_of(precision, card).packed)
    weights = np.random.default_rng(taps).standard_normal((taps, channels, filters)).astype(np.float32)
    whole = np.pad(weights, ((0, 0), (0, padded(channels) - channels), (0, padded(filters) - filters)))
    whole = whole.reshape(*kernel, -1, padded(filters))
    turned = whole[::-1, ::-1, ::-1].swapaxes(3, 4)
    found = pack_weights(weights, packing, precision)
    for values, wanted in zip(found, (whole, turned)):
        wanted = arranged(wanted, packing.packed)
        if precision == "3xtf32":
            np.testing.assert_array_equal(values, wanted)
        elif precision == "tf32":  # ties go away from zero, in rounding.py to even
            np.testing.assert_allclose(values, wanted, rtol=2.0**-11)
            assert not (bits(values) & np.uint32(0x1FFF)).any()
        elif precision == "bf16":
            np.testing.assert_array_equal((values.astype(np.uint32) << 16).view(np.float32), round_to(wanted, "bf16"))
        else:
            np.testing.assert_array_equal(values.view(np.float16), wanted.astype(np.float16))
        assert values.dtype == format_of(precision, card).storage and values.size == packing.size
    assert prod(kernel) in (taps, 1)


def test_layers_that_are_not_their_packing_are_refused():
    form = format_of("bf16", (9, 0))
    layers, size, _, _ = layers_of(LAYERS[:2], form.packed)
    first, last = layers
    for changed, message in [
        ((replace(first, size=49), last), "a layer has 49 parameters; expected 50"),
        ((replace(first, packing=replace(first.packing, packed=1)), last), "packed by 1; expected 2, as bf16 has it"),
        ((replace(first, forward=last.forward + 1), last), "packed weights begin at"),
        ((first,), "expected 205, the whole vector"),
    ]:
        with pytest.raises(ValueError, match=message):
            update(op_of(size), 1, changed, 0.9, form)


@pytest.mark.assemble
@EVERY_FORMAT
def test_no_spill(precision, card):
    form = format_of(precision, card)
    widths = [(32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    shapes = [(1, 27, 32, (1, 1, 1)), *((9, c, k, (1, 3, 3)) for c, k in widths), (16, 128, 10, (1, 1, 1))]
    layers, size, _, _ = layers_of(shapes, form.packed, splits=(132, 16, 1), source=0)
    used = resources(update(op_of(size), 128, layers, 0.9, form, flags=1000), card)
    assert used.stack_bytes == used.spill_bytes == 0
