"""Where an update writes new weights, packed for the next step's products; the places are those of layout.Packing.

Knows where a layer's packed weights lie; must not learn how weights change.
"""

from math import prod

from helpers.device import device_function
from helpers.kernels.intrinsics import quotient
from helpers.kernels.tensor.layout import Packing, padded, row_of
from helpers.unroll import unroll, unrolled

QUAD = 4  # neighbouring parameters that a thread updates


def places_of(layer):
    """What `put_weight` and `put_weights` must know of a LayerUpdate, a tuple of integers.

    The last, where its weights begin for the input gradient, is -1 for a layer packed for the forward pass alone.
    """
    packing = layer.packing
    _, rows, columns = packing.kernel
    cell = padded(packing.channels) if packing.dense else 0  # channels from a dense layer's tap to its next
    return (
        *(layer.weights, packing.channels, packing.filters, prod(packing.kernel), rows, columns, cell),
        *(packing.input_channels, packing.output_channels, layer.forward),
        -1 if layer.backward is None else layer.backward,
    )


def putters(form):
    """Device functions that write weights, from parameter `number` of a layer on, to the array `packed`; no biases.

    Returns
    -------
    put_weight : callable
        put_weight(packed, places, number, value): one parameter.
    put_weights : callable
        put_weights(packed, places, number, values): four, of a layer whose filters are a multiple of 4, as `number`.
        They share all divisions: neighbouring filters, which lie together for the input gradient.
    """
    chunk, put = Packing(1, 1, 1, (1, 1, 1), form.packed).chunk, form.put
    find, steps = _make_find(chunk), [row_of(k) * chunk for k in range(QUAD)]
    first, second, third, fourth = steps

    @device_function
    def put_weight(packed, places, number, value):
        if number < places[0]:
            forward, backward = find(places, number)
            put(packed, forward, value)
            if backward >= 0:
                put(packed, backward, value)

    @device_function
    @unrolled
    def put_weights(packed, places, number, values):
        if number < places[0]:
            forward, backward = find(places, number)
            put(packed, forward + first, values[0])
            put(packed, forward + second, values[1])
            put(packed, forward + third, values[2])
            put(packed, forward + fourth, values[3])
            if backward >= 0:
                for k in unroll(QUAD):
                    put(packed, backward + k, values[k])

    return put_weight, put_weights


def _make_find(chunk):
    """Device function find(places, number) -> index of a weight for the forward pass and for the input gradient."""
    row = device_function(row_of)

    @device_function
    def find(places, number):
        _, channels, filters, taps, rows, columns, cell, inputs, outputs, forward, backward = places
        rest = quotient(number, filters)
        filter, tap = number - rest * filters, quotient(rest, channels)
        channel, column = rest - tap * channels + tap * cell, 0
        if taps > 1:
            line = quotient(tap, columns)
            plane = quotient(line, rows)
            column = (plane * columns + tap - line * columns) * rows + line - plane * rows
        piece, inside = quotient(channel, chunk), channel % chunk
        ahead = forward + ((piece * taps + column) * outputs + row(filter)) * chunk + inside
        piece, inside = quotient(filter, chunk), filter % chunk
        back = backward + ((piece * taps + taps - 1 - column) * inputs + row(channel)) * chunk + inside
        return ahead, back if backward >= 0 else -1

    return find
