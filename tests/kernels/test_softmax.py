"""Softmax cross-entropy against float64 NumPy: loss, hits and gradient, few classes and many."""

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.kernels import state as words
from helpers.kernels.softmax import block_a_sample, production, thread_a_sample, variants
from helpers.lowering import Op

OP = Op("softmax_cross_entropy", "loss", (), ())
FACTORIES = [thread_a_sample, block_a_sample]
THREADS = {thread_a_sample: 32, block_a_sample: 8}


def run(factory, logits, labels):
    """(d_logits, sample_loss, correct, state) after the kernel."""
    batch, classes = logits.shape
    state = np.arange(words.WORDS, dtype=np.int32) + 40
    outputs = (
        np.full((batch, classes), np.nan, np.float32),
        np.full(batch, np.nan, np.float32),
        np.full(batch, -1, "i4"),
    )
    launch(
        factory(OP, batch, classes, THREADS[factory]),
        *outputs,
        logits.astype(np.float32),
        np.asarray(labels, np.int32),
        state,
    )
    return (*outputs, state)


def oracle(logits, labels):
    x = logits.astype(np.float32).astype(np.float64)
    shifted = x - x.max(1, keepdims=True)
    total = np.exp(shifted).sum(1)
    onehot = np.eye(x.shape[1])[labels]
    d = (np.exp(shifted) / total[:, None] - onehot) / len(x)
    return d, np.log(total) - (shifted * onehot).sum(1), x.argmax(1) == labels


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("batch, classes", [(1, 1), (1, 2), (5, 3), (33, 10), (4, 7), (3, 8), (2, 9), (2, 32), (2, 33)])
def test_against_oracle(factory, batch, classes):
    rng = np.random.default_rng(classes)
    logits, labels = rng.normal(0, 4, (batch, classes)), rng.integers(0, classes, batch)
    d, loss, correct, state = run(factory, logits, labels)
    wanted = oracle(logits, labels)
    np.testing.assert_allclose(d, wanted[0], rtol=2e-5, atol=1e-6 / batch)
    np.testing.assert_allclose(loss, wanted[1], rtol=2e-5, atol=2e-6)
    assert correct.tolist() == wanted[2].astype(int).tolist()
    assert state.tolist() == [40, 40, *range(42, 40 + words.WORDS)]


@pytest.mark.parametrize("factory", FACTORIES)
def test_large_logits_do_not_overflow_and_ties_take_the_first(factory):
    logits, labels = np.array([[1e4, 1e4, -1e4], [-300, 2, 2], [3, 3, 3]]), [0, 2, 1]
    d, loss, correct, _ = run(factory, logits, labels)
    wanted = oracle(logits, labels)
    np.testing.assert_allclose(loss, wanted[1], rtol=1e-6)
    np.testing.assert_allclose(d, wanted[0], atol=1e-7)
    assert correct.tolist() == [1, 0, 0]


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("position", [0, 2])
def test_nan_reaches_the_loss(factory, position):
    logits = np.zeros((2, 3))
    logits[1, position] = np.nan
    _, loss, _, _ = run(factory, logits, [1, 1])
    assert np.isfinite(loss[0]) and np.isnan(loss[1])


def test_production_chooses_by_the_number_of_classes():
    assert production(OP, 64, (10,)).grid == (2, 1, 1)
    assert production(OP, 64, (1000,)).grid == (64, 1, 1)


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("classes", [10, 32, 1000])
def test_no_spill(classes, capability):
    for kernel in [production(OP, 128, (classes,)), *variants(OP, 128, (classes,))[:1]]:
        used = resources(kernel, capability)
        assert used.stack_bytes == used.spill_bytes == 0
