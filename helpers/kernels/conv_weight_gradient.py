"""The convolution's weight gradient: each weight's sum, over all pixels, of the input under it times dy; and dy's sum.

One kernel for every geometry, cut by conv_weight_tiling.py. Must not learn about the operations around it.
"""

from math import prod

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.conv_weight_tiling import ceil, choose, dy_box, x_box
from helpers.kernels.intrinsics import load4, quotient, remainder, shared_floats, store4
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
    found = {}
    for name, fixed in wishes.items():
        try:
            found[name] = conv_weight_gradient(op, batch, choose(op.geometry, batch, **fixed))
        except ValueError:  # that wish does not fit
            continue
    return found


def _body(geometry, batch, g):
    """The kernel's body for tiling `g`: walks over the boxes of its split, then adds up the slices."""
    SH, SW, KW, C, K = *geometry.stride[1:], geometry.kernel[2], g.channels, g.filters
    X, DY, POSITIONS, BOXES = x_box(g, geometry), dy_box(g, geometry), g.rows * g.runs, g.boxes(geometry, batch)
    SHARE, FLOATS, WINDOW = ceil(BOXES, g.splits), X.floats + DY.floats, (g.run - 1) * SW + KW
    LOADS, start, fetch, stash = _staging(geometry, batch, g)
    PASSES, STEP, BUFFERS = ceil(POSITIONS, g.slices), g.slices // g.runs, g.buffers(geometry, batch)
    NEXT = LOADS if BUFFERS == 2 else 0
    role, load_x, load_dy = _role(geometry, g), _vector(C, C % 4 == 0 and X.pitch % 4 == 0), _vector(K, K % 4 == 0)
    TILE_C, TILE_K, (add_bias, write_bias, write_taps) = g.tile_channels, g.tile_filters, _writers(geometry, g)

    @unrolled
    def body(gradient, x, dy):
        shared, bias = shared_floats(0), np.float32(0.0)
        x_lane, dy_lane, sums_lane, part = role()
        first = cuda.blockIdx.y * SHARE
        last = min(first + SHARE, BOXES)
        sums = registers(KW, C, K)
        pixels = registers(WINDOW, C)
        stage = registers(LOADS, 4)
        d = registers(K)
        for i in unroll(KW * C * K):
            sums[i // (C * K), i // K % C, i % K] = np.float32(0.0)
        n, depth, h, w = start(first)
        for i in unroll(LOADS):
            stage[i, 0], stage[i, 1], stage[i, 2], stage[i, 3] = fetch(x, dy, i, True, n, depth, h, w)
        for i in unroll(LOADS):
            stash(shared, 0, i, stage[i, 0], stage[i, 1], stage[i, 2], stage[i, 3])
        for box in range(first, last):
            here, more = remainder(box - first, BUFFERS) * FLOATS, box + 1 < last
            n, depth, h, w = start(box + 1)
            cuda.syncthreads()
            for i in unroll(NEXT):  # the next box travels while this one is worked on
                stage[i, 0], stage[i, 1], stage[i, 2], stage[i, 3] = fetch(x, dy, i, more, n, depth, h, w)
            for i in range(PASSES):
                position = part + i * g.slices
                if POSITIONS % g.slices == 0 or position < POSITIONS:
                    row, column = quotient(position, g.runs), remainder(position, g.runs) * g.run
                    if g.slices % g.runs == 0:
                        row, column = quotient(part, g.runs) + i * STEP, remainder(part, g.runs) * g.run
                    a = here + x_lane + row * SH * X.pitch + column * SW * TILE_C
                    b = here + dy_lane + row * DY.pitch + column * TILE_K
                    for p in unroll(g.run):
                        for u in unroll(max(p * SW, (p - 1) * SW + KW) if p else 0, p * SW + KW):
                            channels = load_x(shared, a + u * TILE_C)
                            for c in unroll(C):
                                pixels[u, c] = channels[c]
                        filters = load_dy(shared, b + p * TILE_K)
                        for k in unroll(K):
                            d[k] = filters[k]
                        for s in unroll(KW * C * K):
                            sums[s // (C * K), s // K % C, s % K] += (
                                pixels[p * SW + s // (C * K), s // K % C] * d[s % K]
                            )
            bias = add_bias(shared, here, bias)
            for i in unroll(NEXT):
                stash(shared, FLOATS - here, i, stage[i, 0], stage[i, 1], stage[i, 2], stage[i, 3])
        for s in unroll(KW):
            cuda.syncthreads()
            for i in unroll(C * K):
                shared[sums_lane + i // K * TILE_K + i % K] = sums[s, i // K, i % K]
            cuda.syncthreads()
            write_taps(gradient, shared, s)
        cuda.syncthreads()
        write_bias(gradient, shared, bias)

    return body


def _vector(n, aligned):
    """Device function (array, index) -> n floats from there on, by 128-bit loads where `aligned`."""
    step = 4 if aligned and n >= 4 else 1
    rest = _vector(n - step, aligned) if n > step else None

    if step == 4:

        @device_function
        def head(array, index):
            return load4(array, index)
    else:

        @device_function
        def head(array, index):
            return (array[index],)

    @device_function
    def take(array, index):
        return head(array, index) + rest(array, index + step)

    return take if rest else head


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
    """Vectors a thread moves a box, and device functions: start of a box; fetch a vector; put it in shared memory.

    Indices are truncated to 32 bits where that lets the compiler drop the upper halves.
    """
    X, DY, X_FLOATS, COLUMNS = x_box(g, geometry), dy_box(g, geometry), x_box(g, geometry).floats, g.run * g.runs
    (SD, SH, SW), (PD, PH, PW), DEPTH = geometry.stride, geometry.padding, geometry.out_shape[0]
    ROW_BOXES, COLUMN_BOXES = ceil(geometry.out_shape[1], g.rows), ceil(geometry.out_shape[2], COLUMNS)
    LOADS, tile = X.loads + DY.loads, _tile(geometry, g)
    read_x, put_x = _mover(geometry.in_shape, g.tile_channels, X)
    read_dy, put_dy = _mover(geometry.out_shape, g.tile_filters, DY)

    @device_function
    def start(box):
        w, box_row = remainder(box, COLUMN_BOXES) * COLUMNS, quotient(box, COLUMN_BOXES)
        h, plane = remainder(box_row, ROW_BOXES) * g.rows, quotient(box_row, ROW_BOXES)
        return quotient(plane, DEPTH), remainder(plane, DEPTH), h, w

    @device_function
    def fetch(x, dy, i, wanted, n, d, h, w):
        channel, filters = tile()
        if i < X.loads:
            return read_x(x, i, wanted, n, d * SD - PD, h * SH - PH, w * SW - PW, channel)
        return read_dy(dy, i - X.loads, wanted and i < LOADS, n, d, h, w, filters)

    @device_function
    def stash(shared, there, i, p, q, r, s):
        if i < X.loads:
            put_x(shared, there, i, p, q, r, s)
        elif i < LOADS:
            put_dy(shared, there + X_FLOATS, i - X.loads, p, q, r, s)

    return LOADS, start, fetch, stash


def _mover(shape, tile, box):
    """Device functions: read the vector of load `i` of the box at (n, d, h, w, channel), zeros outside; and put it.

    Vectors are four floats, of which only the first counts where the box has single floats.
    """
    depth, height, width, channels = shape
    step = channels if box.flat else 1
    width, channels, tile = (width * channels, 1, 1) if box.flat else (width, channels, tile)
    ROWS = box.planes * box.rows

    @device_function
    def place(i):
        t, row, vector = cuda.threadIdx.x, i * box.together, 0
        if box.steps > 1:
            row, vector = quotient(i, box.steps), remainder(i, box.steps) * box.lanes
        row, vector = row + quotient(t, box.lanes), vector + remainder(t, box.lanes)
        return row, vector, t < box.together * box.lanes and row < ROWS and vector < box.vectors

    @device_function
    def read(tensor, i, wanted, n, d, h, w, channel):
        row, vector, exists = place(i)
        plane, column, c = 0, quotient(vector * box.quad, tile), remainder(vector * box.quad, tile)
        if box.planes > 1:
            plane, row = quotient(row, box.rows), remainder(row, box.rows)
        w, channel = (w * step, 0) if box.flat else (w, channel)
        inside = np.uint32(d + plane) < np.uint32(depth) and np.uint32(h + row) < np.uint32(height)
        inside = inside and np.uint32(w + column) < np.uint32(width) and np.uint32(channel + c) < np.uint32(channels)
        zero = np.float32(0.0)
        if not (wanted and exists and inside):
            return zero, zero, zero, zero
        # the first line is the same for all threads, the second the same for all boxes
        index = (((n * depth + d) * height + h) * width + w) * channels + channel
        index += ((plane * height + row) * width + column) * channels + c
        if box.quad == 4:
            return load4(tensor, index)
        return tensor[index], zero, zero, zero

    @device_function
    def put(shared, there, i, p, q, r, s):
        row, vector, exists = place(i)
        if exists:
            index = there + row * box.pitch + box.quad * vector
            if box.quad == 4:
                store4(shared, index, p, q, r, s)
            else:
                shared[index] = p

    return read, put


def _writers(geometry, g):
    """Device functions: add a box's dy to the bias sums; write the bias; write one tap column, all slices added."""
    X_FLOATS, THREADS, TILE_K, PIXELS = (
        x_box(g, geometry).floats,
        g.threads(geometry),
        g.tile_filters,
        g.rows * g.run * g.runs,
    )
    KW, C, K, TILE_C = geometry.kernel[2], geometry.in_channels, geometry.out_channels, g.tile_channels
    ROWS = prod(geometry.kernel[:2]) * TILE_C
    SHARES, SIZE = min(PIXELS, THREADS // TILE_K), prod(geometry.weight_shape)
    EACH = ceil(PIXELS, SHARES)
    tile = _tile(geometry, g)

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

    return add_bias, write_bias, write_taps
