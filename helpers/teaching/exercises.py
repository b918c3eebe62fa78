"""The grader of every notebook's exercises: an empty shell is "not attempted", a wrong answer raises.

Must not learn what an exercise is about: cases bring the arguments and what is wanted.
"""

import numpy as np

from helpers.check import CheckError, check_close

NOT_ATTEMPTED = "Exercise {name}: not attempted."
SOLVED = "Exercise {name}: solved, {count} cases right."


def grade(name, function, cases):
    """Grade an exercise: print "not attempted" for an empty shell, "solved" for a right answer.

    Parameters
    ----------
    name : str
        Of the exercise, for the messages.
    function : callable
        The reader's answer; the shell raises NotImplementedError.
    cases : iterable
        Each either (arguments, wanted, allowed): `function(*arguments)` must lie within the absolute error `allowed`
        of `wanted` (0: equal); or a callable that takes `function` and raises where it is wrong.

    Raises
    ------
    CheckError
        For a wrong answer, with the case, shape, index, got and wanted.
    """
    count = 0
    for count, case in enumerate(cases, 1):
        try:
            if callable(case):
                case(function)
            else:
                _compare(f"exercise {name}, case {count}", function, *case)
        except NotImplementedError:
            print(NOT_ATTEMPTED.format(name=name))
            return
    if not count:
        raise ValueError(f"exercise {name} has no cases, so nothing would be checked")
    print(SOLVED.format(name=name, count=count))


def _compare(name, function, arguments, wanted, allowed=0.0):
    """Raise CheckError unless `function(*arguments)` is `wanted`; the answer gets copies, so it cannot change them."""
    copies = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments]
    got = function(*copies)
    if got is None:
        raise CheckError(f"{name}: the function returns nothing; wanted a value of shape {np.shape(wanted)}")
    check_close(got, wanted, name, allowed)
