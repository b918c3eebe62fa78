"""Exercises of notebook 05: right answers pass, empty shells are not counted as wrong, wrong answers are told why."""

import statistics

import numpy as np
import pytest

from helpers.check import CheckError
from helpers.teaching.comparison_exercises import layout_cases, timer_cases, turn_cases, unfairness
from helpers.teaching.exercises import grade

CASES = {"fix": timer_cases, "extend": layout_cases, "beat": turn_cases}


def timer(warm=True, wait_after=True):
    """The right timer, or with a mistake planted."""

    def measure(device, step, runs):
        if warm:
            step()
        seconds = []
        for _ in range(runs):
            device.wait()
            start = device.clock()
            step()
            if wait_after:
                device.wait()
            seconds.append(device.clock() - start)
        return statistics.median(seconds) if warm else statistics.mean(seconds)

    return measure


def channels_first(weights, image_shape):
    return np.moveaxis(weights.reshape(*image_shape, -1), (-1, -2), (0, 1)).reshape(weights.shape[1], -1)


def there_and_back(names, runs):
    """Rounds forth and back in pairs; an odd number of them is made even by a round that begins with each name once."""
    turning = len(names) if runs % 2 else 0
    rounds = [names[first:] + names[:first] for first in range(turning)]
    return rounds + [names[:: -1 if index % 2 else 1] for index in range(runs - turning)]


def shell(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("name, answer", [("fix", timer()), ("extend", channels_first), ("beat", there_and_back)])
def test_right_answers_pass(capsys, name, answer):
    grade(name, answer, CASES[name]())
    assert "solved" in capsys.readouterr().out


@pytest.mark.parametrize("name", CASES)
def test_empty_shells_are_not_attempted(capsys, name):
    grade(name, shell, CASES[name]())
    assert "not attempted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, answer, message",
    [
        ("fix", timer(warm=False), "a step of 1 kernels takes .* over 1 runs the timer says .*: a compiler or another"),
        ("fix", timer(wait_after=False), "the clock was read before the device had ended"),
        ("fix", lambda device, step, runs: 3.005e-3, "the step ran 0 times; wanted 1 timed runs at least"),
        ("fix", lambda device, step, runs: None, "the timer returns nothing"),
        ("extend", lambda weights, shape: weights.T, "exercise extend, case 1"),
        ("beat", lambda names, runs: names * runs, "wanted a list of 7 lists of names"),
        ("beat", lambda names, runs: [names] * runs, "equal rivals differ by"),
        ("beat", lambda names, runs: [names], "wanted 7 rounds with each rival once"),
    ],
)
def test_wrong_answers_raise(name, answer, message):
    with pytest.raises(CheckError, match=message):
        grade(name, answer, CASES[name]())


def test_fairness_of_known_orders():
    assert unfairness(["a", "b", "b", "a"]) == pytest.approx(0)
    assert unfairness(["a", "a", "b", "b"]) == pytest.approx((1 + 0.1 * 2.5 / 4) / (1 + 0.1 * 0.5 / 4) - 1)
