"""The grader: silent about nothing, strict with wrong answers; the answers to the kernels' exercises pass."""

import numpy as np
import pytest
import solutions_02
from lesson import run_cells

from helpers.check import CheckError
from helpers.teaching.exercises import grade

NOTEBOOK = "02_cuda_kernels"


def test_an_empty_shell_is_not_attempted(capsys):
    def shell(x):
        raise NotImplementedError

    grade("0", shell, [((1,), 1, 0)])
    grade("0", shell, [lambda function: function(1)])
    assert capsys.readouterr().out == "Exercise 0: not attempted.\n" * 2


def test_a_right_answer_is_solved(capsys):
    cases = [((np.arange(n),), np.arange(n) + 1.0, 1e-9) for n in (1, 4)]
    grade("0", lambda x: x + 1.0, cases)
    assert capsys.readouterr().out == "Exercise 0: solved, 2 cases right.\n"


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda x: x, r"case 1 of shape \(3,\), at \(0,\).*got 0, wanted 1"),
        (lambda x: None, "returns nothing"),
        (lambda x: np.full(3, np.nan), "got nan"),
        (lambda x: x[:2], r"shape \(2,\); wanted \(3,\)"),
    ],
)
def test_a_wrong_answer_raises(wrong, message):
    with pytest.raises(CheckError, match=message):
        grade("0", wrong, [((np.arange(3),), np.arange(3) + 1.0, 1e-9)])


def test_an_answer_cannot_change_what_it_is_given():
    x = np.arange(3)

    def greedy(x):
        x += 1
        return x

    grade("0", greedy, [((x,), np.arange(3) + 1, 0), ((x,), np.arange(3) + 1, 0)])
    assert x.tolist() == [0, 1, 2]


def test_no_cases_prove_nothing():
    with pytest.raises(ValueError, match="no cases"):
        grade("0", lambda: 0, [])


def test_answers_to_the_exercises_on_kernels_pass(capsys):
    lesson = run_cells(NOTEBOOK, ["lesson", "kernel"])
    for name in ("repaired_tree", "with_depth", "fewer_loads"):
        lesson[name] = getattr(solutions_02, name)(lesson)
        lesson[name].__name__ = name
    capsys.readouterr()
    run_cells(NOTEBOOK, ["grader"], lesson)
    assert capsys.readouterr().out.count("solved") == 3


def test_wrong_answers_to_the_exercises_on_kernels_raise():
    lesson = run_cells(NOTEBOOK, ["lesson", "kernel"])
    lesson |= {
        "repaired_tree": lesson["broken_tree"],
        "with_depth": lesson["natural"],
        "fewer_loads": lesson["natural"],
    }
    with pytest.raises(Exception, match="before any thread wrote"):
        run_cells(NOTEBOOK, ["grader"], lesson)
