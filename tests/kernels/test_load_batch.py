"""The batch that load_batch gathers: order, normalisation and labels, against NumPy."""

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.kernels import state as words
from helpers.kernels.load_batch import load_batch, production, variants
from helpers.lowering import Op
from helpers.order import sample_order

OP = Op("load_batch", "input", (), ("input", "labels"))


def load(batch, shape, samples, step, shuffle, **tiling):
    """Run the kernel on random data; (found, wanted) for images and labels."""
    rng = np.random.default_rng(samples + step)
    images = rng.integers(0, 256, (samples, *shape), dtype=np.uint8)
    all_labels = rng.integers(0, 10, samples, dtype=np.uint8)
    scale = rng.normal(size=(2, shape[-1])).astype(np.float32)
    state = np.zeros(words.WORDS, np.int32)
    state[[words.STEP, words.EPOCH, words.SEED, words.SAMPLES, words.SHUFFLE]] = step, 4, 9, samples, shuffle
    found = np.full((batch, *shape), np.nan, np.float32), np.full(batch, -1, np.int32)
    launch(load_batch(OP, batch, shape, **tiling), *found, images, all_labels, scale, state)
    positions = step * batch + np.arange(batch)
    chosen = sample_order(samples, 9, 4, positions) if shuffle else np.minimum(positions, samples - 1)
    return found, (images[chosen].astype(np.float64) * scale[0] + scale[1], all_labels[chosen])


@pytest.mark.parametrize("shuffle", [0, 1])
@pytest.mark.parametrize("shape, tiling", [
    ((1, 1, 1), {}), ((5, 3, 2), {"per_thread": 1}), ((4, 4, 2), {"per_thread": 1}), ((3, 11, 1), {"per_thread": 1}),
    ((2, 3, 5, 3), {"per_thread": 2}), ((7, 7, 3), {"per_thread": 2, "most_threads": 32}),
])  # fmt: skip
def test_batch(shape, tiling, shuffle):
    found, wanted = load(batch=3, shape=shape, samples=20, step=5, shuffle=shuffle, **tiling)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert found[1].tolist() == wanted[1].tolist()


def test_batch_of_one():
    found, wanted = load(batch=1, shape=(3, 2, 1), samples=1, step=0, shuffle=1)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-5)


def test_last_partial_batch_repeats_the_last_sample():
    found, wanted = load(batch=8, shape=(2, 2, 1), samples=11, step=1, shuffle=0)
    assert found[1].tolist() == wanted[1].tolist()
    assert (found[0][3:] == found[0][2]).all()


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_no_spill(shape, capability):
    for kernel in [production(OP, 128, shape), *variants(OP, 128, shape)[:1]]:
        used = resources(kernel, capability)
        assert used.stack_bytes == used.spill_bytes == 0
