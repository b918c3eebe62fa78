"""The oracle itself: against PyTorch in float64, against finite differences, and its conventions by hand."""

import numpy as np
import pytest
from geometries import conv_geometry, convolutions, pool_geometry, pools, random
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference
from helpers.geometry import window_geometry

torch = pytest.importorskip("torch")
F = torch.nn.functional

EXAMPLES = settings(max_examples=60, deadline=None)
ROUNDING = {"rtol": 1e-10, "atol": 1e-10}


def to_torch(x):
    """(N, D, H, W, C) array to a (N, C, D, H, W) tensor that records gradients."""
    return torch.from_numpy(np.ascontiguousarray(x)).movedim(-1, 1).requires_grad_()


def to_numpy(x):
    """(N, C, D, H, W) tensor to a (N, D, H, W, C) array."""
    return x.detach().movedim(1, -1).numpy()


def padded(x, geometry, value=0.0):
    """Padding in front and behind, the latter as far as the last window needs; what no window reads is cropped."""
    axes = list(zip(geometry.in_shape, geometry.out_shape, geometry.window, geometry.stride, geometry.padding))
    behind = [(out - 1) * s + k - p - size for size, out, k, s, p in axes[:3]]
    amounts = [a for p, b in zip(reversed(geometry.padding), reversed(behind)) for a in (p, b)]
    return F.pad(x, amounts, value=value)


def assert_gradient(function, x, dx, dy, step=1e-6):
    """Central differences of sum(function(x) * dy) against dx, in float64, at up to 40 places."""
    assert np.linalg.norm(dx) > 0
    flat, places = x.reshape(-1), np.random.default_rng(0).permutation(x.size)[:40]
    for place in places:
        value, sums = flat[place], []
        for sign in (1, -1):
            flat[place] = value + sign * step
            sums.append(np.sum(function(x) * dy))
        flat[place] = value
        assert np.isclose((sums[0] - sums[1]) / (2 * step), dx.reshape(-1)[place], rtol=1e-5, atol=1e-6)


@EXAMPLES
@given(convolutions(), st.integers(1, 3), st.booleans())
def test_convolution_against_torch(geometry, images, reverse):
    x, w = random((images, *geometry.in_shape)), random(geometry.weight_shape, 1)
    b, dy = random((geometry.out_channels,), 2), random((images, *geometry.out_shape), 3)
    tx, tw, tb = to_torch(x), torch.from_numpy(w).requires_grad_(), torch.from_numpy(b).requires_grad_()
    ty = F.conv3d(padded(tx, geometry), tw.permute(4, 3, 0, 1, 2), tb, geometry.stride)
    ty.backward(to_torch(dy).detach())
    dx = reference.conv_input_gradient(dy, w, geometry, reverse)
    dw, db = reference.conv_weight_gradient(x, dy, geometry, reverse)
    np.testing.assert_allclose(reference.conv_forward(x, w, b, geometry, reverse), to_numpy(ty), **ROUNDING)
    for gradient, expected in ((dx, to_numpy(tx.grad)), (dw, tw.grad.numpy()), (db, tb.grad.numpy())):
        assert np.linalg.norm(gradient) > 0
        np.testing.assert_allclose(gradient, expected, **ROUNDING)


@EXAMPLES
@given(pools("max"), st.integers(1, 3))
def test_max_pool_against_torch(geometry, images):
    x, dy = random((images, *geometry.in_shape)), random((images, *geometry.out_shape), 1)
    tx = to_torch(x)
    ty = F.max_pool3d(padded(tx, geometry, -np.inf), geometry.window, geometry.stride)
    ty.backward(to_torch(dy).detach())
    y, winner = reference.pool_forward(x, geometry)
    dx = reference.pool_input_gradient(dy, winner, geometry)
    assert winner.dtype == np.uint8 and np.linalg.norm(dx) > 0
    np.testing.assert_allclose(y, to_numpy(ty), **ROUNDING)
    np.testing.assert_allclose(dx, to_numpy(tx.grad), **ROUNDING)


@EXAMPLES
@given(pools("average"), st.integers(1, 3))
def test_average_pool_against_torch(geometry, images):
    x, dy = random((images, *geometry.in_shape)), random((images, *geometry.out_shape), 1)
    tx = to_torch(x)
    total, count = (
        F.avg_pool3d(padded(t, geometry), geometry.window, geometry.stride) for t in (tx, torch.ones_like(tx))
    )
    ty = total / count
    ty.backward(to_torch(dy).detach())
    y, winner = reference.pool_forward(x, geometry)
    dx = reference.pool_input_gradient(dy, winner, geometry)
    assert winner is None and np.linalg.norm(dx) > 0
    np.testing.assert_allclose(y, to_numpy(ty), **ROUNDING)
    np.testing.assert_allclose(dx, to_numpy(tx.grad), **ROUNDING)


@EXAMPLES
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 7), st.booleans())
def test_dense_against_torch(images, inputs, outputs, reverse):
    x, w = random((images, inputs)), random((inputs, outputs), 1)
    b, dy = random((outputs,), 2), random((images, outputs), 3)
    tx, tw, tb = (torch.from_numpy(a).requires_grad_() for a in (x, w, b))
    ty = tx @ tw + tb
    ty.backward(torch.from_numpy(dy))
    dw, db = reference.dense_weight_gradient(x, dy, reverse=reverse)
    np.testing.assert_allclose(reference.dense_forward(x, w, b, reverse=reverse), ty.detach().numpy(), **ROUNDING)
    np.testing.assert_allclose(reference.dense_input_gradient(dy, w, reverse=reverse), tx.grad.numpy(), **ROUNDING)
    np.testing.assert_allclose(dw, tw.grad.numpy(), **ROUNDING)
    np.testing.assert_allclose(db, tb.grad.numpy(), **ROUNDING)


@EXAMPLES
@given(st.integers(1, 6), st.integers(2, 10), st.booleans())
def test_softmax_cross_entropy_against_torch(images, classes, reverse):
    logits, labels = 5 * random((images, classes)), np.arange(images) % classes
    tz = torch.from_numpy(logits).requires_grad_()
    expected = F.cross_entropy(tz, torch.from_numpy(labels), reduction="none")
    expected.mean().backward()
    loss, correct, d_logits = reference.softmax_cross_entropy(logits, labels, reverse=reverse)
    np.testing.assert_allclose(loss, expected.detach().numpy(), **ROUNDING)
    np.testing.assert_allclose(d_logits, tz.grad.numpy(), **ROUNDING)
    assert np.array_equal(correct, logits.argmax(1) == labels)


CONVOLUTION = conv_geometry((2, 5, 6, 3), 4, (2, 3, 3), (1, 2, 1), ("same", "same", 1))


def test_convolution_by_finite_differences():
    x, w, b = random((2, *CONVOLUTION.in_shape)), random(CONVOLUTION.weight_shape, 1), random((4,), 2)
    dy = random((2, *CONVOLUTION.out_shape), 3)
    dw, db = reference.conv_weight_gradient(x, dy, CONVOLUTION)
    forward = reference.conv_forward
    assert_gradient(lambda v: forward(v, w, b, CONVOLUTION), x, reference.conv_input_gradient(dy, w, CONVOLUTION), dy)
    assert_gradient(lambda v: forward(x, v, b, CONVOLUTION), w, dw, dy)
    assert_gradient(lambda v: forward(x, w, v, CONVOLUTION), b, db, dy)


@pytest.mark.parametrize("mode", ["max", "average"])
def test_pool_by_finite_differences(mode):
    geometry = pool_geometry(mode, (1, 7, 6, 3), (3, 2), (2, 2), ("same", 1))
    x, dy = random((2, *geometry.in_shape)), random((2, *geometry.out_shape), 1)
    dx = reference.pool_input_gradient(dy, reference.pool_forward(x, geometry)[1], geometry)
    assert_gradient(lambda v: reference.pool_forward(v, geometry)[0], x, dx, dy)


def test_dense_relu_and_loss_by_finite_differences():
    x, w, b, labels = random((4, 6)), random((6, 5), 1), random((5,), 2), np.array([0, 4, 2, 2])

    def mean_loss(x, w, b):
        y = reference.relu_forward(reference.dense_forward(x, w, b))
        return reference.softmax_cross_entropy(y, labels)[0].mean()

    y = reference.relu_forward(reference.dense_forward(x, w, b))
    dy = reference.relu_input_gradient(reference.softmax_cross_entropy(y, labels)[2], y)
    dw, db = reference.dense_weight_gradient(x, dy)
    assert_gradient(lambda v: mean_loss(v, w, b), x, reference.dense_input_gradient(dy, w), 1.0)
    assert_gradient(lambda v: mean_loss(x, v, b), w, dw, 1.0)
    assert_gradient(lambda v: mean_loss(x, w, v), b, db, 1.0)


def test_same_padding_at_stride_2_is_tensorflows():
    """TensorFlow: ceil(n / 2) outputs; of the total padding the smaller half goes in front."""
    for size in range(3, 12):
        for window in (2, 3, 4, 5):
            outputs, _, _, padding = window_geometry((1, 1, size, 1), (window,), (2,), ("same",))
            total = max((-(-size // 2) - 1) * 2 + window - size, 0)
            assert (outputs[2], padding[2]) == (-(-size // 2), total // 2)


def pool_row(values, mode, window, padding):
    """Pooling of one row with stride 1; (y, winner) as lists."""
    in_shape = (1, 1, len(values), 1)
    geometry = pool_geometry(mode, in_shape, (window,), (1,), (padding,))
    y, winner = reference.pool_forward(np.array(values, float).reshape(1, *in_shape), geometry)
    return y.ravel().tolist(), None if winner is None else winner.ravel().tolist()


def test_pool_conventions():
    assert pool_row([2, 2, 1, 1], "max", 2, "valid") == ([2, 2, 1], [0, 0, 0]), "ties take the first"
    assert pool_row([-3, -2, -1], "max", 3, 1) == ([-2, -1, -1], [2, 2, 1]), "padding never wins"
    assert pool_row([3, 5, 7], "average", 3, 1) == ([4, 5, 6], None), "divides by the real count"


def test_relu_conventions():
    y = reference.relu_forward(np.array([-1.0, 0.0, 2.0, np.nan]))
    assert np.array_equal(y, [0, 0, 2, np.nan], equal_nan=True)
    assert reference.relu_input_gradient(np.ones(3), y[:3]).tolist() == [0, 0, 1]


def test_loss_of_a_share_is_differentiated_by_the_whole_batch():
    logits, labels = random((6, 4)), np.array([0, 1, 2, 3, 0, 1])
    whole = reference.softmax_cross_entropy(logits, labels)[2]
    parts = [reference.softmax_cross_entropy(logits[s], labels[s], batch=6)[2] for s in (slice(4), slice(4, 6))]
    np.testing.assert_allclose(np.concatenate(parts), whole, **ROUNDING)


def test_large_logits_do_not_overflow():
    loss, _, d_logits = reference.softmax_cross_entropy(np.array([[1000.0, -1000.0]], np.float32), np.array([1]))
    assert loss[0] == 2000 and np.isfinite(d_logits).all()


def test_update():
    w, v = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    reference.sgd_update(w, v, np.array([0.25, 0.5]), 0.1, 0.5)
    np.testing.assert_allclose(v, [0.5, 0.0])
    np.testing.assert_allclose(w, [0.95, 2.0])
