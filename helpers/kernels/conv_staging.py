"""How a block brings one round of input patch and weights into its shared memory, piece by piece.

A fetch reads four floats of global memory into registers, zeros where the patch hangs over the edge; a put writes them
to shared memory. Kept apart so that arithmetic runs while a fetch is under way. Must not learn what is summed.
"""

from typing import NamedTuple

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.intrinsics import narrow, quotient, remainder, shared_ints, store4
from helpers.kernels.quads import quad_loader

ZERO = np.float32(0.0)


class Staging(NamedTuple):
    """Device functions of one operand: `fetch(source, origin..., round, unit)` and `put(shared, unit, a, b, c, d)`."""

    fetch: object
    put: object


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
    sums, tile, start = layout.sums, layout.tile, layout.table
    depth, height, width, channels = sums.in_shape
    find_z, load_quad, area = locator(depth, sums.dilation[0]), quad_loader(channels), height * width
    chunk, chunks, quads, units, plane = tile.channels, layout.chunks, layout.quads, layout.patch_units, layout.plane
    whole = chunk % 4 == 0

    @device_function
    def fetch(x, z, turn, unit):
        if unit < units:
            pixel = shared_ints(start)[quotient(unit, quads)]
            i = find_z(z + quotient(turn, chunks))
            if pixel >= 0 and i >= 0:
                c = remainder(turn, chunks) * chunk + remainder(unit, quads) * 4
                return load_quad(x, narrow((pixel + i * area) * channels + c), c)
        return ZERO, ZERO, ZERO, ZERO

    @device_function
    def put(shared, unit, a, b, c, d):
        if unit < units:
            channel = remainder(unit, quads) * 4
            at = narrow(channel * plane + quotient(unit, quads))
            shared[at] = a
            if whole or channel + 1 < chunk:
                shared[at + plane] = b
            if whole or channel + 2 < chunk:
                shared[at + 2 * plane] = c
            if whole or channel + 3 < chunk:
                shared[at + 3 * plane] = d

    return Staging(fetch, put)


def weight_staging(layout):
    """Staging of (taps, in channels, out channels) weights; a unit = four filters of one tap and channel."""
    sums, tile = layout.sums, layout.tile
    channels, filters = sums.in_shape[3], sums.out_shape[3]
    load_quad = quad_loader(filters)
    chunk, chunks, units, taps = tile.channels, layout.chunks, layout.weight_units, layout.plane_taps
    quads, pitch = tile.block_filters // 4, layout.weight_pitch

    @device_function
    def fetch(w, k, turn, unit):
        if unit < units:
            line = quotient(unit, quads)
            c = remainder(turn, chunks) * chunk + remainder(line, chunk)
            tap = quotient(turn, chunks) * taps + quotient(line, chunk)
            f = k + remainder(unit, quads) * 4
            if c < channels:
                return load_quad(w, narrow((tap * channels + c) * filters + f), f)
        return ZERO, ZERO, ZERO, ZERO

    @device_function
    def put(shared, unit, a, b, c, d):
        if unit < units:
            line = quotient(unit, quads)
            row = remainder(line, chunk) * taps + quotient(line, chunk)
            store4(shared, narrow(row * pitch + remainder(unit, quads) * 4), a, b, c, d)

    return Staging(fetch, put)


def flipped_weight_staging(layout):
    """Staging of (taps, out channels, in channels) weights, taps reversed; a unit = four channels of a tap, filter."""
    sums, tile = layout.sums, layout.tile
    channels, filters = sums.in_shape[3], sums.out_shape[3]
    load_quad = quad_loader(channels)
    chunk, chunks, units, taps = tile.channels, layout.chunks, layout.weight_units, layout.plane_taps
    quads, pitch, block_filters = layout.quads, layout.weight_pitch, tile.block_filters
    last, step = sums.kernel[0] * taps - 1, taps * pitch
    whole = chunk % 4 == 0

    @device_function
    def fetch(w, k, turn, unit):
        if unit < units:
            line = quotient(unit, quads)
            c = remainder(turn, chunks) * chunk + remainder(unit, quads) * 4
            tap = last - quotient(turn, chunks) * taps - quotient(line, block_filters)
            f = k + remainder(line, block_filters)
            if f < filters:
                return load_quad(w, narrow((tap * filters + f) * channels + c), c)
        return ZERO, ZERO, ZERO, ZERO

    @device_function
    def put(shared, unit, a, b, c, d):
        if unit < units:
            line = quotient(unit, quads)
            channel = remainder(unit, quads) * 4
            at = narrow(channel * step + quotient(line, block_filters) * pitch + remainder(line, block_filters))
            shared[at] = a
            if whole or channel + 1 < chunk:
                shared[at + step] = b
            if whole or channel + 2 < chunk:
                shared[at + 2 * step] = c
            if whole or channel + 3 < chunk:
                shared[at + 3 * step] = d

    return Staging(fetch, put)
