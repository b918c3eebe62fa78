"""The convolution's weight gradient: each weight's sum, over all pixels, of the input under it times dy; and dy's sum.

One kernel for every geometry, cut by conv_weight_tiling.py. Must not learn about the operations around it.
"""

from math import prod

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.boxes import ceil, mover
from helpers.kernels.conv_weight_tiling import choose, dy_box, x_box
from helpers.kernels.intrinsics import quotient, remainder, shared_floats
from helpers.kernels.vectors import vector_loader
from helpers.unroll import registers, unroll, unrolled


def conv_weight_gradient(op, batch, tiling=None):
    """Kernel of gradient (splits, kd*kh*kw*C*K + K), x (N, D, H, W, C), dy (N, D', H', W', K), all float32.

    gradient[tap, c, k] = sum over images and output pixels p of x[stride p + tap - padding, c] dy[p, k], and
    gradient[K last] = sum of dy[p, k]: each split holds the sum over its own boxes of pixels.

    Parameters
    ----------
    op : Op
        With a ConvGeometry.
    batch : int
    tiling : Tiling
        By default the one that conv_weight_tiling.choose finds.

    Raises
    ------
    ValueError
        If no tiling fits the geometry.
    """
    geometry = op.geometry
    tiling = tiling or choose(geometry, batch)
    return Kernel(
        "conv_weight_gradient",
        _body(geometry, batch, tiling),
        grid=(tiling.tiles(geometry), tiling.splits, 1),
        block=(tiling.threads(geometry), 1, 1),
        shared_bytes=4 * tiling.shared_floats(geometry, batch),
        splits=tiling.splits,
    )


def production(op, batch, multiprocessors=132):
    """The kernel that engines use: the tiling of least estimated cycles on `multiprocessors`."""
    return conv_weight_gradient(op, batch, choose(op.geometry, batch, multiprocessors))


def variants(op, batch):
    """{name: Kernel} of other tilings worth timing."""
    base = choose(op.geometry, batch)
    channels, filters, run = base.channels, base.filters, base.run
    wishes = {
        "default": {},
        "double run": {"run": 2 * run},
        "half run": {"run": ceil(run, 2)},
        "half filters": {"filters": ceil(filters, 2)},
        "half filters, double channels": {"filters": ceil(filters, 2), "channels": 2 * channels},
        "half slices": {"slices": ceil(base.slices, 2)},
        "half filter tile": {"filter_groups": ceil(base.filter_groups, 2)},
        "half channel tile": {"channel_groups": ceil(base.channel_groups, 2)},
    }
    found, seen = {}, set()
    for name, fixed in wishes.items():
        try:
            tiling = choose(op.geometry, batch, **fixed)
        except ValueError:  # that wish does not fit
            continue
        if tiling not in seen:
            found[name] = conv_weight_gradient(op, batch, tiling)
        seen.add(tiling)
    return found


def _body(geometry, batch, g):
    """The kernel's body for tiling `g`: walks over the boxes of its split, then adds up the slices."""
    SW, KW, C, K, TILE_C, TILE_K = geometry.stride[2], geometry.kernel[2], g.channels, g.filters, *g.tile
    X, POSITIONS, PASSES = x_box(g, geometry), g.rows * g.runs, ceil(g.rows * g.runs, g.slices)
    FLOATS, WINDOW = X.floats + dy_box(g, geometry).floats, (g.run - 1) * SW + KW
    BOXES, BUFFERS = g.boxes(geometry, batch), g.buffers(geometry, batch)
    SHARE = ceil(BOXES, g.splits)
    load_x, load_dy = vector_loader(C, C % 4 == 0 and X.pitch % 4 == 0), vector_loader(K, K % 4 == 0)
    (fetch, stash), role, place = _staging(geometry, batch, g), _role(geometry, g), _place(geometry, g)
    (add_bias, write_bias), write_taps = _bias(geometry, g), _taps(geometry, g)

    @unrolled
    def body(gradient, x, dy):
        shared, bias = shared_floats(0), np.float32(0.0)
        x_lane, dy_lane, sums_lane, part = role()
        first = cuda.blockIdx.y * SHARE
        last = min(first + SHARE, BOXES)
        stash(shared, 0, fetch(x, dy, first, last))
        sums = registers(KW, C, K)
        pixels = registers(WINDOW, C)
        for i in unroll(KW * C * K):
            sums[i // (C * K), i // K % C, i % K] = np.float32(0.0)
        for box in range(first, last):
            here = remainder(box - first, BUFFERS) * FLOATS
            cuda.syncthreads()
            if BUFFERS == 2:  # the next box travels while this one is worked on
                stage = fetch(x, dy, box + 1, last)
            for i in range(PASSES):
                x_run, dy_run, exists = place(part, i)
                if POSITIONS % g.slices == 0 or exists:
                    for p in unroll(g.run):
                        for u in unroll(max(p * SW, (p - 1) * SW + KW) if p else 0, p * SW + KW):
                            values = load_x(shared, here + x_lane + x_run + u * TILE_C)
                            for c in unroll(C):
                                pixels[u, c] = values[c]
                        others = load_dy(shared, here + dy_lane + dy_run + p * TILE_K)
                        for k in unroll(K):
                            d = others[k]
                            for j in unroll(KW * C):
                                sums[j // C, j % C, k] += pixels[p * SW + j // C, j % C] * d
            bias = add_bias(shared, here, bias)
            if BUFFERS == 2:
                stash(shared, FLOATS - here, stage)
        for tap in unroll(KW):
            cuda.syncthreads()
            for i in unroll(C * K):
                shared[sums_lane + i // K * TILE_K + i % K] = sums[tap, i // K, i % K]
            cuda.syncthreads()
            write_taps(gradient, shared, tap)
        cuda.syncthreads()
        write_bias(gradient, shared, bias)

    return body


def _place(geometry, g):
    """Device function (slice, pass) -> offset of a run in the input box and in the dy box, and whether it exists."""
    (_, SH, SW), POSITIONS, (TILE_C, TILE_K) = geometry.stride, g.rows * g.runs, g.tile
    X_PITCH, DY_PITCH = x_box(g, geometry).pitch, g.run * g.runs * TILE_K
    STEP, EVEN = g.slices // g.runs, g.slices % g.runs == 0

    @device_function
    def place(part, i):
        position = part + i * g.slices
        row, run = quotient(position, g.runs), remainder(position, g.runs)
        if EVEN:  # a thread's runs lie one below the other
            row, run = quotient(part, g.runs) + i * STEP, remainder(part, g.runs)
        column = run * g.run
        return row * SH * X_PITCH + column * SW * TILE_C, row * DY_PITCH + column * TILE_K, position < POSITIONS

    return place


def _role(geometry, g):
    """Device function () -> a thread's offsets in the input box, in the dy box and in the sums, and its slice."""
    KH, TAP_ROWS, X = geometry.kernel[1], prod(geometry.kernel[:2]), x_box(g, geometry)
    TILE_C, TILE_K, X_FLOATS = g.tile_channels, g.tile_filters, X.floats

    @device_function
    def role():
        t = cuda.threadIdx.x
        filters = remainder(t, g.filter_groups) * g.filters
        t = quotient(t, g.filter_groups)
        channel = remainder(t, g.channel_groups) * g.channels
        t = quotient(t, g.channel_groups)
        tap_row, part = remainder(t, TAP_ROWS), quotient(t, TAP_ROWS)
        row = quotient(tap_row, KH) * X.rows + remainder(tap_row, KH)
        sums = (t * TILE_C + channel) * TILE_K + filters
        return row * X.pitch + channel, X_FLOATS + filters, sums, part

    return role


def _tile(geometry, g):
    """Device function () -> first channel and first filter of the block."""
    TILE_C, TILE_K, TILES = g.tile_channels, g.tile_filters, ceil(geometry.out_channels, g.tile_filters)

    @device_function
    def tile():
        block = cuda.blockIdx.x
        return quotient(block, TILES) * TILE_C, remainder(block, TILES) * TILE_K

    return tile


def _staging(geometry, batch, g):
    """Device functions: fetch(x, dy, box, last) -> this thread's vectors of a box; stash(shared, there, vectors).

    Boxes from `last` on are zeros: they are fetched but never used.
    """
    X, DY, X_FLOATS, COLUMNS = x_box(g, geometry), dy_box(g, geometry), x_box(g, geometry).floats, g.run * g.runs
    (SD, SH, SW), (PD, PH, PW), DEPTH = geometry.stride, geometry.padding, geometry.out_shape[0]
    ROW_BOXES, COLUMN_BOXES = ceil(geometry.out_shape[1], g.rows), ceil(geometry.out_shape[2], COLUMNS)
    read_x, put_x = mover(geometry.in_shape, g.tile_channels, X)
    read_dy, put_dy = mover(geometry.out_shape, g.tile_filters, DY)
    tile = _tile(geometry, g)

    @device_function
    def locate(box):
        w, box_row = remainder(box, COLUMN_BOXES) * COLUMNS, quotient(box, COLUMN_BOXES)
        h, plane = remainder(box_row, ROW_BOXES) * g.rows, quotient(box_row, ROW_BOXES)
        return quotient(plane, DEPTH), remainder(plane, DEPTH), h, w

    @device_function
    def fetch(x, dy, box, last):
        channel, filters = tile()
        n, d, h, w = locate(box)
        first = read_x(x, box < last, n, d * SD - PD, h * SH - PH, w * SW - PW, channel)
        return first, read_dy(dy, box < last, n, d, h, w, filters)

    @device_function
    def stash(shared, there, vectors):
        put_x(shared, there, vectors[0])
        put_dy(shared, there + X_FLOATS, vectors[1])

    return fetch, stash


def _bias(geometry, g):
    """Device functions: add a box's dy to a thread's sum of one filter; add the threads' sums and write the bias."""
    X_FLOATS, TILE_K, PIXELS = x_box(g, geometry).floats, g.tile_filters, g.rows * g.run * g.runs
    K, SIZE, SHARES = geometry.out_channels, prod(geometry.weight_shape), min(PIXELS, g.threads(geometry) // TILE_K)
    EACH, tile = ceil(PIXELS, SHARES), _tile(geometry, g)

    @device_function
    def add_bias(shared, here, bias):
        t, (channel, _) = cuda.threadIdx.x, tile()
        if channel == 0 and t < SHARES * TILE_K:
            for i in range(EACH):
                pixel = i * SHARES + quotient(t, TILE_K)
                if pixel < PIXELS:
                    bias += shared[here + X_FLOATS + pixel * TILE_K + remainder(t, TILE_K)]
        return bias

    @device_function
    def write_bias(gradient, shared, bias):
        t, (channel, filters) = cuda.threadIdx.x, tile()
        shared[t] = bias
        cuda.syncthreads()
        if channel == 0 and t < TILE_K and filters + t < K:
            total = shared[t]
            for i in range(1, SHARES):
                total += shared[i * TILE_K + t]
            gradient[cuda.blockIdx.y * (SIZE + K) + SIZE + filters + t] = total

    return add_bias, write_bias


def _taps(geometry, g):
    """Device function: write one tap column of the weights, all slices added in order."""
    KW, C, K, (TILE_C, TILE_K) = geometry.kernel[2], geometry.in_channels, geometry.out_channels, g.tile
    ROWS, SIZE, THREADS = prod(geometry.kernel[:2]) * TILE_C, prod(geometry.weight_shape), g.threads(geometry)
    tile = _tile(geometry, g)

    @device_function
    def write_taps(gradient, shared, s):
        channel, filters = tile()
        for e in range(cuda.threadIdx.x, ROWS * TILE_K, THREADS):
            k, c = filters + remainder(e, TILE_K), channel + remainder(quotient(e, TILE_K), TILE_C)
            if c < C and k < K:
                total = shared[e]
                for i in range(1, g.slices):
                    total += shared[i * ROWS * TILE_K + e]
                row = quotient(e, TILE_K * TILE_C) * KW + s
                gradient[cuda.blockIdx.y * (SIZE + K) + (row * C + c) * K + k] = total

    return write_taps
