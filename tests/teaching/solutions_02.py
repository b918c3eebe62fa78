"""Answers to the exercises of the notebook on kernels, as its graders must accept them."""

import numpy as np

from helpers.device import cuda
from helpers.kernels.base import Kernel
from helpers.kernels.intrinsics import load4, quotient, remainder, shared_floats, store4
from helpers.teaching.planes import divisor, image_plane
from helpers.unroll import registers, unroll, unrolled


def repaired_tree(lesson):
    """Factory of exercise 1: the barrier comes before each step of the tree."""
    sizes, reader = lesson["weight_sizes"], lesson["window_reader"]

    def factory(op, batch, threads=64):
        (rows, K, pixels), read = sizes(op, batch), reader(op)

        def body(gradient, x, dy):
            s_sum, i, thread = shared_floats(0), cuda.blockIdx.x, cuda.threadIdx.x
            s_sum[thread] = np.float32(0.0)
            for m in range(thread, pixels, threads):
                s_sum[thread] += read(x, m, quotient(i, K)) * dy[m * K + remainder(i, K)]
            half = threads // 2
            while half > 0:
                cuda.syncthreads()
                if thread < half:
                    s_sum[thread] += s_sum[thread + half]
                half //= 2
            if thread == 0:
                gradient[i] = s_sum[0]

        return Kernel("conv_weight_gradient", body, (rows * K, 1, 1), (threads, 1, 1), 4 * threads)

    return factory


def with_depth(lesson):
    """Factory of exercise 2: one more axis."""

    def factory(op, batch):
        g = op.geometry
        (D, H, W, C), (O, P, Q, K), (T, R, S) = g.in_shape, g.out_shape, g.kernel
        (deep, down, right), (front, top, left) = g.stride, g.padding

        def body(y, x, w, b):
            i = cuda.grid(1)
            if i < batch * O * P * Q * K:
                k, q, p = remainder(i, K), remainder(quotient(i, K), Q), remainder(quotient(i, K * Q), P)
                o, n = remainder(quotient(i, K * Q * P), O), quotient(i, K * Q * P * O)
                total = np.float32(0.0)
                for tap in range(T * R * S):
                    z = o * deep + quotient(tap, R * S) - front
                    row = p * down + remainder(quotient(tap, S), R) - top
                    column = q * right + remainder(tap, S) - left
                    if 0 <= z < D and 0 <= row < H and 0 <= column < W:
                        for c in range(C):
                            total += x[(((n * D + z) * H + row) * W + column) * C + c] * w[(tap * C + c) * K + k]
                y[i] = total + b[k]

        return Kernel("conv_forward", body, (-(-batch * O * P * Q * K // 256), 1, 1), (256, 1, 1))

    return factory


def fewer_loads(lesson):
    """Factory of exercise 3: 4 pixels x 8 filters a thread, 12 loads for 128 products."""

    def factory(op, batch, tile=8, filters=64, channels=8):
        _, _, C, _, _, K, R, S, *_ = image_plane(op)
        if C % 4 or K % 4:
            return lesson["register_tile"](op, batch)
        portion = 4 * divisor(C // 4, channels // 4)
        corner, grid = lesson["block_corner"](op, batch, tile, filters)
        copy, columns, floats = lesson["wide_copy"](op, tile, filters, portion, filters * tile * tile // 32)
        body = _eight_filters(op, portion, filters, corner, copy, columns, floats)
        shared_bytes = 4 * (floats + R * S * portion * filters)
        return Kernel("conv_forward", body, grid, (filters // 8, tile // 4, tile), shared_bytes)

    return factory


def _eight_filters(op, CT, filters, corner, copy, columns, floats):
    """Body of fewer_loads: wide_loads with twice the filters a thread."""
    _, _, C, P, Q, K, R, S, down, right, *_ = image_plane(op)

    @unrolled
    def body(y, x, w, b):
        s_x, s_w, (n, p, q, k) = shared_floats(0), shared_floats(floats), corner()
        total = registers(4, 8)
        a = registers(4, 4)
        v = registers(8)
        dp, dq, lane = cuda.threadIdx.z, 4 * cuda.threadIdx.y, 8 * cuda.threadIdx.x
        for i in unroll(4):
            for j in unroll(0, 8, 4):
                at = min(k + lane + j, K - 4)
                total[i, j], total[i, j + 1], total[i, j + 2], total[i, j + 3] = load4(b, at)
        for first in range(0, C, CT):
            copy(s_x, s_w, x, w, n, p, q, k, first)
            cuda.syncthreads()
            for t in range(R * S * CT // 4):
                pixel = (dp * down + quotient(4 * t, S * CT)) * columns + dq * right + remainder(quotient(4 * t, CT), S)
                for i in unroll(4):
                    a[i, 0], a[i, 1], a[i, 2], a[i, 3] = load4(s_x, (pixel + i * right) * CT + remainder(4 * t, CT))
                for d in unroll(4):
                    for j in unroll(0, 8, 4):
                        v[j], v[j + 1], v[j + 2], v[j + 3] = load4(s_w, (4 * t + d) * filters + lane + j)
                    for i in unroll(32):
                        total[i // 8, i % 8] += a[i // 8, d] * v[i % 8]
            cuda.syncthreads()
        for i in unroll(4):
            for j in unroll(0, 8, 4):
                if p + dp < P and q + dq + i < Q and k + lane + j < K:
                    at = ((n * P + p + dp) * Q + q + dq + i) * K + k + lane + j
                    store4(y, at, total[i, j], total[i, j + 1], total[i, j + 2], total[i, j + 3])

    return body
