"""Layers on tensor cores against reference.py in float64: operands as words, gates as bits, and the three checks.

Each check makes random operands that the format holds, runs the kernel on poisoned outputs, and raises where a value
is off by more than its rounding, a gate is wrong, a word was not written, or (on the CPU) two threads race.
"""

from dataclasses import replace
from math import prod

import numpy as np

from helpers import reference
from helpers.compiler import launch
from helpers.device import SIMULATOR
from helpers.geometry import DenseGeometry, PoolGeometry
from helpers.kernels.tensor import layers
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.layers import Surroundings
from helpers.kernels.tensor.layout import LANE_CHANNELS, MOST_CELLS, Packing, padded
from helpers.kernels.tensor.tiling import Card
from helpers.kernels.tensor.update import pack_weights
from helpers.lowering import Op
from helpers.rounding import round_to
from helpers.trace import trace
from helpers.windows import gather_windows
from tests.kernels.tensor.words import ROUNDING, decode

CARD, PLAIN, UNTOUCHED = Card(4, 64 * 1024), Surroundings(), -1
BF16, FP16 = ("bf16", (9, 0)), ("fp16", (7, 5))
# of a result of float32 sums, in the norm; stored in words it is rounded besides
SUMS = 1e-5


def dense_op(outputs, cells=1, channels=1, activation=None):
    """Op of a dense layer over an image of so many cells and channels."""
    return Op("dense_forward", "dense1", (), (), DenseGeometry(cells * channels, outputs), (), activation)


def pooling_to(shape, window, hanging=(0, 0)):
    """Max-pooling by `window` (rows, columns) to `shape` (D, H, W, C), of an image with `hanging` rows, columns."""
    depth, rows, columns, channels = shape
    before = (depth, rows * window[0] + hanging[0], columns * window[1] + hanging[1], channels)
    return PoolGeometry("max", before, shape, (1, *window), (1, *window), (0, 0, 0))


def execute(kernel, *arrays):
    """Run once; on the CPU under the tracer: a race, an access out of bounds or an uninitialised read raises."""
    if SIMULATOR:
        trace(kernel, *arrays, outputs=())
    else:
        launch(kernel, *arrays)


def poisoned(*shape):
    """Words that are NaN in every format."""
    return np.full(shape, UNTOUCHED, np.int32).view(np.float32)


def shapes_of(op, around):
    """Shapes (D, H, W, channels) of a layer's input and output, and (taps, channels, filters) of its weights."""
    g = op.geometry
    if op.kind.startswith("dense"):
        return around.image, (1, 1, 1, g.outputs), (around.cells, around.image[3], g.outputs)
    return g.in_shape, g.out_shape, (prod(g.kernel), g.in_channels, g.out_channels)


def operands(op, batch, precision, around, whole=False):
    """Random x, w, b and dy as float64, all but b as the format holds them; `whole`: small integers, with many ties."""
    of_x, of_y, of_w = shapes_of(op, around)
    rng = np.random.default_rng(prod(of_w) + batch)
    shapes = (batch, *of_x), of_w, of_w[2:], (batch, *of_y)
    if whole:
        return [rng.integers(low, 3, shape).astype(float) for low, shape in zip((0, -2, -1, -2), shapes)]
    size = np.sqrt(of_w[0] * of_w[1])
    x, w, b, dy = (rng.normal(0.2, 1, shape).astype(np.float32) for shape in shapes)
    return [rounded(x, precision), rounded(w / size, precision), b.astype(float), rounded(dy, precision)]


def rounded(values, precision):
    values = np.asarray(values, np.float32)
    return (values if precision == "3xtf32" else round_to(values, precision)).astype(float)


def encode(values, precision):
    """Words of values (..., channels) that the format holds; channels padded with zeros."""
    behind = padded(values.shape[-1]) - values.shape[-1]
    full = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, behind)]).astype(np.float32).reshape(-1)
    if precision == "fp16":
        return full.astype(np.float16).view(np.float32)
    return (full.view(np.uint32) >> 16).astype(np.uint16).view(np.float32) if precision == "bf16" else full


def words_of(x, op, around, precision):
    """Words of a layer's input, unfolded where it lies so."""
    if around.unfolded:
        x = gather_windows(x, op.geometry).reshape(len(x), *op.geometry.out_shape[:3], -1)
    return encode(x, precision)


def packed_weights(w, op, around, form):
    """Words of the weights for the forward pass and for the input gradient."""
    taps, channels, filters = w.shape
    kernel = (1, 1, 1) if op.kind.startswith("dense") or around.unfolded else op.geometry.kernel
    if around.unfolded:
        taps, channels = 1, taps * channels
    packing = Packing(taps, channels, filters, kernel, format_of(*form).packed)
    return [values.view(np.float32) for values in pack_weights(w.reshape(-1), packing, form[0])]


def gate_words(bits):
    """int32 words of gates (..., MOST_CELLS, channels): byte i of a word has bit c for channel c of eight."""
    bits = bits.reshape(*bits.shape[:-1], -1, LANE_CHANNELS).astype(np.uint32)
    places = 8 * np.arange(MOST_CELLS)[:, None, None] + np.arange(LANE_CHANNELS)
    return (bits << places.astype(np.uint32)).sum((-3, -1), dtype=np.uint32).view(np.int32)


def gate_bits(words):
    """The opposite of `gate_words`."""
    places = 8 * np.arange(MOST_CELLS)[:, None, None] + np.arange(LANE_CHANNELS)
    bits = words.view(np.uint32)[..., None, :, None] >> places.astype(np.uint32) & 1
    return bits.reshape(*bits.shape[:-2], -1).astype(bool)


def cells_of(winner):
    """(..., MOST_CELLS, channels) whether a cell is the winner, from (..., channels)."""
    return winner[..., None, :] == np.arange(MOST_CELLS)[:, None]


def assert_norm(found, wanted, limit):
    """The error of the whole array, relatively to its norm, which is not 0."""
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - wanted) <= limit * np.linalg.norm(wanted) > 0


def sums_of(op, x, w, b):
    """Outputs of a layer before its activation, in float64, (N, D, H, W, filters)."""
    if op.kind.startswith("dense"):
        return (reference.dense_forward(x.reshape(len(x), -1), w.reshape(-1, len(b)), b))[:, None, None, None]
    return reference.conv_forward(x, w.reshape(op.geometry.weight_shape), b, op.geometry)


def check_forward(op, batch, form, around=PLAIN, tile=None, whole=False, card=CARD):
    """Outputs and gates of a forward pass. Returns (outputs, gates) as found, without padding."""
    x, w, b, _ = operands(op, batch, form[0], around, whole)
    kernel = layers.forward(op, batch, format_of(*form), around, card, tile)
    shape = op.pool.out_shape if op.pool else shapes_of(op, around)[1]
    cells, channels, filters = (batch, *shape[:3]), padded(shape[3]), shape[3]
    y = poisoned(*cells, channels // (1 if around.logits else format_of(*form).packed))
    gate = np.full((*cells, channels // LANE_CHANNELS), UNTOUCHED, np.int32)
    execute(kernel, y, gate, words_of(x, op, around, form[0]), packed_weights(w, op, around, form)[0], np.float32(b))
    wanted, winner = sums_of(op, x, w, b), None
    if op.pool:
        wanted, winner = reference.pool_forward(wanted, op.pool)
    opened = cells_of(np.zeros(wanted.shape, int) if winner is None else winner)
    if op.activation:
        opened, wanted = opened & (wanted > 0)[..., None, :], np.maximum(wanted, 0)
    found = y.astype(float) if around.logits else decode(y, form[0])
    assert_norm(found[..., :filters], wanted, SUMS if around.logits else SUMS + ROUNDING[form[0]])
    assert (found[..., filters:] == 0).all()
    if op.activation or op.pool:
        assert np.array_equal(gate_bits(gate)[..., :filters], opened)
    else:
        assert (gate == UNTOUCHED).all()
    return found[..., :filters], gate_bits(gate)[..., :filters]


def check_input_gradient(op, batch, form, around=PLAIN, tile=None, pool=None, gated=True, card=CARD):
    """Gradient of a layer's input through random gates, or of what was pooled to it by `pool`."""
    _, w, _, dy = operands(op, batch, form[0], around)
    of_x, of_y, _ = shapes_of(op, around)
    kind = op.kind.replace("forward", "input_gradient")
    op = replace(op, kind=kind, mask="input" if gated else None, pool=pool, activation=None)
    kernel = layers.input_gradient(op, batch, format_of(*form), around, card, tile)
    channels, to, rng = padded(of_x[3]), pool.in_shape if pool else of_x, np.random.default_rng(batch)
    opened = rng.integers(0, 2, (batch, *of_x[:3], channels)).astype(bool)
    winner = rng.integers(0, prod(pool.window) if pool else 1, opened.shape)
    dx = poisoned(batch, *to[:3], channels // format_of(*form).packed)
    gate = gate_words(cells_of(winner) & opened[..., None, :])
    execute(kernel, dx, encode(dy, form[0]), packed_weights(w, op, around, form)[1], gate)
    if op.kind.startswith("dense"):
        wanted = reference.dense_input_gradient(dy.reshape(batch, -1), w.reshape(-1, of_y[3])).reshape(batch, *of_x)
    else:
        wanted = reference.conv_input_gradient(dy, w.reshape(op.geometry.weight_shape), op.geometry)
    wanted = wanted * opened[..., : of_x[3]] if gated or pool else wanted
    found = decode(dx, form[0])
    if pool:
        wanted = reference.pool_input_gradient(wanted, winner[..., : of_x[3]], pool)
        rows, columns = (n * size for n, size in zip(of_x[1:3], pool.window[1:]))
        assert np.isnan(found[:, :, rows:]).all() and np.isnan(found[:, :, :, columns:]).all()
        found, wanted = found[:, :, :rows, :columns], wanted[:, :, :rows, :columns]
        assert (found[..., : of_x[3]][wanted == 0] == 0).all()
    assert_norm(found[..., : of_x[3]], wanted, SUMS + ROUNDING[form[0]])
    assert (found[..., of_x[3] :] == 0).all()


def check_weight_gradient(op, batch, form, around=PLAIN, tile=None, card=CARD):
    """Sum over splits of the gradients of weights and biases. Returns the number of splits."""
    x, w, b, dy = operands(op, batch, form[0], around)
    op = replace(op, kind=op.kind.replace("forward", "weight_gradient"), activation=None, pool=None)
    kernel = layers.weight_gradient(op, batch, format_of(*form), around, card, tile)
    gradient = poisoned(kernel.splits, w.size + b.size)
    execute(kernel, gradient, words_of(x, op, around, form[0]), encode(dy, form[0]))
    if op.kind.startswith("dense"):
        dw, db = reference.dense_weight_gradient(x.reshape(batch, -1), dy.reshape(batch, -1))
    else:
        dw, db = reference.conv_weight_gradient(x, dy, op.geometry)
    found = gradient.astype(float).sum(0)
    assert_norm(found[: w.size], dw.reshape(-1), SUMS)
    assert_norm(found[w.size :], db, SUMS)
    return kernel.splits
