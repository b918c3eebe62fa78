"""The batch that load_batch gathers in words: order, normalisation, windows and labels, against NumPy."""

from math import prod

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.device import SIMULATOR
from helpers.geometry import ConvGeometry, window_geometry
from helpers.kernels import state as words
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.load_batch import load_batch
from helpers.lowering import Op
from helpers.order import sample_order
from helpers.trace import trace
from helpers.windows import gather_windows
from tests.kernels.tensor.words import EVERY_FORMAT, ROUNDING, decode, empty_words

OP = Op("load_batch", "input", (), ("input", "labels"))


def convolution(shape, window, stride=None, padding="same"):
    """Geometry of a convolution of images `shape`, channels last."""
    in_shape = (1,) * (4 - len(shape)) + shape
    axes = len(window)
    out, window, stride, padding = window_geometry(in_shape, window, stride or (1,) * axes, (padding,) * axes)
    return ConvGeometry(in_shape, (*out, 5), window, stride, padding)


CONVOLUTIONS = [
    convolution((5, 3, 1), (3, 3)),
    convolution((4, 5, 3), (3, 3)),
    convolution((3, 7, 2), (5, 2)),
    convolution((7, 5, 1), (5, 5), padding="valid"),
    convolution((6, 5, 3), (3, 3), stride=(2, 2)),
    convolution((3, 2, 4, 2), (3, 1, 2), stride=(1, 2, 1)),
    convolution((2, 2, 17), (1, 2)),
    convolution((4, 1), (3,)),
]


def images_of(shape, samples, channels, seed=3):
    """Random (images, labels, scale); no factor or term is 0."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (samples, *shape), dtype=np.uint8)
    return images, rng.integers(0, 10, samples, dtype=np.uint8), rng.uniform(0.2, 2, (2, channels)).astype(np.float32)


def state_of(samples, step=0, shuffle=0):
    state = np.zeros(words.WORDS, np.int32)
    state[[words.STEP, words.EPOCH, words.SEED, words.SAMPLES, words.SHUFFLE]] = step, 4, 9, samples, shuffle
    return state


def load(form, batch, shape, geometry=None, channels=None, samples=7, step=1, shuffle=1, execute=launch, threads=256):
    """(values decoded, labels) of the kernel, and (normalised images in float64, labels) that it should have seen."""
    images, all_labels, scale = images_of(shape, samples, channels or shape[-1])
    if geometry is None:
        length = (prod(shape[:-1]), padded(shape[-1]))
    else:
        length = (prod(geometry.out_shape[:3]), padded(prod(geometry.kernel) * shape[-1]))
    found = empty_words(*form, batch, *length), np.full(batch, -1, np.int32)
    kernel = load_batch(OP, batch, shape, geometry, format_of(*form), channels, threads)
    execute(kernel, *found, images, all_labels, scale, state_of(samples, step, shuffle))
    positions = step * batch + np.arange(batch)
    chosen = sample_order(samples, 9, 4, positions) if shuffle else np.minimum(positions, samples - 1)
    pixels = images[chosen].reshape(batch, -1, scale.shape[1]).astype(np.float64) * scale[0] + scale[1]
    return (decode(found[0], form[0]), found[1]), (pixels.reshape(batch, *shape), all_labels[chosen])


def assert_words(found, wanted, precision):
    """Values (N, pixels, padded) against (N, pixels, values): rounded, and zeros behind."""
    assert found.shape[:2] == wanted.shape[:2]
    np.testing.assert_allclose(found[..., : wanted.shape[-1]], wanted, rtol=ROUNDING[precision], atol=1e-30)
    assert (found[..., wanted.shape[-1] :] == 0).all()


@EVERY_FORMAT
@pytest.mark.parametrize("geometry", CONVOLUTIONS, ids=lambda g: f"{g.in_shape}{g.kernel}")
def test_unfolded_for_a_convolution(geometry, precision, card):
    shape = geometry.in_shape[1:] if geometry.in_shape[0] == 1 else geometry.in_shape
    found, (images, labels) = load((precision, card), 2, shape, geometry, threads=32)
    windows = gather_windows(images.reshape(2, *geometry.in_shape), geometry)
    assert_words(found[0], windows.reshape(2, -1, windows.shape[-1]), precision)
    assert found[1].tolist() == labels.tolist()


@EVERY_FORMAT
@pytest.mark.parametrize("shape, channels", [
    ((5, 3, 1), None), ((2, 3, 33), None), ((2, 1, 3, 17), None), ((1, 1, 1, 70), 7), ((105,), 3),
])  # fmt: skip
def test_channels_of_each_cell(shape, channels, precision, card):
    found, (images, labels) = load((precision, card), 2, shape, None, channels, threads=32)
    assert_words(found[0], images.reshape(2, -1, shape[-1]), precision)
    assert found[1].tolist() == labels.tolist()


@pytest.mark.parametrize("shuffle", [0, 1])
def test_order_of_samples(shuffle):
    found, (_, labels) = load(("tf32", (9, 0)), 3, (2, 2, 1), None, samples=20, step=5, shuffle=shuffle)
    assert found[1].tolist() == labels.tolist()


def test_last_partial_batch_repeats_the_last_sample():
    found, (images, labels) = load(("bf16", (9, 0)), 5, (2, 2, 1), None, samples=7, step=1, shuffle=0)
    assert_words(found[0], images.reshape(5, 4, 1), "bf16")
    assert found[1].tolist() == labels.tolist()
    assert (found[0][2:] == found[0][1]).all()


def test_threads_make_several_pieces_of_an_image():
    geometry = convolution((9, 9, 1), (3, 3))
    kernel = load_batch(OP, 1, (9, 9, 1), geometry, format_of("tf32", (9, 0)), threads=64)
    assert kernel.grid == (1, 6, 1) and kernel.block == (64, 1, 1)  # five of nine columns, four lines
    found, (images, _) = load(("tf32", (9, 0)), 1, (9, 9, 1), geometry, threads=64)
    windows = gather_windows(images.reshape(1, *geometry.in_shape), geometry)
    assert_words(found[0], windows[None], "tf32")


@pytest.mark.skipif(not SIMULATOR, reason="the tracer runs on the CPU")
@EVERY_FORMAT
def test_every_word_is_written_without_a_race(precision, card):
    load((precision, card), 2, (4, 3, 3), convolution((4, 3, 3), (3, 3)), execute=trace, threads=32)
    load((precision, card), 2, (2, 3), None, execute=trace)


def test_another_image_is_refused():
    with pytest.raises(ValueError, match=r"expected \(1, 5, 3, 1\)"):
        load_batch(OP, 2, (5, 4, 1), CONVOLUTIONS[0], format_of("tf32", (9, 0)))
    with pytest.raises(ValueError, match="channels that divide 70"):
        load_batch(OP, 2, (1, 70), None, format_of("tf32", (9, 0)), 3)


@pytest.mark.assemble
@EVERY_FORMAT
def test_no_spill(precision, card):
    form, image = format_of(precision, card), (32, 32, 3)
    for geometry in (convolution(image, (3, 3)), None):
        used = resources(load_batch(OP, 128, image, geometry, form), card)
        assert used.stack_bytes == used.spill_bytes == 0
