"""Cases that grade the exercises on sequential code: answers are held against the oracle on shapes a reader never sees.

Knows the oracle; must not learn how an answer is written.
"""

import numpy as np

from helpers import loops_kernels, reference
from helpers.benchmark import clocked, interleave
from helpers.check import CheckError, check_close
from helpers.engines.loops import compiled_kernel
from helpers.geometry import ConvGeometry, PoolGeometry, window_geometry

ALLOWED = 1e-10
FLAT = ((1, 1, 1), (0, 0, 0))  # stride and padding of a convolution at stride 1 without padding
SPEED_SHAPE = (16, 12, 12, 6, 5, 16)  # images, height, width, channels, taps along an axis, filters
RUNS = 5


def _random(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape)


def pool_gradient_cases():
    """Cases of `f(dy, winner, x_shape, window, stride)`: gradient of 2-D max-pooling whose windows may overlap.

    Returns
    -------
    list of (arguments, wanted, allowed)
        dy, winner (N, H', W', C); x_shape (N, H, W, C); wanted the gradient of that shape.
    """
    cases = []
    for seed, (shape, window, stride) in enumerate([((2, 5, 5, 3), 3, 2), ((1, 7, 6, 2), 3, 1), ((3, 8, 9, 1), 2, 2)]):
        in_shape = (1, *shape[1:])
        outputs, *place = window_geometry(in_shape, (window,) * 2, (stride,) * 2, ("valid",) * 2)
        geometry = PoolGeometry("max", in_shape, (*outputs, shape[3]), *place)
        y, winner = reference.pool_forward(_random(shape, seed)[:, None], geometry)
        dy = _random(y.shape, seed + 10)
        wanted = reference.pool_input_gradient(dy, winner, geometry)[:, 0]
        cases.append(((dy[:, 0], winner[:, 0], shape, window, stride), wanted, ALLOWED))
    return cases


def convolution_cases():
    """Cases of `f(x, w, b, stride, padding)`: 2-D convolution with one stride and one padding for both axes.

    Returns
    -------
    list of (arguments, wanted, allowed)
        x (N, H, W, C), w (R, S, C, K), b (K,); wanted (N, H', W', K).
    """
    cases, sizes = (
        [],
        [((2, 6, 5, 2), (3, 3, 4), 1, 1), ((1, 9, 8, 3), (3, 2, 5), 2, 1), ((2, 7, 7, 1), (5, 5, 2), 3, 0)],
    )
    for seed, (shape, (rows, columns, filters), stride, padding) in enumerate(sizes):
        in_shape = (1, *shape[1:])
        outputs, *place = window_geometry(in_shape, (rows, columns), (stride,) * 2, (padding,) * 2)
        geometry = ConvGeometry(in_shape, (*outputs, filters), *place)
        x, w, b = _random(shape, seed), _random((rows, columns, shape[3], filters), seed + 10), _random(filters, seed)
        wanted = reference.conv_forward(x[:, None], w[None], b, geometry)[:, 0]
        cases.append(((x, w, b, stride, padding), wanted, ALLOWED))
    return cases


def sparse_gradient_cases():
    """Cases of `f(x, d_pool, winner, taps)`: weight gradient of a convolution below 2x2 max-pooling.

    x (N, H, W, C) is the convolution's input, d_pool and winner (N, H'/2, W'/2, K) belong to the pool above it, `taps`
    is the filter's height and width; wanted (taps, taps, C, K). The last case demands less time than the compiled
    textbook loop takes.

    Returns
    -------
    list
        Arguments with the wanted value, and one callable, as exercises.grade takes them.
    """
    shapes = [(2, 6, 8, 2, 3, 3), (1, 9, 5, 1, 2, 4), (3, 8, 8, 3, 5, 2)]
    found = [_sparse_problem(shape, seed) for seed, shape in enumerate(shapes)]
    return [*((arguments, wanted, ALLOWED) for arguments, wanted, _ in found), _check_speed]


def _sparse_problem(shape, seed):
    """Arguments, the wanted gradient, and the gradient between convolution and pool, most of it zeros."""
    images, height, width, channels, taps, filters = shape
    inner = (height - taps + 1, width - taps + 1)
    pool = PoolGeometry(
        "max", (1, *inner, filters), (1, inner[0] // 2, inner[1] // 2, filters), (1, 2, 2), (1, 2, 2), (0, 0, 0)
    )
    conv = ConvGeometry((1, height, width, channels), pool.in_shape, (1, taps, taps), *FLAT)
    x, d_pool = _random((images, 1, height, width, channels), seed), _random((images, *pool.out_shape), seed + 10)
    winner = np.random.default_rng(seed + 20).integers(0, 4, d_pool.shape).astype(np.uint8)
    dense = reference.pool_input_gradient(d_pool, winner, pool)
    wanted = reference.conv_weight_gradient(x, dense, conv)[0]
    return (x[:, 0], d_pool[:, 0], winner[:, 0], taps), wanted[0], dense


def _check_speed(function):
    """Raise CheckError unless `function` is right and takes less time than the compiled loop over all cells."""
    arguments, wanted, dense = _sparse_problem(SPEED_SHAPE, 7)
    check_close(function(*arguments), wanted, "the weight gradient of the timed case", ALLOWED)
    x, taps = arguments[0][:, None], SPEED_SHAPE[4]
    dw, db = np.empty((1, *wanted.shape)), np.empty(wanted.shape[-1])
    textbook = compiled_kernel(loops_kernels.conv_weight_gradient)
    rivals = {
        "textbook": clocked(lambda: textbook(dw, db, x, dense, *FLAT)),
        "yours": clocked(lambda: function(*arguments)),
    }
    interleave(rivals, 1)
    best = {name: min(seconds) for name, seconds in interleave(rivals, RUNS).items()}
    ratio = best["textbook"] / best["yours"]
    print(f"Your gradient is {ratio:.1f}x as fast as the compiled loop over every cell ({taps}x{taps} taps).")
    if not ratio > 1:
        raise CheckError(f"the gradient is right, but its time is {1 / ratio:.1f} times the textbook loop's; want less")
