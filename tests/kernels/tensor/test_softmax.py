"""Softmax cross-entropy in words against float64 NumPy: loss, hits and gradient over padded classes."""

import numpy as np
import pytest

from helpers import reference
from helpers.assembly import resources
from helpers.compiler import launch
from helpers.device import SIMULATOR
from helpers.kernels import state as words
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.loss_scale import GOOD, IN_USE, NEXT
from helpers.kernels.tensor.softmax import softmax_cross_entropy
from helpers.lowering import Op
from helpers.trace import trace
from tests.kernels.tensor.words import EVERY_FORMAT, ROUNDING, decode, empty_words

OP = Op("softmax_cross_entropy", "loss", (), ())
SCALE = 256.0  # of the gradient, in the formats that have one


def run(logits, labels, precision="3xtf32", card=(9, 0), execute=launch):
    """(d_logits decoded, without the scale, padding included, sample_loss, correct, state) after the kernel.

    NaN behind the classes.
    """
    batch, classes = logits.shape
    given = np.full((batch, padded(classes)), np.nan, np.float32)
    given[:, :classes] = logits
    d, state = empty_words(precision, card, *given.shape), np.arange(words.WORDS, dtype=np.int32) + 40
    outputs = d, np.full(batch, np.nan, np.float32), np.full(batch, -1, np.int32)
    form = format_of(precision, card)
    cells = np.zeros(3, np.float32)
    cells[[NEXT, GOOD, IN_USE]] = SCALE, 7, np.nan
    kernel = softmax_cross_entropy(OP, batch, classes, form)
    execute(kernel, *outputs, given, np.asarray(labels, np.int32), state, *((cells,) if form.scaled else ()))
    if form.scaled:
        assert cells[[NEXT, GOOD, IN_USE]].tolist() == [SCALE, 7, SCALE]
    return decode(d, precision) / (SCALE if form.scaled else 1), *outputs[1:], state


def oracle(logits, labels):
    return reference.softmax_cross_entropy(np.float32(logits).astype(np.float64), np.asarray(labels))


@EVERY_FORMAT
@pytest.mark.parametrize("batch, classes", [(1, 1), (5, 3), (3, 32), (4, 33), (2, 70), (1, 100)])
def test_against_oracle(batch, classes, precision, card):
    rng = np.random.default_rng(classes)
    logits, labels = rng.normal(0, 2, (batch, classes)), rng.integers(0, classes, batch)
    labels[0] = np.float32(logits[0]).argmax()
    d, loss, correct, state = run(logits, labels, precision, card)
    wanted = oracle(logits, labels)
    np.testing.assert_allclose(loss, wanted[0], rtol=2e-5, atol=2e-6)
    assert correct.tolist() == wanted[1].tolist() and correct[0] == 1
    np.testing.assert_allclose(d[:, :classes], wanted[2], rtol=2e-5 + ROUNDING[precision], atol=1e-6 / batch)
    assert d.shape == (batch, padded(classes)) and (d[:, classes:] == 0).all()
    assert state.tolist() == [40, 40, *range(42, 40 + words.WORDS)]


def test_large_logits_do_not_overflow_and_ties_take_the_first():
    logits, labels = np.array([[1e4, 1e4, -1e4], [-300, 2, 2], [3, 3, 3]]), [0, 2, 1]
    d, loss, correct, _ = run(logits, labels)
    wanted = oracle(logits, labels)
    np.testing.assert_allclose(loss, wanted[0], rtol=1e-6)
    np.testing.assert_allclose(d[:, :3], wanted[2], atol=1e-7)
    assert correct.tolist() == [1, 0, 0]


def test_ties_across_lanes_and_words_take_the_first():
    logits = np.zeros((4, 70))
    logits[:, [5, 37, 66]] = 2.0
    for precision, card in (("bf16", (9, 0)), ("tf32", (9, 0))):
        assert run(logits, [5, 37, 66, 0], precision, card)[2].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("position", [0, 2, 39])
def test_nan_reaches_the_loss(position):
    logits = np.zeros((2, 40))
    logits[1, position] = np.nan
    d, loss, correct, _ = run(logits, [1, position])
    assert np.isfinite(loss[0]) and np.isnan(loss[1]) and correct[1] == 0
    assert np.isfinite(d[0]).all() and np.isnan(d[1, :40]).all()


@pytest.mark.parametrize("label", [3, 31, 255, -1])
def test_a_label_that_is_no_class_makes_the_loss_nan(label):
    _, loss, correct, _ = run(np.eye(2, 3), [0, label])
    assert np.isfinite(loss[0]) and np.isnan(loss[1]) and correct.tolist() == [1, 0]


def test_the_scale_lifts_gradients_that_vanish_in_fp16_without_it():
    """A sample that is nearly certain."""
    logits, labels, smallest = np.array([[18.0, 0.0]]), [0], 2.0**-24
    wanted = oracle(logits, labels)[2][0, 1]
    assert np.float16(wanted) == 0 and wanted * SCALE > smallest
    assert run(logits, labels, "fp16", (7, 5))[0][0, 1] == pytest.approx(wanted, abs=0.6 * smallest / SCALE)


@pytest.mark.parametrize("precision", ["3xtf32", "tf32", "bf16"])
def test_formats_with_the_exponents_of_float32_have_no_scale(precision):
    kernel = softmax_cross_entropy(OP, 1, 2, format_of(precision, (9, 0)))
    assert "loss_scale" not in dict(kernel.arguments)


@pytest.mark.skipif(not SIMULATOR, reason="the tracer runs on the CPU")
@EVERY_FORMAT
def test_every_output_is_written_without_a_race(precision, card):
    rng = np.random.default_rng(1)
    run(rng.normal(size=(5, 35)), rng.integers(0, 35, 5), precision, card, trace)


@pytest.mark.assemble
@EVERY_FORMAT
@pytest.mark.parametrize("classes", [10, 1000])
def test_no_spill(classes, precision, card):
    used = resources(softmax_cross_entropy(OP, 128, classes, format_of(precision, card)), card)
    assert used.stack_bytes == used.spill_bytes == 0
