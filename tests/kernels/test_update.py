"""Update and metrics against float64 NumPy: split sums, momentum, losses, hits, counters and status."""

import numpy as np
import pytest

from helpers.assembly import resources
from helpers.compiler import launch
from helpers.kernels import state as words
from helpers.kernels.update import collect_metrics, production, update, variants
from helpers.lowering import Op
from helpers.network import Parameter


def op_of(size):
    """An update of one parameter vector of `size`."""
    return Op("update", "update", (), (), parameters=(Parameter("w", (size,), 0, 1, 1),))


def segments_of(sizes_and_splits, gap=0):
    """Segments one after another, `gap` floats apart in the gradient; also the lengths of vector and gradient."""
    segments, offset, source = [], 0, gap
    for size, splits in sizes_and_splits:
        segments.append((offset, size, splits, source))
        offset, source = offset + size, source + size * splits + gap
    return tuple(segments), offset, source


def run(segments, size, length, batch=5, loss=None, **tiling):
    """Run one update on random values: (arrays after, arrays before)."""
    rng = np.random.default_rng(length)
    before = {
        "parameters": rng.normal(size=size), "velocity": rng.normal(size=size), "gradient": rng.normal(size=length),
        "learning_rates": np.array([9.0, 9.0, 0.3, 9.0]), "losses": np.full(4, np.nan), "hits": np.full(4, -1),
        "sample_loss": rng.random(batch) if loss is None else np.array(loss), "correct": rng.integers(0, 2, batch),
    }  # fmt: skip
    kinds = {"hits": np.int32, "correct": np.int32}
    before = {name: value.astype(kinds.get(name, np.float32)) for name, value in before.items()}
    before["state"] = np.zeros(words.WORDS, np.int32)
    before["state"][[words.STEP, words.CURRENT]] = 77, 2
    after = {name: value.copy() for name, value in before.items()}
    launch(update(op_of(size), batch, segments, 0.9, **tiling), *after.values())
    return after, before


@pytest.mark.parametrize("ahead, threads", [(2, 32), (8, 32), (1, 16)])
@pytest.mark.parametrize("shape", [
    [(1, 1)], [(31, 1), (32, 1), (33, 1)], [(5, 3), (1, 40), (17, 9)], [(40, 7), (2, 1)],
])  # fmt: skip
def test_update(shape, ahead, threads):
    segments, size, length = segments_of(shape, gap=3)
    after, before = run(segments, size, length, ahead=ahead, threads=threads)
    gradient = np.concatenate([
        before["gradient"][source : source + n * splits].reshape(splits, n).sum(0, dtype=np.float64)
        for _, n, splits, source in segments
    ])  # fmt: skip
    velocity = 0.9 * before["velocity"] + gradient
    np.testing.assert_allclose(after["velocity"], velocity, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(after["parameters"], before["parameters"] - 0.3 * velocity, rtol=1e-5, atol=1e-5)
    for name in ("gradient", "learning_rates", "sample_loss", "correct"):
        assert np.array_equal(after[name], before[name])


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 70])
def test_metrics_and_counters(batch):
    after, before = run(*segments_of([(3, 1)]), batch=batch, threads=32)
    assert after["losses"][2] == pytest.approx(before["sample_loss"].mean(dtype=np.float64), rel=1e-6)
    assert after["hits"].tolist() == [-1, -1, before["correct"].sum(), -1]
    assert np.isnan(after["losses"][[0, 1, 3]]).all()
    assert after["state"][[words.STEP, words.CURRENT, words.STATUS]].tolist() == [3, 2, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_loss_that_is_not_finite_sets_the_status(bad):
    after, _ = run(*segments_of([(3, 1)]), batch=3, loss=[1.0, bad, 2.0], threads=32)
    assert after["state"][words.STATUS] == 3


def test_first_bad_step_stays():
    arrays, _ = run(*segments_of([(3, 1)]), batch=1, loss=[np.nan], threads=32)
    arrays["state"][words.CURRENT] = 3
    launch(update(op_of(3), 1, ((0, 3, 1, 0),), 0.9, threads=32), *arrays.values())
    assert arrays["state"][[words.STATUS, words.STEP]].tolist() == [3, 4]


@pytest.mark.parametrize("segments", [((0, 3, 1, 0),), ((1, 4, 1, 0),), ((0, 2, 1, 0), (3, 2, 1, 2))])
def test_segments_must_be_the_parameter_vector(segments):
    with pytest.raises(ValueError, match="expected"):
        update(op_of(5), 1, segments, 0.9)


@pytest.mark.parametrize("samples, counted", [(9, 1), (12, 4), (40, 4), (8, 0)])
def test_collect_metrics_counts_existing_samples(samples, counted):
    loss, correct = np.array([1, 2, 4, 8], np.float32), np.array([1, 0, 1, 1], np.int32)
    losses, hits, state = np.full(3, np.nan, np.float32), np.full(3, -1, np.int32), np.zeros(words.WORDS, np.int32)
    state[[words.CURRENT, words.SAMPLES]] = 2, samples
    launch(collect_metrics(op_of(1), 4, threads=32), losses, hits, loss, correct, state)
    assert (losses[2], hits[2], state[words.STEP]) == (loss[:counted].sum(), correct[:counted].sum(), 3)


@pytest.mark.assemble
@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_no_spill(capability):
    segments, size, _ = segments_of([(156, 132), (2416, 132), (30840, 4), (10164, 2), (850, 1)])
    kernels = [f(op_of(size), 128, segments, 0.9) for f in (production, lambda *a: variants(*a)[1])]
    for kernel in [*kernels, collect_metrics(op_of(size), 128)]:
        used = resources(kernel, capability)
        assert used.stack_bytes == used.spill_bytes == 0
