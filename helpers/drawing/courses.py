"""Courses of losses held against float64: their gaps in units of what rounding allows, and refusal of broken ones.

Knows arrays; must not learn what is drawn from them.
"""

import numpy as np


def gaps_of(losses, reference, bound, shorter=False):
    """Gap of each step's loss to the reference, for each course.

    Parameters
    ----------
    losses : dict of name to array-like of float, shape (steps,)
        A name is text or a tuple of texts.
    reference, bound : ndarray of float, shape (steps,)
        As `agreement.agreement_bound` returns them.
    shorter : bool
        Whether a course may have fewer steps: a slow engine proves fewer.

    Returns
    -------
    dict of name to ndarray of float

    Raises
    ------
    ValueError
        Without a course, for one of a wrong length, and for a number that is not finite.
    """
    if not losses:
        raise ValueError("there is no course of losses, expected the finite losses of one engine at least")
    steps = len(bound)
    courses = {"the reference": reference, "the bound": bound}
    courses |= {key if isinstance(key, str) else ", ".join(key): run for key, run in losses.items()}
    for name, run in courses.items():
        long, proof = len(run), name not in ("the reference", "the bound")
        if long > steps or (long < steps and not (shorter and proof and long)):
            wanted = f"1 to {steps}" if shorter and proof else steps
            raise ValueError(
                f"the course of {name} has {long} steps, expected {wanted}; prove as many as the bound has"
            )
        if not (finite := np.isfinite(run)).all():
            step = int(np.argmin(finite))
            raise ValueError(
                f"the loss of {name} is {run[step]} at step {step}, expected the finite losses of each step"
            )
    return {key: np.abs(np.asarray(run) - reference[: len(run)]) for key, run in losses.items()}
