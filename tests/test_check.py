"""The checker passes right kernels on every shape class and catches wrong ones by name; NaN never passes."""

from dataclasses import dataclass
from math import prod

import numpy as np
import pytest

from helpers import reference
from helpers.check import CheckError, check, check_close, check_kernel, relative_error
from helpers.checking.oracle_cases import CASES, make_case
from helpers.checking.shape_classes import shape_classes
from helpers.device import SIMULATOR, cuda
from helpers.geometry import ConvGeometry, DenseGeometry, PoolGeometry
from helpers.kernels.base import Kernel
from helpers.lowering import Op
from helpers.trace import TraceError, trace

THREADS = 32


def grid(cells):
    return (-(-cells // THREADS), 1, 1), (THREADS, 1, 1)


def naive_conv_forward(op, batch, bug=None):
    """One thread an output cell; `bug` plants an error."""
    g = op.geometry
    (depth, height, width, channels), (do, ho, wo, filters) = g.in_shape, g.out_shape
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw) = g.kernel, g.stride, g.padding
    cells = batch * do * ho * wo * filters
    relu = op.activation == "relu" and bug != "no relu"

    def body(y, x, w, b):
        i = cuda.grid(1)
        if i < cells - (bug == "last cell"):
            f, p = i % filters, i // filters
            ox, p = p % wo, p // wo
            oy, p = p % ho, p // ho
            oz, n = p % do, p // do
            total = np.float32(0.0) if bug == "no bias" else b[f]
            for tap in range(kd * kh * kw):
                z, r, s = oz * sd - pd + tap // (kh * kw), oy * sh - ph + tap // kw % kh, ox * sw - pw + tap % kw
                if bug == "no padding" or (0 <= z < depth and 0 <= r < height and 0 <= s < width):
                    for c in range(channels):
                        source = (((n * depth + z) * height + r) * width + s) * channels + c
                        total += x[source] * w[(tap * channels + c) * filters + f]
            y[i] = max(total, np.float32(0.0)) if relu else total

    return Kernel("conv_forward", body, *grid(cells))


def naive_pool_forward(op, batch, last_tie=False):
    """One thread an output cell of max-pooling; `last_tie` lets the last of equal cells win."""
    g = op.geometry
    (depth, height, width, channels), (do, ho, wo, _) = g.in_shape, g.out_shape
    (kd, kh, kw), (sd, sh, sw), (pd, ph, pw) = g.window, g.stride, g.padding
    cells = batch * prod(g.out_shape)

    def body(y, winner, x):
        i = cuda.grid(1)
        if i < cells:
            c, p = i % channels, i // channels
            ox, p = p % wo, p // wo
            oy, p = p % ho, p // ho
            oz, n = p % do, p // do
            best, won = np.float32(-np.inf), 0
            for tap in range(kd * kh * kw):
                z, r, s = oz * sd - pd + tap // (kh * kw), oy * sh - ph + tap // kw % kh, ox * sw - pw + tap % kw
                if 0 <= z < depth and 0 <= r < height and 0 <= s < width:
                    value = x[(((n * depth + z) * height + r) * width + s) * channels + c]
                    if value > best or (last_tie and value == best):
                        best, won = value, tap
            y[i] = best
            winner[i] = won

    return Kernel("pool_forward", body, *grid(cells))


def naive_dense_weight_gradient(op, batch, splits=2):
    """One thread a weight or bias of one split."""
    inputs, outputs = op.geometry.inputs, op.geometry.outputs
    cells = (inputs + 1) * outputs

    def body(gradient, x, dy):
        i, split = cuda.grid(1), cuda.blockIdx.y
        if i < cells:
            total = np.float32(0.0)
            for n in range(split, batch, splits):
                factor = x[n * inputs + i // outputs] if i < inputs * outputs else np.float32(1.0)
                total += factor * dy[n * outputs + i % outputs]
            gradient[split * cells + i] = total

    blocks, threads = grid(cells)
    return Kernel("dense_weight_gradient", body, (blocks[0], splits, 1), threads, splits=splits)


def naive_dense_input_gradient(op, batch):
    inputs, outputs = op.geometry.inputs, op.geometry.outputs
    masked = op.mask is not None

    def body(dx, dy, w, mask):
        i = cuda.grid(1)
        if i < batch * inputs:
            total = np.float32(0.0)
            for k in range(outputs):
                total += dy[i // inputs * outputs + k] * w[i % inputs * outputs + k]
            dx[i] = np.float32(0.0) if masked and not mask[i] > 0 else total

    return Kernel("dense_input_gradient", body, *grid(batch * inputs))


def naive_softmax(op, batch, shape):
    classes = shape[0]

    def body(d_logits, sample_loss, correct, logits, labels, state):
        n = cuda.grid(1)
        if n < batch:
            top, best = np.float32(-np.inf), 0
            for k in range(classes):
                if logits[n * classes + k] > top:
                    top, best = logits[n * classes + k], k
            total = np.float32(0.0)
            for k in range(classes):
                total += np.float32(np.exp(logits[n * classes + k] - top))
            for k in range(classes):
                p = np.float32(np.exp(logits[n * classes + k] - top)) / total
                d_logits[n * classes + k] = (p - np.float32(k == labels[n])) / np.float32(batch)
            sample_loss[n] = np.float32(np.log(total)) - (logits[n * classes + labels[n]] - top)
            correct[n] = best == labels[n]

    return Kernel("softmax_cross_entropy", body, *grid(batch))


def quick(kernel, *arrays):
    return trace(kernel, *arrays, record=False)


# --- right kernels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "factory, kind",
    [
        (naive_conv_forward, "conv_forward"),
        (naive_pool_forward, "pool_forward"),
        (naive_dense_weight_gradient, "dense_weight_gradient"),
        (naive_dense_input_gradient, "dense_input_gradient"),
    ],
)
def test_right_kernels_pass_every_shape_class(factory, kind):
    table = check(factory, kind, tile=4, runner=quick)
    assert len(table) == 9 and table.max().item() < 100


def test_operations_without_geometry():
    op = Op("softmax_cross_entropy", "loss", ("dense1", "labels"), ("d_dense1", "loss", "correct"))
    assert check_kernel(naive_softmax, op, 5, shape=(7,), runner=trace) < 100


@pytest.mark.skipif(not SIMULATOR, reason="needs NUMBA_ENABLE_CUDASIM=1")
def test_the_simulator_is_a_runner():
    op, batch = shape_classes("dense_weight_gradient", tile=4)["tile + 1"]
    assert check_kernel(naive_dense_weight_gradient, op, batch) < 100


class Rounded:
    """helpers.reference computing in float32: an independent rounding of the same sums."""

    def __getattr__(self, name):
        def run(*arguments):
            arrays = [a.astype(np.float32) if getattr(a, "dtype", None) == np.float64 else a for a in arguments]
            return getattr(reference, name)(*arrays)

        return run


@dataclass(frozen=True)
class PooledOp(Op):
    """A convolution with its pooling, as the fusion pass describes it."""

    pool: object = None


@pytest.mark.parametrize("activation", [None, "relu"])
def test_pooled_convolutions_are_exact_in_float32(activation):
    image, pooled, window = (1, 6, 7, 3), (1, 3, 3, 5), (1, 2, 2)
    conv = ConvGeometry(image, (1, 6, 7, 5), (1, 3, 3), (1, 1, 1), (0, 1, 1))
    pool = PoolGeometry("max", conv.out_shape, pooled, window, window, (0, 0, 0))
    op = PooledOp("conv_pool_forward", "pool1", (), (), geometry=conv, activation=activation, pool=pool)
    exact, rounded = make_case(op, 2), make_case(op, 2, reference=Rounded())
    for name, wanted in exact.wanted.items():
        check_close(rounded.wanted[name], wanted, name, 0.0)
    assert np.any(exact.allowed["winner"]) == (activation == "relu")


@pytest.mark.parametrize(
    "kind", [kind for kind in CASES if kind.startswith(("conv_input", "conv_forward", "conv_weight", "dense", "pool"))]
)
@pytest.mark.parametrize("mode", ["max", "average"])
def test_float32_numpy_lies_within_the_allowance(kind, mode):
    for op, batch in shape_classes(kind, tile=5, mode=mode).values():
        exact, rounded = make_case(op, batch), make_case(op, batch, reference=Rounded())
        for name, wanted in exact.wanted.items():
            check_close(rounded.wanted[name], wanted, name, exact.allowed[name])


# --- wrong kernels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", ["no bias", "no relu", "last cell"])
def test_wrong_convolutions_are_caught(bug):
    def run(kernel, *arrays):
        trace(kernel, *arrays, record=False, outputs=())

    op, batch = shape_classes("conv_forward", tile=4)["tile - 1"]
    assert op.activation == "relu"
    with pytest.raises(
        CheckError, match=r"y of conv_forward.*at \(\d.*got .*, wanted .*(times the allowed|not finite)"
    ):
        check_kernel(naive_conv_forward, op, batch, bug=bug, runner=run)


def test_reading_beyond_the_image_is_caught():
    op, batch = shape_classes("conv_forward", tile=4)["tile - 1"]
    with pytest.raises(TraceError, match="x.* is out of bounds"):
        check_kernel(naive_conv_forward, op, batch, bug="no padding", runner=quick)


def test_the_first_of_equal_cells_must_win():
    with pytest.raises(CheckError, match="winner of pool_forward.*allowed 0"):
        check(naive_pool_forward, "pool_forward", tile=6, runner=quick, last_tie=True)


@pytest.mark.parametrize("cell, side", [(-1, "before"), (0, "behind")])
def test_a_write_into_the_guard_band_is_caught(cell, side):
    def run(kernel, *arrays):
        quick(kernel, *arrays)
        arrays[0].base[64 + cell if cell else -64] = 1.0

    op = Op("dense_weight_gradient", "dense1", (), (), geometry=DenseGeometry(3, 4))
    with pytest.raises(CheckError, match=f"wrote {side} gradient"):
        check_kernel(naive_dense_weight_gradient, op, 5, runner=run)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_never_pass(value):
    with pytest.raises(CheckError, match=r"at \(1, 0\) \(flat 2\)"):
        check_close(np.array([[0.0, 0.0], [value, 0.0]]), np.zeros((2, 2)), "y", np.inf if value != value else 1.0)
    with pytest.raises(CheckError, match="finite"):
        check_close(np.zeros(1), np.array([value]), "y", 1.0)
    with pytest.raises(CheckError, match="finite"):
        relative_error([value], [1.0])


def test_the_worst_cell_is_named():
    with pytest.raises(CheckError, match=r"y of shape \(3,\), at \(2,\).*20 times the allowed 0.1; 2 of 3 cells"):
        check_close([0.0, 1.0, 2.0], np.zeros(3), "y", 0.1)
    assert check_close([0.05], [0.0], "y", 0.1) == pytest.approx(50.0)


def test_relative_error():
    assert relative_error([3.0, 4.5], [3.0, 4.0]) == pytest.approx(0.1)
    with pytest.raises(CheckError, match="norm 0"):
        relative_error([0.0], [0.0])
    with pytest.raises(CheckError, match="shapes differ"):
        relative_error([0.0], [[1.0]])


def test_unknown_operations_are_refused():
    with pytest.raises(ValueError, match="update has no oracle"):
        check_kernel(lambda op, batch: Kernel("update", None, (1, 1, 1), (1, 1, 1)), Op("update", "u", (), ()), 1)
