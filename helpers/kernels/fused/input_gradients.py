"""Gradient of a convolution's input from that of its (pooled) outputs, one image in shared memory.

Behind a max-pooling, each window's winners scatter into a patch, and input cells collect from the patches; elsewhere an
input cell gathers from the outputs. Must not learn how the forward pass shares out its work.
"""

import numpy as np

from helpers.device import device_function
from helpers.kernels.fused.activation import make_gate
from helpers.kernels.fused.convolution import width
from helpers.kernels.fused.items import each
from helpers.kernels.fused.places import CORNER_BITS
from helpers.kernels.fused.vectors import vector_loader, vector_storer
from helpers.kernels.intrinsics import narrow, quotient, remainder
from helpers.unroll import registers, unroll, unrolled

WARP = 32
MOST_BUSY = 0.7  # share of the threads that may be left to one of two works that run at once
# threads: of six channels, three at once (192 threads) took 25,500 cycles for four images, two (288) took 30,200
MANY_THREADS, ENOUGH_THREADS = 512, 192
ZERO = np.float32(0.0)


def input_gradient(plan, threads):
    """Gradient of the input, times the derivative of the activation below it where there is one.

    Returns
    -------
    list of device functions
        Each takes (thread, mem, ints); [] where nobody needs it.
    """
    if plan.input_gradient is None:
        return []
    return _from_patches(plan, threads) if plan.pooled else [_gathered(plan, threads)]


def _from_patches(plan, threads):
    """Each cell's winners scatter into a patch of the cell's own; then each input cell collects from its patches.

    A thread has one column of a patch, for a few neighbouring channels, in registers.
    """
    (rows, columns), (stride_h, stride_w), (window_h, window_w) = plan.kernel, plan.stride, plan.window
    (patch_h, patch_w), channels, filters = plan.patch, plan.channels, plan.filters
    gradient, corners, transposed, scratch = plan.gradient, plan.corners, plan.transposed, plan.gradient_scratch
    tap_row, per_filter, at_once = columns * channels, rows * columns * channels, width(filters)
    cell_patch, patch_row, wide = patch_h * patch_w * channels, patch_w * channels, channels_at_once(plan)
    load, store, bundles = vector_loader(wide), vector_storer(wide), channels // wide
    load_gradients = vector_loader(at_once)

    @device_function
    @unrolled
    def scatter(item, mem, ints):
        c, rest = wide * remainder(item, bundles), quotient(item, bundles)
        i, cell = remainder(rest, patch_w), quotient(rest, patch_w)
        sums = registers(patch_h, wide)
        for j in unroll(patch_h):
            for b in unroll(wide):
                sums[j, b] = ZERO
        at_d, at_corner = narrow(gradient + cell * filters), narrow(corners + cell * filters)
        base = transposed + c
        for turn in range(filters // at_once):
            several = load_gradients(mem, narrow(at_d + turn * at_once))
            for u in unroll(at_once):
                k = turn * at_once + u
                winner = ints[at_corner + k] >> CORNER_BITS
                wy, wx = quotient(winner, window_w), remainder(winner, window_w)
                s = i - wx * stride_w
                inside = np.uint32(s) < np.uint32(columns)  # below 0 it wraps
                d = several[u] if inside else ZERO
                at = narrow(base + k * per_filter + (s if inside else 0) * channels)
                for r in unroll(rows):
                    w = load(mem, at + r * tap_row)
                    for v in unroll(window_h):
                        share = d if np.uint32(wy) == np.uint32(v) else ZERO
                        for b in unroll(wide):
                            sums[v * stride_h + r, b] += share * w[b]
        at = narrow(scratch + cell * cell_patch + i * channels + c)
        for j in unroll(patch_h):
            row = registers(wide)
            for b in unroll(wide):
                row[b] = sums[j, b]
            store(mem, at + j * patch_row, row)

    return [each(_scatter_items(plan, wide), threads, scatter), _collected(plan, threads)]


def _scatter_items(plan, wide):
    """Columns of all patches, `wide` channels each."""
    return plan.cell_count * plan.patch[1] * (plan.channels // wide)


def busy_threads(plan, threads):
    """Threads that scattering keeps busy while the others sum weights' gradients; 0 where all do both.

    That is where it takes more than a share of them, or nothing is scattered.
    """
    if plan.input_gradient is None or not plan.pooled:
        return 0
    busy = -(-_scatter_items(plan, channels_at_once(plan)) // WARP) * WARP
    return busy if busy <= MOST_BUSY * threads else 0


def channels_at_once(plan):
    """Neighbouring channels of a patch that a thread takes: the most that divide evenly and leave enough threads work.

    The winner is looked up once for them, and the other threads have more time for the weights' gradient.
    """
    aligned = width(plan.channels, plan.transposed, plan.gradient_scratch)
    options = [n for n in (4, 3, 2) if plan.channels % n == 0 and (n % 2 or aligned % n == 0)]
    return next((n for n in options if _scatter_items(plan, n) >= ENOUGH_THREADS), 1)


def channels_collected(plan):
    """Neighbouring channels that a thread adds up: 4 or 2 where they divide evenly and begin at a multiple, else 1.

    Four only where that leaves work for all threads.
    """
    most = width(plan.channels, plan.gradient_scratch, plan.input_gradient)
    enough = plan.cell_count * plan.patch[1] * plan.channels >= 4 * MANY_THREADS
    return most if enough else min(most, 2)


def _collected(plan, threads):
    """The second half: an input cell a thread, a few neighbouring channels of it."""
    (stride_h, stride_w), (window_h, window_w), (high, wide) = plan.stride, plan.window, plan.cells
    (patch_h, patch_w), channels, (pad_h, pad_w) = plan.patch, plan.channels, plan.padding
    (height, width, _), scratch, target = plan.x.shape, plan.gradient_scratch, plan.input_gradient
    down, right, cell_patch, gate = (
        window_h * stride_h,
        window_w * stride_w,
        patch_h * patch_w * channels,
        make_gate(plan),
    )
    above, before, vector = -(-patch_h // down), -(-patch_w // right), channels_collected(plan)
    whole_h, whole_w, bundles = patch_h % down == 0, patch_w % right == 0, channels // vector
    load, store = vector_loader(vector), vector_storer(vector)

    @device_function
    @unrolled
    def collect(item, mem, ints):
        c, rest = vector * remainder(item, bundles), quotient(item, bundles)
        x, y = remainder(rest, width), quotient(rest, width)
        last_y, last_x = quotient(y + pad_h, down), quotient(x + pad_w, right)
        first_j, first_i = remainder(y + pad_h, down), remainder(x + pad_w, right)
        at = scratch + (last_y * wide + last_x) * cell_patch + (first_j * patch_w + first_i) * channels + c
        value = registers(vector)
        for b in unroll(vector):
            value[b] = ZERO
        for a in unroll(above):
            fits_h = last_y >= a and last_y - a < high and (whole_h or first_j + a * down < patch_h)
            for b in unroll(before):
                fits_w = last_x >= b and last_x - b < wide and (whole_w or first_i + b * right < patch_w)
                inside = fits_h and fits_w
                step = (a * down * patch_w + b * right) * channels - (a * wide + b) * cell_patch
                part = load(mem, narrow(at + step if inside else scratch))  # no branch: the reads run ahead
                for n in unroll(vector):
                    value[n] += part[n] if inside else ZERO
        for n in unroll(vector):
            value[n] = gate(mem, value[n], y, x, c + n)
        store(mem, narrow(target + item * vector), value)

    return each(height * width * bundles, threads, collect)


def _gathered(plan, threads):
    """Each input cell looks up the outputs whose patches hold it."""
    (rows, columns), (stride_h, stride_w), (pad_h, pad_w) = plan.kernel, plan.stride, plan.padding
    (high, wide), channels, filters, (height, width, _) = plan.cells, plan.channels, plan.filters, plan.x.shape
    gradient, weights, target, gate = plan.gradient, plan.weights, plan.input_gradient, make_gate(plan)

    @device_function
    def gather(item, mem, ints):
        c, rest = remainder(item, channels), quotient(item, channels)
        x, y = remainder(rest, width), quotient(rest, width)
        value = ZERO
        for r in range(rows):
            for s in range(columns):
                down, right = y + pad_h - r, x + pad_w - s
                if down >= 0 and right >= 0:
                    cy, cx = quotient(down, stride_h), quotient(right, stride_w)
                    fits = cy * stride_h == down and cx * stride_w == right
                    if fits and cy < high and cx < wide:
                        at = gradient + (cy * wide + cx) * filters
                        weight = weights + ((r * columns + s) * channels + c) * filters
                        for k in range(filters):
                            value += mem[at + k] * mem[weight + k]
        mem[target + item] = gate(mem, value, y, x, c)

    return each(height * width * channels, threads, gather)
