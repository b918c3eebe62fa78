"""That the sequential and the vectorized engine are honest baselines: timings, on demand (MEASURE=1, idle machine)."""

import os
import time

import numba
import numpy as np
import pytest
from geometries import random

from helpers import reference
from helpers.architectures import lenet5, vgg_small
from helpers.engines.loops import LoopOperations
from helpers.engines.vectorized import _blas_controller
from helpers.geometry import ConvGeometry
from helpers.windows import gather_windows, transposed

pytestmark = pytest.mark.skipif("MEASURE" not in os.environ, reason="a timing, made on demand on an idle machine")

NETWORKS = lenet5(), vgg_small()


def convolutions(network):
    return [stage.geometry for stage in network.stages if isinstance(stage.geometry, ConvGeometry)]


IMAGES = 16


@numba.njit
def plain_convolution(y, x, w, b):
    """C-order loops over padded images, stride 1, innermost over the filters."""
    for n in range(y.shape[0]):
        for h in range(y.shape[1]):
            for v in range(y.shape[2]):
                for k in range(y.shape[3]):
                    y[n, h, v, k] = b[k]
                for r in range(w.shape[0]):
                    for s in range(w.shape[1]):
                        for c in range(w.shape[2]):
                            for k in range(w.shape[3]):
                                y[n, h, v, k] += x[n, h + r, v + s, c] * w[r, s, c, k]


def fastest(*functions, repeats=9):
    """Least CPU seconds of each function, their turns interleaved."""
    times = []
    for repeat in range(repeats + 1):
        row = []
        for function in functions:
            start = time.process_time()
            function()
            row.append(time.process_time() - start)
        if repeat:
            times.append(row)
    return np.min(times, axis=0)


def arrays(geometry):
    shapes = (IMAGES, *geometry.in_shape), geometry.weight_shape, geometry.out_shape[3:], (IMAGES, *geometry.out_shape)
    return [random(shape, seed, np.float32) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    "geometry",
    [pytest.param(g, id=f"{n.name}-conv{i}") for n in NETWORKS for i, g in enumerate(convolutions(n), start=1)],
)
def test_loops_take_at_most_1_2_times_a_plain_convolution(geometry):
    x, w, b, dy = arrays(geometry)
    p = geometry.padding[1]
    padded, y = np.pad(x[:, 0], ((0, 0), (p, p), (p, p), (0, 0))), np.full_like(dy[:, 0], np.nan)
    loops = LoopOperations()
    ours, plain = fastest(lambda: loops.conv_forward(x, w, b, geometry), lambda: plain_convolution(y, padded, w[0], b))
    np.testing.assert_allclose(loops.conv_forward(x, w, b, geometry)[:, 0], y, rtol=1e-3, atol=1e-3)
    print(f"loops take {ours / plain:.2f} of the plain convolution's time")
    assert ours <= 1.2 * plain


def contraction_times(geometry, first):
    """Seconds of each contraction and of the bare matrix product of its shape, (2 or 3, 2), on one core."""
    x, w, b, dy = arrays(geometry)
    windows, rows = np.ascontiguousarray(gather_windows(x, geometry)), dy.reshape(-1, geometry.out_channels)
    weights = w.reshape(-1, geometry.out_channels)
    functions = [
        *(lambda: reference.conv_forward(x, w, b, geometry), lambda: windows @ weights),
        *(lambda: reference.conv_weight_gradient(x, dy, geometry), lambda: windows.T @ rows),
    ]
    if not first:
        turned = np.ascontiguousarray(gather_windows(dy, transposed(geometry)))
        flipped = random((turned.shape[1], geometry.in_channels), dtype=np.float32)
        functions += [lambda: reference.conv_input_gradient(dy, w, geometry), lambda: turned @ flipped]
    return fastest(*functions).reshape(-1, 2)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_vectorized_reaches_half_of_the_blas_rate(network):
    """All convolutions of a network together; the first one needs no input gradient."""
    with _blas_controller().limit(limits=1, user_api="blas"):
        times = [contraction_times(g, first=not i) for i, g in enumerate(convolutions(network))]
    for index, layer in enumerate(times, start=1):
        print(f"conv{index}, share of the BLAS rate, forward, dW, dX:", (layer[:, 1] / layer[:, 0]).round(2).tolist())
    ours, blas = np.concatenate(times).sum(axis=0)
    print(f"{network.name}: {blas / ours:.2f} of the BLAS rate")
    assert blas >= 0.5 * ours
