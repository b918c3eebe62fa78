"""What becomes of the sums of a convolution on tensor cores: bias, activation and pooling forward, gates backward.

A lane ends with eight neighbouring filters (layout.row_of) of two outputs of each line. Must not learn how sums are
made.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import quotient, remainder, store4
from helpers.kernels.tensor.correlation import WARP
from helpers.kernels.tensor.layout import LANE_CHANNELS, MOST_CELLS
from helpers.kernels.tensor.tiles import tile_of
from helpers.kernels.tensor.windows import (
    EVERY_LANE,
    equal_mask,
    half_of,
    larger,
    masked,
    of_other_lane,
    positive_mask,
)
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
        Rows and columns of a pooling without overlap; its rows divide the warp's, its columns are 1, 2 or 4, its cells
        at most MOST_CELLS.
    floats : bool
        Store float32: logits.
    """
    rows, (high, wide), pooled = staging.tile.rows, window, window != (1, 1)
    if rows % high or wide not in (1, 2, 4) or high * wide > MOST_CELLS:
        raise ValueError(f"a window of {window} does not lie within {rows} rows of a warp, or has too many cells")
    (outputs, first_filter), exchanges = lane_outputs(staging), wide.bit_length() - 1
    load_bias, gather, emit = (
        _bias_loader(filters),
        _winners(wide, high * wide),
        _emitter(staging, form, relu, window, floats),
    )
    locate = _window_place(staging, window)

    @device_function
    @unrolled
    def finish(y, gate, b, image, z, row, column, filter, sums):
        acc = tile_of(sums, rows)
        first = first_filter(filter)
        bias = load_bias(b, first)
        for half in unroll(2):
            n, x = outputs(image, column, half)
            begin, lines = locate(n, z, row, x, first)
            for r in unroll(rows // high):
                best = half_of(acc[r * high], half)
                for i in unroll(1, high):
                    best = larger(best, half_of(acc[r * high + i], half))
                for e in unroll(exchanges):
                    best = larger(best, of_other_lane(best, 4 << e))
                code = np.int32(0xFF)
                if pooled:
                    code = np.int32(0)
                    for i in unroll(high):
                        own = equal_mask(half_of(acc[r * high + i], half), best)
                        code |= np.int32(own << (8 * (i * wide + remainder(x, wide))))
                    code = gather(code)
                if r < lines:
                    emit(y, gate, begin, r, best, bias, code)

    return finish


def _winners(wide, cells):
    """Device function: masks of the cells that have the largest value, from this lane's; of equal ones the first."""
    exchanges = wide.bit_length() - 1

    @device_function
    @unrolled
    def gather(code):
        for e in unroll(exchanges):
            code |= cuda.shfl_xor_sync(EVERY_LANE, code, 4 << e)
        seen = code & np.int32(0xFF)
        result = seen
        for cell in unroll(1, cells):
            won = (code >> np.int32(8 * cell)) & np.int32(0xFF) & ~seen
            seen, result = seen | won, result | np.int32(won << np.int32(8 * cell))
        return result

    return gather


def _bias_loader(filters):
    @device_function
    @unrolled
    def load(b, first):
        bias = registers(LANE_CHANNELS)
        for c in unroll(LANE_CHANNELS):
            bias[c] = b[first + c] if first + c < filters else ZERO
        return bias

    return load


def _window_place(staging, window):
    """Device function (n, z, row, x, filter) -> (begin, lines): where its windows begin, how many exist.

    Lanes between the first columns of windows have none.
    """
    (high, wide), (depth, height, width) = window, staging.problem.out_shape
    batch, channels, out_height, out_width = (
        staging.problem.batch,
        staging.problem.filters,
        height // high,
        width // wide,
    )

    @device_function
    def locate(n, z, row, x, filter):
        line, place = quotient(row, high), quotient(x, wide)
        real = (n < batch) & (place < out_width) & (filter < channels) & (remainder(x, wide) == 0)
        begin = (((n * depth + z) * out_height + line) * out_width + place) * channels + filter
        return begin, out_height - line if real else 0

    return locate


def _emitter(staging, form, relu, window, floats):
    """Device function: eight filters of window `r` of a lane's column of them, with bias and activation."""
    step = staging.problem.out_shape[2] // window[1] * staging.problem.filters
    store, gates = store_floats if floats else words_storer(form), relu or window != (1, 1)
    every = 0x01010101 if window != (1, 1) else 1  # repeats a mask of eight channels in the byte of each cell

    @device_function
    @unrolled
    def emit(y, gate, begin, r, best, bias, code):
        value = registers(LANE_CHANNELS)
        active = registers(LANE_CHANNELS)
        for c in unroll(LANE_CHANNELS):
            value[c] = best[c] + bias[c]
            active[c] = ZERO if relu and value[c] < ZERO else value[c]
        at = begin + r * step
        store(y, at, active)
        if gates:
            gate[quotient(at, LANE_CHANNELS)] = np.int32(code & (positive_mask(value) * every)) if relu else code

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
    p, rows, (high, wide), (outputs, first_filter) = staging.problem, staging.tile.rows, window, lane_outputs(staging)
    depth, height, width, channels = image_shape or (*p.out_shape, p.filters)
    (out_height, out_width), find = unpooled or (height, width), _image_place(image_shape)
    batch, total, (_, problem_height, problem_width) = p.batch, p.filters, p.out_shape
    spread = _spreader(form, gated, window, out_width * channels, channels)
    step, out_step = width * channels // LANE_CHANNELS, high * out_width * channels

    @device_function
    @unrolled
    def finish(dx, gate, unused, image, z, row, column, filter, sums):
        acc = tile_of(sums, rows)
        first = first_filter(filter)
        for half in unroll(2):
            n, x = outputs(image, column, half)
            plane, line, place, channel = find(z, row, x, first)
            at = (((n * depth + plane) * height + line) * width + place) * channels + channel
            to = (((n * depth + plane) * out_height + line * high) * out_width + place * wide) * channels + channel
            lines = problem_height - row if (n < batch) & (x < problem_width) & (first < total) else 0
            for r in unroll(rows):
                if r < lines:
                    spread(dx, gate, quotient(at, LANE_CHANNELS) + r * step, to + r * out_step, half_of(acc[r], half))

    return finish


def _spreader(form, gated, window, row_step, column_step):
    """Device function: eight filters of one output to every cell of its window; steps are in values."""
    (high, wide), store = window, words_storer(form)

    @device_function
    @unrolled
    def spread(dx, gate, at, to, values):
        if not gated:
            store(dx, to, values)
        else:
            opened = np.int32(gate[at])
            for cell in unroll(high * wide):
                target = to + cell // wide * row_step + cell % wide * column_step
                store(dx, target, masked(values, opened >> np.int32(8 * cell)))

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
