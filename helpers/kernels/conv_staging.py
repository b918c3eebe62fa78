"""How a block brings one round of input patch and weights into its shared memory, piece by piece.

A fetch reads four floats of global memory into registers, zeros where the patch hangs over the edge; a put writes them
to shared memory. Kept apart so that arithmetic runs while a fetch is under way. Must not learn what is summed.
"""

from typing import NamedTuple

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import narrow, pointer, quotient, remainder, shared_ints, store4
from helpers.kernels.quads import quad_loader
from helpers.unroll import registers, tile_of, unroll, unrolled

ZERO = np.float32(0.0)
FIRST_LOADS = 8  # enough to hide most of the latency, few enough for the registers that the sums leave


class Staging(NamedTuple):
    """Device functions of one operand: `fetch(source, origin, round, unit)` and `put(shared, unit, a, b, c, d)`."""

    fetch: object
    put: object


def staging(units, load_quad, find, place):
    """Staging of `units` units, the frame of all operands.

    find(origin, round, unit) -> (whether the source has the unit, its index there, its position for `load_quad`);
    place(shared, unit, a, b, c, d) writes it.
    """

    @device_function
    def fetch(source, origin, turn, unit):
        if unit < units:
            exists, index, position = find(origin, turn, unit)
            if exists:
                return load_quad(source, index, position)
        return ZERO, ZERO, ZERO, ZERO

    @device_function
    def put(shared, unit, a, b, c, d):
        if unit < units:
            place(shared, unit, a, b, c, d)

    return Staging(fetch, put)


def scatterer(size, step):
    """Device function: writes four channels from `channel` on, `step` apart from `at` on, those below `size`."""
    whole = size % 4 == 0

    @device_function
    def scatter(shared, at, channel, a, b, c, d):
        shared[at] = a
        if whole or channel + 1 < size:
            shared[at + step] = b
        if whole or channel + 2 < size:
            shared[at + 2 * step] = c
        if whole or channel + 3 < size:
            shared[at + 3 * step] = d

    return scatter


def locator(size, dilation):
    """Device function: cell of an axis of `size` that lies at `position` of the spread axis; -1 where there is none."""

    @device_function
    def locate(position):
        at = np.int32(position)
        return np.int32(-1) if at < 0 or at >= size else at

    @device_function
    def locate_spread(position):
        at = np.int32(position)
        if at < 0 or at >= size * dilation or remainder(at, dilation) != 0:
            return np.int32(-1)
        return np.int32(quotient(at, dilation))

    return locate if dilation == 1 else locate_spread


def cell_table(layout):
    """Device function tabulate(image, row, column): writes for each cell of the patch its pixel, -1 outside the input.

    A pixel counts images, rows and columns of one plane z = 0; the same table serves all planes and channels.
    """
    sums, cells, threads, start = layout.sums, layout.cells, layout.tile.threads, layout.table
    batch, (depth, height, width, _) = sums.batch, sums.in_shape
    find_row, find_column = (locator(n, d) for n, d in zip(sums.in_shape[1:3], sums.dilation[1:]))
    rows, columns = layout.patch_rows, layout.pitch

    @device_function
    def tabulate(image, row, column):
        table = shared_ints(start)
        for cell in range(cuda.threadIdx.x, cells, threads):
            line = quotient(cell, columns)
            n = image + quotient(line, rows)
            j, k = find_row(row + remainder(line, rows)), find_column(column + remainder(cell, columns))
            inside = n < batch and j >= 0 and k >= 0
            table[cell] = np.int32((n * depth * height + j) * width + k) if inside else np.int32(-1)

    return tabulate


def patch_staging(layout):
    """Staging of the input patch, a unit = four channels of one cell; fetch(x, z of the patch, round, unit)."""
    sums, chunk, start = layout.sums, layout.tile.channels, layout.table
    depth, height, width, channels = sums.in_shape
    find_z, area = locator(depth, sums.dilation[0]), height * width
    chunks, quads, plane = layout.chunks, layout.quads, layout.plane
    scatter = scatterer(chunk, plane)

    @device_function
    def find(z, turn, unit):
        pixel = shared_ints(start)[quotient(unit, quads)]
        i = find_z(z + quotient(turn, chunks))
        c = remainder(turn, chunks) * chunk + remainder(unit, quads) * 4
        return pixel >= 0 and i >= 0, narrow((pixel + i * area) * channels + c), c

    @device_function
    def place(shared, unit, a, b, c, d):
        channel = remainder(unit, quads) * 4
        scatter(shared, narrow(channel * plane + quotient(unit, quads)), channel, a, b, c, d)

    return staging(layout.patch_units, quad_loader(channels), find, place)


def weight_staging(layout):
    """Staging of (taps, in channels, out channels) weights; a unit = four filters of one tap and channel."""
    channels, filters = layout.sums.in_shape[3], layout.sums.out_shape[3]
    chunk, chunks, taps = layout.tile.channels, layout.chunks, layout.plane_taps
    quads, pitch = layout.tile.block_filters // 4, layout.weight_pitch

    @device_function
    def find(k, turn, unit):
        line = quotient(unit, quads)
        c = remainder(turn, chunks) * chunk + remainder(line, chunk)
        tap = quotient(turn, chunks) * taps + quotient(line, chunk)
        f = k + remainder(unit, quads) * 4
        return c < channels, narrow((tap * channels + c) * filters + f), f

    @device_function
    def place(shared, unit, a, b, c, d):
        line = quotient(unit, quads)
        row = remainder(line, chunk) * taps + quotient(line, chunk)
        store4(shared, narrow(row * pitch + remainder(unit, quads) * 4), a, b, c, d)

    return staging(layout.weight_units, quad_loader(filters), find, place)


def flipped_weight_staging(layout):
    """Staging of (taps, out channels, in channels) weights, taps reversed; a unit = four channels of a tap, filter."""
    channels, filters = layout.sums.in_shape[3], layout.sums.out_shape[3]
    chunk, chunks, taps = layout.tile.channels, layout.chunks, layout.plane_taps
    quads, pitch, block_filters = layout.quads, layout.weight_pitch, layout.tile.block_filters
    last, step = layout.sums.kernel[0] * taps - 1, taps * pitch
    scatter = scatterer(chunk, step)

    @device_function
    def find(k, turn, unit):
        line = quotient(unit, quads)
        c = remainder(turn, chunks) * chunk + remainder(unit, quads) * 4
        tap = last - quotient(turn, chunks) * taps - quotient(line, block_filters)
        f = k + remainder(line, block_filters)
        return f < filters, narrow((tap * filters + f) * channels + c), c

    @device_function
    def place(shared, unit, a, b, c, d):
        line, channel = quotient(unit, quads), remainder(unit, quads) * 4
        at = narrow(channel * step + quotient(line, block_filters) * pitch + remainder(line, block_filters))
        scatter(shared, at, channel, a, b, c, d)

    return staging(layout.weight_units, quad_loader(channels), find, place)


def mover(layout, steps):
    """Device functions that bring one round into shared memory in `steps` parts, a thread's share of each at once.

    fetch(x, w, z, filter, turn, step) -> pieces : reads part `step` of round `turn`; z of the patch's first plane.
    put(shared, step, pieces) : writes it.
    """
    fetch_patch, put_patch = patch_staging(layout)
    fetch_weights, put_weights = (flipped_weight_staging if layout.sums.transposed else weight_staging)(layout)
    threads, first_weight = layout.tile.threads, layout.tile.channels * layout.plane
    patch_parts = -(-layout.patch_units // (threads * steps))
    weight_parts = -(-layout.weight_units // (threads * steps))
    parts = patch_parts + weight_parts

    @device_function
    @unrolled
    def fetch(x, w, z, k, turn, step):
        p = registers(parts, 4)
        for i in unroll(patch_parts):
            unit = (step * patch_parts + i) * threads + cuda.threadIdx.x
            p[i, 0], p[i, 1], p[i, 2], p[i, 3] = fetch_patch(x, z, turn, unit)
        for i in unroll(patch_parts, parts):
            unit = (step * weight_parts + i - patch_parts) * threads + cuda.threadIdx.x
            p[i, 0], p[i, 1], p[i, 2], p[i, 3] = fetch_weights(w, k, turn, unit)
        return p

    @device_function
    @unrolled
    def put(shared, step, pieces):
        p = tile_of(pieces, parts, 4)
        for i in unroll(patch_parts):
            unit = (step * patch_parts + i) * threads + cuda.threadIdx.x
            put_patch(shared, unit, p[i, 0], p[i, 1], p[i, 2], p[i, 3])
        for i in unroll(patch_parts, parts):
            unit = (step * weight_parts + i - patch_parts) * threads + cuda.threadIdx.x
            put_weights(pointer(shared, first_weight), unit, p[i, 0], p[i, 1], p[i, 2], p[i, 3])

    return fetch, put


def filler(layout):
    """Device function fill(shared, x, w, z, filter): the first round, FIRST_LOADS loads in flight a thread."""
    units = layout.patch_units + layout.weight_units
    steps = -(-units // (layout.tile.threads * FIRST_LOADS))
    fetch, put = mover(layout, steps)

    @device_function
    def fill(shared, x, w, z, k):
        for step in range(steps):
            put(shared, step, fetch(x, w, z, k, 0, step))

    return fill
