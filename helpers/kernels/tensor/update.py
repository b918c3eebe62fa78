"""End of a step on tensor cores: as kernels/update.py, and new weights are also packed for the next step's products.

Knows the parameter vector and where a layer's packed weights lie; must not learn what a layer computes. All sums run
in a fixed order.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, shared_floats
from helpers.kernels.reduction import tree_sum
from helpers.kernels.state import CURRENT
from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.intrinsics import round_tf32
from helpers.kernels.tensor.layout import Packing, padded, row_of
from helpers.kernels.update import _make_record, _share_out
from helpers.rounding import round_to
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)


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


def update(op, batch, layers, momentum, form, ahead=8, threads=256):
    """Kernel of g = sum of the splits, v = momentum * v + g, w = w - learning_rates[CURRENT] * v, and w packed.

    The float32 vector stays the master copy. Of `packed` only the cells of weights are written: the padding between
    them must be zero before the first step, as `pack_weights` leaves it. Loss, hits and counters as in
    kernels/update.py.

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
        Splits that a thread reads before it adds them.
    threads : int
        Of a block; a power of two.

    Returns
    -------
    TensorKernel
        Of the arguments of "update" and `packed`, an array of `form.storage`.

    Raises
    ------
    ValueError
        If layers overlap, are out of order or leave parameters out, if a layer's size is not that of its packing, or
        if packed weights overlap or are of another format.
    """
    _check(layers, form)
    segments = tuple((layer.offset, layer.size, layer.splits, layer.source) for layer in layers)
    table, blocks = _share_out(op, segments, ahead, threads)
    body = _make_body(table, layers, batch, np.float32(momentum), form, ahead, threads)
    grid, block = (1 + blocks, 1, 1), (threads, 1, 1)
    return TensorKernel("update", body, grid, block, shared_bytes=8 * threads, storage=form.storage)


def _check(layers, form):
    """Refuse layers that are not what their packing says."""
    ranges = []
    for layer in layers:
        packing = layer.packing
        if layer.size != layer.weights + packing.filters:
            raise ValueError(
                f"a layer has {layer.size} parameters; expected {layer.weights + packing.filters}, the weights and "
                f"biases of {packing}"
            )
        if packing.packed != form.packed:
            raise ValueError(f"weights are packed by {packing.packed}; expected {form.packed}, as {form.name} has it")
        ranges += [(begin, packing.size) for begin in (layer.forward, layer.backward) if begin is not None]
    ranges.sort()
    for (begin, size), (following, _) in zip(ranges, ranges[1:]):
        if following < begin + size:
            raise ValueError(f"packed weights begin at {following}, inside those from {begin} to {begin + size}")


def _make_body(table, layers, batch, momentum, form, ahead, threads):
    count, places = len(table), tuple(map(_constants, layers))
    record, sum_splits, put_weight = _make_record(batch, threads), _make_sum(ahead), _make_put(form)

    @unrolled
    def body(parameters, velocity, gradient, learning_rates, losses, hits, sample_loss, correct, state, packed):
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        values, current = shared_floats(0), np.int64(state[CURRENT])
        if block == 0:
            record(values, thread, current, losses, hits, sample_loss, correct, state)
        else:
            begin, offset, size, splits, source, shift, rounds = table[0]
            places_here = places[0]
            for layer in unroll(1, count):  # the last layer that begins at or before this block
                if block >= table[layer][0]:
                    begin, offset, size, splits, source, shift, rounds = table[layer]
                    places_here = places[layer]
            column, lane, lanes = thread & ((1 << shift) - 1), thread >> shift, threads >> shift
            i = ((block - begin) << shift) + column
            owner = lane == 0 and i < size
            weight, speed = ZERO, ZERO
            if owner:
                weight, speed = parameters[offset + i], velocity[offset + i]
            left = splits - lane if i < size else 0
            values[thread] = sum_splits(gradient, source + lane * size + i, lanes * size, left, lanes, rounds)
            rate = learning_rates[current]
            tree_sum(values, thread, threads, 1 << shift)
            if owner:
                speed = momentum * speed + values[thread]
                weight = weight - rate * speed
                velocity[offset + i], parameters[offset + i] = speed, weight
                put_weight(packed, places_here, i, weight)

    return body


def _make_sum(ahead):
    """Device function: the sum of every `lanes`-th split of a parameter, `left` splits from the first on."""

    @device_function
    @unrolled
    def sum_splits(gradient, at, stride, left, lanes, rounds):
        part = registers(ahead)
        total = ZERO
        for _ in range(rounds):
            for k in unroll(ahead):  # all reads are in flight before the first is added
                part[k] = ZERO
                if k * lanes < left:
                    part[k] = gradient[at + k * stride]
            for k in unroll(ahead):
                total += part[k]
            at, left = at + ahead * stride, left - ahead * lanes
        return total

    return sum_splits


def _constants(layer):
    """What `put_weight` must know of a layer, integers only; a begin of -1: packed for the forward pass alone."""
    packing = layer.packing
    _, rows, columns = packing.kernel
    cell = padded(packing.channels) if packing.dense else 0  # channels from a dense layer's tap to its next
    return (
        *(layer.weights, packing.channels, packing.filters, prod(packing.kernel), rows, columns, cell),
        *(packing.input_channels, packing.output_channels, layer.forward),
        -1 if layer.backward is None else layer.backward,
    )


def _make_put(form):
    """Device function put_weight(packed, places, number, value): parameter `number` of a layer, where it is a weight.

    The places are those of layout.Packing.
    """
    chunk, put, row = Packing(1, 1, 1, (1, 1, 1), form.packed).chunk, form.put, device_function(row_of)

    @device_function
    def put_weight(packed, places, number, value):
        weights, channels, filters, taps, rows, columns, cell, inputs, outputs, forward, backward = places
        if number < weights:
            rest = quotient(number, filters)
            filter, tap = number - rest * filters, quotient(rest, channels)
            channel, column = rest - tap * channels + tap * cell, 0
            if taps > 1:
                line = quotient(tap, columns)
                plane = quotient(line, rows)
                column = (plane * columns + tap - line * columns) * rows + line - plane * rows
            piece, inside = channel // chunk, channel % chunk
            put(packed, forward + ((piece * taps + column) * outputs + row(filter)) * chunk + inside, value)
            if backward >= 0:
                piece, inside = filter // chunk, filter % chunk
                column = taps - 1 - column
                put(packed, backward + ((piece * taps + column) * inputs + row(channel)) * chunk + inside, value)

    return put_weight


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
