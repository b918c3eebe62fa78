"""What becomes of the sums of a convolution on tensor cores: bias, activation and pooling forward, gates backward.

A lane ends with eight neighbouring filters (layout.row_of) of two outputs of each line. Must not learn how sums are
made.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder, store4
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.layout import GATE_BITS, LANE_CHANNELS
from helpers.unroll import registers, tile_of, unroll, unrolled

ZERO = np.float32(0.0)
EVERY_LANE = 0xFFFFFFFF
LARGEST_WINDOW = 7  # cells whose number, and one more, fit the bits of a gate without its sign


def words_storer(form):
    """Device function store(out, index, eight values): rounded, from value number `index`, a multiple of 8, on."""
    packed, encode = form.packed, form.encode
    count = LANE_CHANNELS // packed

    @device_function
    @unrolled
    def store(out, index, values):
        v = tile_of(values, LANE_CHANNELS)
        word = registers(count)
        for i in unroll(count):
            word[i] = encode(v[i * packed], v[i * packed + packed - 1])
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
    """`finish` of a forward pass: adds the bias, activates, keeps the largest of each window, stores it and its gates.

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
    rows, (high, wide), (depth, height, width) = staging.tile.rows, window, staging.problem.out_shape
    batch, channels, gates = staging.problem.batch, staging.problem.filters, relu or window != (1, 1)
    store, (outputs, first_filter) = store_floats if floats else words_storer(form), lane_outputs(staging)
    meet, exchanges = _winner(wide), wide.bit_length() - 1
    out_height, out_width = height // high, width // wide

    @device_function
    @unrolled
    def finish(y, gate, b, image, z, row, column, filter, sums):
        acc = tile_of(sums, rows, 4, 4)
        bias = registers(LANE_CHANNELS)
        best = registers(LANE_CHANNELS)
        first = first_filter(filter)
        for c in unroll(LANE_CHANNELS):
            bias[c] = b[first + c] if first + c < filters else ZERO
        for half in unroll(2):
            n, x = outputs(image, column, half)
            for r in unroll(rows // high):
                code = np.int64(0)
                for c in unroll(LANE_CHANNELS):
                    best[c] = acc[r * high, c // 2, 2 * half + c % 2]
                    which = np.int64(0)
                    for i in unroll(1, high):
                        if acc[r * high + i, c // 2, 2 * half + c % 2] > best[c]:
                            best[c], which = acc[r * high + i, c // 2, 2 * half + c % 2], np.int64(i * wide)
                    code |= (which + remainder(x, wide)) << (GATE_BITS * c)
                for e in unroll(exchanges):
                    best, code = meet(best, code, 4 << e)
                opened = np.int64(0)
                for c in unroll(LANE_CHANNELS):
                    best[c] += bias[c]
                    passes = not relu or best[c] > ZERO
                    opened |= (((code >> (GATE_BITS * c)) & 15) + 1 if passes else 0) << (GATE_BITS * c)
                    best[c] = ZERO if relu and best[c] < ZERO else best[c]
                line, place = quotient(row, high) + r, quotient(x, wide)
                real = n < batch and line < out_height and place < out_width and first < channels
                if real and remainder(x, wide) == 0:
                    at = (((n * depth + z) * out_height + line) * out_width + place) * channels + first
                    store(y, at, best)
                    if gates:
                        gate[quotient(at, LANE_CHANNELS)] = opened

    return finish


def _winner(wide):
    """Device function meet(values, code, lanes) -> (values, code): the larger of this lane's and another's, each.

    Equal ones go to the cell that comes first in the window.
    """

    @device_function
    @unrolled
    def meet(values, code, lanes):
        v = tile_of(values, LANE_CHANNELS)
        result = registers(LANE_CHANNELS)
        theirs = np.int64(cuda.shfl_xor_sync(EVERY_LANE, np.int32(code), lanes))
        chosen = np.int64(0)
        for c in unroll(LANE_CHANNELS):
            other = cuda.shfl_xor_sync(EVERY_LANE, v[c], lanes)
            mine, its = (code >> (GATE_BITS * c)) & 15, (theirs >> (GATE_BITS * c)) & 15
            taken = other > v[c] or (other == v[c] and its < mine)
            result[c] = other if taken else v[c]
            chosen |= (its if taken else mine) << (GATE_BITS * c)
        return result, chosen

    return meet


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
    p, rows, (high, wide) = staging.problem, staging.tile.rows, window
    depth, height, width, channels = image_shape or (*p.out_shape, p.filters)
    out_height, out_width = unpooled or (height, width)
    batch, total, (_, problem_height, problem_width) = p.batch, p.filters, p.out_shape
    store, (outputs, first_filter), find = words_storer(form), lane_outputs(staging), _image_place(image_shape)

    @device_function
    @unrolled
    def finish(dx, gate, unused, image, z, row, column, filter, sums):
        acc = tile_of(sums, rows, 4, 4)
        value = registers(LANE_CHANNELS)
        first = first_filter(filter)
        for half in unroll(2):
            n, x = outputs(image, column, half)
            for r in unroll(rows):
                if n < batch and row + r < problem_height and x < problem_width and first < total:
                    plane, line, place, channel = find(z, row + r, x, first)
                    opened = np.int64(1)
                    if gated:
                        at = (((n * depth + plane) * height + line) * width + place) * channels + channel
                        opened = np.int64(gate[quotient(at, LANE_CHANNELS)])
                    for cell in unroll(high * wide):
                        for c in unroll(LANE_CHANNELS):
                            passes = not gated or ((opened >> (GATE_BITS * c)) & 15) == cell + 1
                            value[c] = acc[r, c // 2, 2 * half + c % 2] if passes else ZERO
                        y, to = line * high + cell // wide, place * wide + cell % wide
                        store(dx, (((n * depth + plane) * out_height + y) * out_width + to) * channels + channel, value)

    return finish


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
