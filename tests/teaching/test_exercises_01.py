"""The exercises of the first notebook: right answers pass, shells are not attempted, typical mistakes raise."""

import numba
import numpy as np
import pytest

from helpers.check import CheckError
from helpers.teaching import cpu_exercises
from helpers.teaching.cpu_exercises import convolution_cases, pool_gradient_cases, sparse_gradient_cases
from helpers.teaching.exercises import grade


def pool_gradient(dy, winner, shape, window, stride):
    dx = np.zeros(shape)
    for n, h, v, c in np.ndindex(dy.shape):
        r, s = divmod(int(winner[n, h, v, c]), window)
        dx[n, h * stride + r, v * stride + s, c] += dy[n, h, v, c]
    return dx


def pool_gradient_that_assigns(dy, winner, shape, window, stride):
    dx = np.zeros(shape)
    for n, h, v, c in np.ndindex(dy.shape):
        r, s = divmod(int(winner[n, h, v, c]), window)
        dx[n, h * stride + r, v * stride + s, c] = dy[n, h, v, c]
    return dx


def strided_convolution(x, w, b, stride, padding):
    (N, _, _, _), (R, S, _, K) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    y = np.empty((N, (x.shape[1] - R) // stride + 1, (x.shape[2] - S) // stride + 1, K))
    for n, h, v, k in np.ndindex(y.shape):
        top, left = h * stride, v * stride
        y[n, h, v, k] = b[k] + np.sum(x[n, top : top + R, left : left + S] * w[..., k])
    return y


def convolution_without_padding(x, w, b, stride, padding):
    return strided_convolution(x, w, b, stride, 0)


@numba.njit
def sparse_weight_gradient(x, d_pool, winner, taps):
    """Filter by filter: a filter's sums and an image's row under it are contiguous, whatever the processor."""
    images, height, width, channels = x.shape
    rows, span = x.reshape(images, height, width * channels), taps * channels
    sums = np.zeros((d_pool.shape[3], taps, span))
    for n in range(d_pool.shape[0]):
        for h in range(d_pool.shape[1]):
            for v in range(d_pool.shape[2]):
                for k in range(d_pool.shape[3]):
                    value, place = d_pool[n, h, v, k], winner[n, h, v, k]
                    top, left = 2 * h + place // 2, (2 * v + place % 2) * channels
                    for r in range(taps):
                        for i in range(span):
                            sums[k, r, i] += value * rows[n, top + r, left + i]
    return sums.reshape(-1, taps, taps, channels).transpose(1, 2, 3, 0)


def transposed_weight_gradient(x, d_pool, winner, taps):
    return sparse_weight_gradient(x, d_pool, winner, taps).swapaxes(0, 1)


def unattempted(*arguments):
    raise NotImplementedError


EXERCISES = {
    "1": (pool_gradient_cases, pool_gradient, pool_gradient_that_assigns),
    "2": (convolution_cases, strided_convolution, convolution_without_padding),
    "3": (sparse_gradient_cases, sparse_weight_gradient, transposed_weight_gradient),
}


@pytest.mark.parametrize("name", ["1", "2"])
def test_right_answers_pass(name, capsys):
    cases, right, _ = EXERCISES[name]
    grade(name, right, cases())
    assert "solved" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_shells_are_not_attempted(name, capsys):
    grade(name, unattempted, EXERCISES[name][0]())
    assert "not attempted" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_wrong_answers_raise_and_say_where(name):
    cases, _, wrong = EXERCISES[name]
    with pytest.raises(CheckError, match=r"shape .*(got|wanted)"):
        grade(name, wrong, cases())


def test_the_broken_function_of_the_first_exercise_is_wrong():
    def broken(dy, winner, shape, window, stride):
        return pool_gradient(dy, winner, shape, window, window)

    with pytest.raises((CheckError, IndexError)):
        grade("1", broken, pool_gradient_cases())


@pytest.fixture
def clock(monkeypatch):
    """Sets the seconds that the two rivals of the third exercise take, so that no test depends on the machine."""

    def set_seconds(textbook, yours):
        turns = {"textbook": [textbook] * 3, "yours": [yours] * 3}
        monkeypatch.setattr(cpu_exercises, "interleave", lambda rivals, runs: turns)

    return set_seconds


def test_a_faster_right_answer_solves_the_third(clock, capsys):
    clock(textbook=3.0, yours=1.5)
    grade("3", sparse_weight_gradient, sparse_gradient_cases())
    assert "2.0x as fast" in capsys.readouterr().out


def test_a_slower_right_answer_does_not(clock):
    clock(textbook=1.0, yours=2.0)
    with pytest.raises(CheckError, match="2.0 times the textbook"):
        grade("3", sparse_weight_gradient, sparse_gradient_cases())


def test_the_winners_alone_can_beat_the_loop_over_every_cell(capsys):
    """On a machine where the clock wavers, the best of a few attempts counts."""
    for _ in range(5):
        try:
            grade("3", sparse_weight_gradient, sparse_gradient_cases())
            return
        except CheckError as error:
            print(error)
    pytest.fail(capsys.readouterr().out)
