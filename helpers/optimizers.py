"""Optimizer descriptions: frozen, no state. Engines hold the slots; schedules give one learning rate a step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: v = momentum * v + g, w = w - rate * v.

    Parameters
    ----------
    learning_rate : float or callable
        A constant, or a schedule: a function of the number of epochs done (a float: 2.5 is the middle of the third).
    momentum : float
        0 up to but not including 1.
    """

    learning_rate: float | Callable[[float], float] = 0.01
    momentum: float = 0.0

    def __post_init__(self):
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; expected 0 up to but not including 1")
        if not callable(self.learning_rate) and not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; expected a positive number or a schedule")

    def learning_rates(self, epoch, steps):
        """Learning rate of every step of `epoch` (counted from 0), float32, shape (steps,)."""
        if callable(self.learning_rate):
            return np.array([self.learning_rate(epoch + s / steps) for s in range(steps)], np.float32)
        return np.full(steps, self.learning_rate, np.float32)


def cosine(peak, epochs, warmup=0.0):
    """Schedule: linear rise to `peak` over `warmup` epochs, then half a cosine down to 0 at `epochs`."""

    def rate(epoch):
        if epoch < warmup:
            return peak * (epoch + 1e-3) / warmup
        return peak * 0.5 * (1 + np.cos(np.pi * min((epoch - warmup) / (epochs - warmup), 1.0)))

    return rate
