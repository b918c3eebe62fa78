"""Gradients by finite differences: what a derivation on paper is held against.

Knows functions and arrays only; must not learn what a layer computes.
"""

import numpy as np

from helpers.check import check_close

STEP = 1e-5  # balances the error of the difference, step**2, with the rounding of float64, epsilon / step
ALLOWED = 1e-6  # of the largest value of the gradient


def numerical_gradient(function, x, dy, places, step=STEP):
    """Derivative of the sum of function(x) * dy with respect to x[place], for each flat place in `places`."""
    slopes = []
    for place in places:
        moved = [x.copy(), x.copy()]
        moved[0].flat[place] += step
        moved[1].flat[place] -= step
        up, down = (np.sum(function(value) * dy, dtype=np.float64) for value in moved)
        slopes.append((up - down) / (2 * step))
    return np.array(slopes)


def check_gradient(function, x, dx, dy, values=30, name="dx"):
    """Compare a derived gradient with central differences at random places.

    Parameters
    ----------
    function : callable
        Of an array like `x`; gives an array like `dy`.
    x : ndarray of float64
    dx : ndarray, shape of x
        The gradient to check: of the sum of function(x) * dy.
    dy : ndarray of float64, or 1.0 for a function that gives one number
        The gradient that arrives from above; random, so that a lost transpose shows.
    values : int
        Places to compare; all of them where `x` has no more.
    name : str
        Of the gradient, for the message.

    Returns
    -------
    float
        Largest error, relative to the largest slope that was compared.

    Raises
    ------
    CheckError
        With index, got and wanted, where the two differ.
    ValueError
        If `x` is not float64, or all slopes are 0, which would prove nothing.
    """
    if x.dtype != np.float64 or np.shape(dx) != x.shape:
        raise ValueError(
            f"x is {x.dtype} {x.shape} and {name} has shape {np.shape(dx)}; expected float64, equal shapes"
        )
    places = np.random.default_rng(0).permutation(x.size)[:values]
    slopes = numerical_gradient(function, x, dy, places)
    largest = np.abs(slopes).max()
    if not largest > 0:
        raise ValueError(f"every slope of {name} is {largest}; choose inputs whose gradient is not 0")
    return check_close(dx.flat[places], slopes, name, ALLOWED * largest) / 100 * ALLOWED
