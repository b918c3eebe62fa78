"""End of a step on tensor cores: as kernels/update.py, and new weights are also packed for the next step's products.

Knows the parameter vector and where a layer's packed weights lie; must not learn what a layer computes. All sums run
in a fixed order. Where a layer allows it, a thread takes four neighbouring parameters, by 128-bit accesses.
"""

from dataclasses import dataclass, replace

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import load4, shared_floats, store4
from helpers.kernels.reduction import tree_sum
from helpers.kernels.state import CURRENT
from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.intrinsics import round_tf32
from helpers.kernels.tensor.layout import Packing
from helpers.kernels.tensor.loss_scale import GROWTH, adjuster, overflow_finder
from helpers.kernels.tensor.packing import QUAD, places_of, putters
from helpers.kernels.tensor.partial_sums import ZERO, finder, lanes_adder, share_out_all, splits_summer
from helpers.kernels.update import _make_record
from helpers.rounding import round_to
from helpers.unroll import registers, unroll, unrolled

RESIDENT = 1024  # threads that every multiprocessor holds at once


@dataclass(frozen=True)
class LayerUpdate:
    """One layer's parameters: weights in C order of (taps, channels, filters), behind them a bias for each filter.

    Parameters
    ----------
    offset, size : int
        Its slice of the parameter vector.
    splits, source : int
        The number of partial sums and where they begin in `gradient`, in floats.
    packing : Packing
    forward, backward : int
        Where its weights begin in `packed`, in values: for the forward pass and for the input gradient. None for the
        layer that needs no input gradient.
    """

    offset: int
    size: int
    splits: int
    source: int
    packing: Packing
    forward: int
    backward: int | None

    @property
    def weights(self):
        """Parameters that are no biases."""
        return self.packing.taps * self.packing.channels * self.packing.filters

    @property
    def together(self):
        """Neighbouring parameters that a thread may take: four where they begin at 16 bytes in every split."""
        return 1 if self.packing.filters % QUAD or self.offset % QUAD or self.source % QUAD else QUAD


def update(op, batch, layers, momentum, form, ahead=8, threads=128, flags=0, growth=GROWTH):
    """Kernel of g = sum of the splits, v = momentum * v + g, w = w - learning_rates[CURRENT] * v, and w packed.

    The float32 vector stays the master copy. Of `packed` only the cells of weights are written: the padding between
    them must be zero before the first step, as `pack_weights` leaves it. Loss, hits and counters as in
    kernels/update.py.

    Where the format's loss is scaled, the gradients are those that `sum_weight_gradient` has left. With one of its
    flags set, parameters, velocity and packed weights stay as they are; the next step's scale is set in any case.

    Parameters
    ----------
    op : Op
        Its parameters are the whole vector.
    batch : int
    layers : tuple of LayerUpdate
        In the order of the vector.
    momentum : float
    form : Format
        Of the packed weights.
    ahead : int
        Splits that a thread reads before it adds them; it goes on to as many more where a layer has more.
    threads : int
        Of a block; a power of two.
    flags : int
        Of a scaled loss: the blocks of `sum_weight_gradient`.
    growth : int
        Good steps after which the loss scale is doubled.

    Returns
    -------
    TensorKernel
        Of the arguments of "update", `packed`, an array of `form.storage`, and those of a scaled loss.

    Raises
    ------
    ValueError
        If layers overlap, are out of order or leave parameters out, if a layer's size is not that of its packing, or
        if packed weights overlap or are of another format.
    """
    _check(op, layers, form)
    if form.scaled:
        layers = tuple(replace(layer, splits=1) for layer in layers)
    advance, blocks = _make_advance(layers, momentum, form, ahead, threads)
    record, any_overflow, adjust = _make_record(batch, threads), overflow_finder(flags, threads), adjuster(growth)

    def body(parameters, velocity, gradient, learning_rates, losses, hits, sample_loss, correct, state, packed):
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        values, current = shared_floats(0), np.int64(state[CURRENT])
        if block == 0:
            record(values, thread, current, losses, hits, sample_loss, correct, state)
        advance(parameters, velocity, gradient, learning_rates, current, packed, values, block, thread)

    def scaled_body(
        parameters, velocity, gradient, learning_rates, losses, hits, sample_loss, correct, state, packed, overflows,
        loss_scale,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        values, current = shared_floats(0), np.int64(state[CURRENT])
        skipped = any_overflow(overflows, thread)
        if block == 0:
            record(values, thread, current, losses, hits, sample_loss, correct, state)
            if thread == 0:
                adjust(loss_scale, skipped)
        if not skipped:  # every block has read the same flags
            advance(parameters, velocity, gradient, learning_rates, current, packed, values, block, thread)

    launch = {"grid": (blocks, 1, 1), "block": (threads, 1, 1), "shared_bytes": 4 * QUAD * threads}
    held = {"storage": form.storage, "blocks_per_multiprocessor": min(16, max(1, RESIDENT // threads))}
    return TensorKernel("update", scaled_body if form.scaled else body, **launch, **held, scaled=form.scaled)


def _make_advance(layers, momentum, form, ahead, threads):
    """Device function advance(...): a block's part of its layer; and the number of blocks, the first of no layer."""
    quads, table, singles, rest, blocks = share_out_all(layers, 1, ahead, threads)
    momentum, (put_weight, put_weights) = np.float32(momentum), putters(form)
    step_quads = _make_quads(put_weights, momentum, ahead, threads)
    step_singles = _make_singles(put_weight, momentum, ahead, threads)
    places, places_of_rest = tuple(map(places_of, quads)), tuple(map(places_of, singles))
    many, few = len(quads), len(singles)

    @device_function
    @unrolled
    def advance(parameters, velocity, gradient, learning_rates, current, packed, values, block, thread):
        for n in unroll(many):  # each layer by its own constants, so that nothing is multiplied or divided
            if (block >= table[n][0]) & (block < table[n][1]):
                rate = learning_rates[current]
                step_quads(parameters, velocity, gradient, rate, packed, values, block, thread, table[n], places[n])
        for n in unroll(few):
            if (block >= rest[n][0]) & (block < rest[n][1]):
                rate = learning_rates[current]
                step_singles(
                    parameters, velocity, gradient, rate, packed, values, block, thread, rest[n], places_of_rest[n]
                )

    return advance, blocks


def _check(op, layers, form):
    """Refuse layers that are not what their packing says."""
    ranges, end = [], 0
    for layer in layers:
        packing = layer.packing
        if layer.offset < end:
            raise ValueError(f"a layer begins at parameter {layer.offset}, inside the one before, which ends at {end}")
        end = layer.offset + layer.size
        if layer.size != layer.weights + packing.filters:
            raise ValueError(
                f"a layer has {layer.size} parameters; expected {layer.weights + packing.filters}, the weights and "
                f"biases of {packing}"
            )
        if packing.packed != form.packed:
            raise ValueError(f"weights are packed by {packing.packed}; expected {form.packed}, as {form.name} has it")
        ranges += [(begin, packing.size) for begin in (layer.forward, layer.backward) if begin is not None]
    covered, count = sum(layer.size for layer in layers), sum(p.size for p in op.parameters)
    if covered != count:
        raise ValueError(f"the layers hold {covered} parameters; expected {count}, the whole vector")
    ranges.sort()
    for (begin, size), (following, _) in zip(ranges, ranges[1:]):
        if following < begin + size:
            raise ValueError(f"packed weights begin at {following}, inside those from {begin} to {begin + size}")


def _make_quads(put_weights, momentum, ahead, threads):
    """Device function advance(...): a block's part of the layer of `row`, four parameters a thread."""
    find, sum_quads, add_lanes = finder(threads, QUAD), splits_summer(ahead, QUAD), lanes_adder(threads)

    @device_function
    @unrolled
    def advance(parameters, velocity, gradient, rate, packed, values, block, thread, row, places):
        weight = registers(QUAD)
        speed = registers(QUAD)
        _, _, offset, size, splits, source, shift, turns, rounds, step = row
        i, lane, share = find(block, thread, row)
        owner = (lane == 0) & (i < size)
        if owner:
            weight[0], weight[1], weight[2], weight[3] = load4(parameters, offset + i)
            speed[0], speed[1], speed[2], speed[3] = load4(velocity, offset + i)
        left = splits - lane if i < size else 0
        total = sum_quads(gradient, source + lane * size + i, size, left, share, turns, rounds, step)
        total = add_lanes(values, total, thread, shift)
        if owner:
            for k in unroll(QUAD):
                speed[k] = momentum * speed[k] + total[k]
                weight[k] = weight[k] - rate * speed[k]
            store4(velocity, offset + i, speed[0], speed[1], speed[2], speed[3])
            store4(parameters, offset + i, weight[0], weight[1], weight[2], weight[3])
            put_weights(packed, places, i, weight)

    return advance


def _make_singles(put_weight, momentum, ahead, threads):
    """Device function advance(...): as `_make_quads`, one parameter a thread."""
    find, sum_singles = finder(threads, 1), splits_summer(ahead, 1)

    @device_function
    @unrolled
    def advance(parameters, velocity, gradient, rate, packed, values, block, thread, row, places):
        _, _, offset, size, splits, source, shift, turns, rounds, step = row
        i, lane, share = find(block, thread, row)
        owner = (lane == 0) & (i < size)
        weight, speed = ZERO, ZERO
        if owner:
            weight, speed = parameters[offset + i], velocity[offset + i]
        left = splits - lane if i < size else 0
        total = sum_singles(gradient, source + lane * size + i, size, left, share, turns, rounds, step)
        values[thread] = total[0]
        tree_sum(values, thread, threads, 1 << shift)
        if owner:
            speed = momentum * speed + values[thread]
            weight = weight - rate * speed
            velocity[offset + i], parameters[offset + i] = speed, weight
            put_weight(packed, places, i, weight)

    return advance


def pack_weights(weights, packing, form_name):
    """A layer's weights as the update packs them; NumPy, for weights that a step did not make.

    Parameters
    ----------
    weights : ndarray, float32, taps * channels * filters values
        In the visible layout.
    packing : Packing
    form_name : {"3xtf32", "tf32", "bf16", "fp16"}

    Returns
    -------
    forward, backward : ndarray, float32 or (16-bit formats) uint16, shape (packing.size,)
        Rounded as on the card, zeros in the padding.
    """
    values = _rounded(np.asarray(weights, np.float32).reshape(-1), form_name)
    where = np.unravel_index(np.arange(values.size), (packing.taps, packing.channels, packing.filters))
    forward, backward = np.zeros((2, packing.size), values.dtype)
    forward[packing.forward_place(*where)] = values
    backward[packing.backward_place(*where)] = values
    return forward, backward


def _rounded(values, form_name):
    """float32 `values` in the storage type of a format."""
    if form_name == "3xtf32":
        return values
    if form_name == "tf32":
        return round_tf32.py_func(values)  # ties as on the card, so that a run that goes on repeats an unbroken one
    if form_name == "bf16":
        return (round_to(values, form_name).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(np.float16).view(np.uint16)
