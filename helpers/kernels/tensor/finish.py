"""What becomes of the sums of a convolution on tensor cores: bias, activation and pooling forward, gates backward.

A lane ends with eight neighbouring filters (layout.row_of) of two outputs of each line. Must not learn how sums are
made.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder, store4
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.layout import GATE_BITS, LANE_CHANNELS
from helpers.kernels.tensor.tiles import tile_of
from helpers.kernels.tensor.windows import half_of, larger, of_other_lane
from helpers.unroll import registers, unroll, unrolled

ZERO = np.float32(0.0)


def words_storer(form):
    """Device function store(out, index, eight values): rounded, from value number `index`, a multiple of 8, on."""
    packed, encode = form.packed, form.encode
    count = LANE_CHANNELS // packed

    @device_function
    @unrolled
    def store(out, index, values):
        word = registers(count)
        for i in unroll(count):
            word[i] = encode(values[i * packed], values[i * packed + packed - 1])
        at = quotient(index, packed)
        for i in unroll(0, count, 4):
            store4(out, at + i, word[i], word[i + 1], word[i + 2], word[i + 3])

    return store


@device_function
def store_floats(out, index, values):
    """Eight float32 from `index`, a multiple of 8, on."""
    store4(out, index, values[0], values[1], values[2], values[3])
    store4(out, index + 4, values[4], values[5], values[6], values[7])


def lane_outputs(staging):
    """Device functions (outputs, filters): (image, column) of this lane in a half of its line, and its first filter."""
    line_columns = staging.line_columns

    @device_function
    def outputs(image, column, half):
        pixel = quotient(remainder(cuda.threadIdx.x, WARP), 4) + 8 * half
        return image + quotient(pixel, line_columns), column + remainder(pixel, line_columns)

    @device_function
    def filters(filter):
        return filter + LANE_CHANNELS * remainder(cuda.threadIdx.x, 4)

    return outputs, filters


def bias_and_pool(staging, form, filters, relu, window=(1, 1), floats=False):
    """`finish` of a forward pass: keeps the largest of each window, adds the bias, activates, stores it and its gates.

    Parameters
    ----------
    staging : Staging
    form : Format
    filters : int
        Those that exist; beyond them the outputs are 0.
    relu : bool
    window : (int, int)
        Rows and columns of a pooling without overlap; its rows divide the warp's, its columns are 1, 2, 4 or 8.
    floats : bool
        Store float32: logits.
    """
    rows, (high, wide) = staging.tile.rows, window
    outputs, first_filter = lane_outputs(staging)
    exchanges, load_bias = wide.bit_length() - 1, _bias_loader(filters)
    emit = _emitter(staging, form, relu, window, floats)

    @device_function
    @unrolled
    def finish(y, gate, b, image, z, row, column, filter, sums):
        acc = tile_of(sums, rows)
        first = first_filter(filter)
        bias = load_bias(b, first)
        for half in unroll(2):
            n, x = outputs(image, column, half)
            for r in unroll(rows // high):
                best, code = half_of(acc[r * high], half), _every(remainder(x, wide))
                for i in unroll(1, high):
                    best, code = larger(
                        best, code, half_of(acc[r * high + i], half), _every(remainder(x, wide) + i * wide)
                    )
                for e in unroll(exchanges):
                    best, code = of_other_lane(best, code, 4 << e)
                emit(y, gate, n, z, quotient(row, high) + r, x, first, best, bias, code)

    return finish


@device_function
def _every(number):
    """Code of eight equal numbers."""
    return number * 0x11111111


def _bias_loader(filters):
    @device_function
    @unrolled
    def load(b, first):
        bias = registers(LANE_CHANNELS)
        for c in unroll(LANE_CHANNELS):
            bias[c] = b[first + c] if first + c < filters else ZERO
        return bias

    return load


def _emitter(staging, form, relu, window, floats):
    """Device function: eight filters of one output, or of one window by its first lane, with bias and activation."""
    (high, wide), (depth, height, width) = window, staging.problem.out_shape
    batch, channels, gates = staging.problem.batch, staging.problem.filters, relu or window != (1, 1)
    store, out_height, out_width = store_floats if floats else words_storer(form), height // high, width // wide

    @device_function
    @unrolled
    def emit(y, gate, n, z, line, x, first, best, bias, code):
        value = registers(LANE_CHANNELS)
        place = quotient(x, wide)
        real = n < batch and line < out_height and place < out_width and first < channels
        if real and remainder(x, wide) == 0:
            opened = np.int64(0)
            for c in unroll(LANE_CHANNELS):
                value[c] = best[c] + bias[c]
                passes = not relu or value[c] > ZERO
                opened |= (((code >> (GATE_BITS * c)) & 15) + 1 if passes else 0) << (GATE_BITS * c)
                value[c] = ZERO if relu and value[c] < ZERO else value[c]
            at = (((n * depth + z) * out_height + line) * out_width + place) * channels + first
            store(y, at, value)
            if gates:
                gate[quotient(at, LANE_CHANNELS)] = opened

    return emit


def through_gates(staging, form, gated=True, window=(1, 1), image_shape=None, unpooled=None):
    """`finish` of an input gradient: what the gates let pass goes to the winning cell of each window, 0 to the others.

    Parameters
    ----------
    staging : Staging
    form : Format
    gated : bool
        False: everything passes.
    window : (int, int)
        Rows and columns of the pooling that is undone.
    image_shape : tuple of int, optional
        (D, H, W, channels in memory) of the image that a dense layer's filters are; by default the problem's output.
    unpooled : (int, int), optional
        Rows and columns before the pooling; cells that no window covers are not written.
    """
    rows, (outputs, first_filter) = staging.tile.rows, lane_outputs(staging)
    spread = _spreader(staging, form, gated, window, image_shape, unpooled)

    @device_function
    @unrolled
    def finish(dx, gate, unused, image, z, row, column, filter, sums):
        acc = tile_of(sums, rows)
        first = first_filter(filter)
        for half in unroll(2):
            n, x = outputs(image, column, half)
            for r in unroll(rows):
                spread(dx, gate, n, z, row + r, x, first, half_of(acc[r], half))

    return finish


def _spreader(staging, form, gated, window, image_shape, unpooled):
    """Device function: eight filters of one output, to every cell of its window."""
    p, (high, wide) = staging.problem, window
    depth, height, width, channels = image_shape or (*p.out_shape, p.filters)
    (out_height, out_width), find = unpooled or (height, width), _image_place(image_shape)
    batch, total, (_, problem_height, problem_width) = p.batch, p.filters, p.out_shape
    store = words_storer(form)

    @device_function
    @unrolled
    def through(values, opened, number):
        value = registers(LANE_CHANNELS)
        for c in unroll(LANE_CHANNELS):
            value[c] = values[c] if ((opened >> (GATE_BITS * c)) & 15) == number else ZERO
        return value

    @device_function
    @unrolled
    def spread(dx, gate, n, z, row, x, first, values):
        if n < batch and row < problem_height and x < problem_width and first < total:
            plane, line, place, channel = find(z, row, x, first)
            if not gated:
                store(dx, (((n * depth + plane) * height + line) * width + place) * channels + channel, values)
            else:
                at = (((n * depth + plane) * height + line) * width + place) * channels + channel
                opened = np.int64(gate[quotient(at, LANE_CHANNELS)])
                for cell in unroll(high * wide):
                    y, to = line * high + cell // wide, place * wide + cell % wide
                    target = (((n * depth + plane) * out_height + y) * out_width + to) * channels + channel
                    store(dx, target, through(values, opened, cell + 1))

    return spread


def _image_place(image_shape):
    """Device function (z, row, column, filter) -> the same of the image that the filters of one cell make up."""

    @device_function
    def same(z, row, column, filter):
        return z, row, column, filter

    if image_shape is None:
        return same
    _, height, width, channels = image_shape

    @device_function
    def find(z, row, column, filter):
        cell, channel = quotient(filter, channels), remainder(filter, channels)
        line, place = quotient(cell, width), remainder(cell, width)
        return quotient(line, height), remainder(line, height), place, channel

    return find
