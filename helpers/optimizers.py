"""Optimizer descriptions: frozen, no state. Engines hold the slots and apply the rule; schedules give rates.

A rule is one source for arrays of NumPy and for a thread's scalars on the card; must not learn which of them calls it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


class Optimizer:
    """What all optimizers share: the learning rate of every step, and the checks of settings that each of them has.

    Subclasses are frozen dataclasses with fields `learning_rate` and `weight_decay` and offer

    - `slots`, names of the arrays like the parameters that training keeps, zero before the first step;
    - `plain`, True for the SGD that every engine computes;
    - `step_factors(epoch, steps)`, what differs between steps: float32, shape (steps, 2), columns scale and correction;
    - `rule(number, sqrt)`, the function (weight, gradient, first, second, scale, correction) -> (weight, first, second)
      of one step, where `first` and `second` are the slots. Its constants are of type `number`, np.float32 or
      np.float64; it has no branches, and calls nothing but `sqrt`, so that it also compiles for the card.
    """

    def __post_init__(self):
        if not callable(self.learning_rate) and not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; expected a positive number or a schedule")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; expected a number of at least 0")

    def learning_rates(self, epoch, steps):
        """Learning rate of every step of `epoch` (counted from 0), float32, shape (steps,)."""
        return self._rates(epoch, steps).astype(np.float32)

    def _rates(self, epoch, steps):
        """As `learning_rates`, but float64, for what is computed from them before it is rounded."""
        if callable(self.learning_rate):
            return np.array([self.learning_rate(epoch + s / steps) for s in range(steps)], np.float64)
        return np.full(steps, self.learning_rate, np.float64)

    def _expect_fractions(self, *names):
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 up to but not including 1")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum * v + g, w = w - rate * v.

    Parameters
    ----------
    learning_rate : float or callable
        A constant, or a schedule: a function of the number of epochs done (a float: 2.5 is the middle of the third).
    momentum : float
        0 up to but not including 1.
    nesterov : bool
        Step along g + momentum * v instead of v; needs a momentum.
    weight_decay : float
        Adds weight_decay * w to every gradient, biases' included.
    """

    learning_rate: float | Callable[[float], float] = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    slots = ("velocity",)

    def __post_init__(self):
        self._expect_fractions("momentum")
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov is True with a momentum of 0; expected a positive momentum")

    @property
    def plain(self):
        """True without nesterov and weight decay."""
        return not self.nesterov and not self.weight_decay

    def step_factors(self, epoch, steps):
        """Float32, shape (steps, 2): the learning rate, and 0, which the rule does not use."""
        rates = self.learning_rates(epoch, steps)
        return np.stack([rates, np.zeros_like(rates)], axis=1)

    def rule(self, number, sqrt):
        """The update as a function; `second` is handed back as it came. See `Optimizer`."""
        momentum, decay = number(self.momentum), number(self.weight_decay)

        def heavy_ball(weight, gradient, first, second, scale, correction):
            first = momentum * first + gradient
            return weight - scale * first, first, second

        def decayed_heavy_ball(weight, gradient, first, second, scale, correction):
            first = momentum * first + (gradient + decay * weight)
            return weight - scale * first, first, second

        def nesterov(weight, gradient, first, second, scale, correction):
            first = momentum * first + gradient
            return weight - scale * (gradient + momentum * first), first, second

        def decayed_nesterov(weight, gradient, first, second, scale, correction):
            slope = gradient + decay * weight
            first = momentum * first + slope
            return weight - scale * (slope + momentum * first), first, second

        if self.nesterov:
            return decayed_nesterov if self.weight_decay else nesterov
        return decayed_heavy_ball if self.weight_decay else heavy_ball


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): means of g and of g * g, w = w - rate * m' / (sqrt(v') + epsilon).

    m = beta1 * m + (1 - beta1) * g and v = beta2 * v + (1 - beta2) * g * g start at zero; m' = m / (1 - beta1**t) and
    v' = v / (1 - beta2**t) make up for that at step t, counted from 1 over the whole training.

    Parameters
    ----------
    learning_rate : float or callable
        A constant, or a schedule: a function of the number of epochs done (a float: 2.5 is the middle of the third).
    beta1, beta2 : float
        0 up to but not including 1.
    epsilon : float
        Positive, in float32 too: where a weight has never had a gradient, nothing else is in the divisor.
    weight_decay : float
        Adds weight_decay * w to every gradient, biases' included, before the means are taken (not AdamW).
    """

    learning_rate: float | Callable[[float], float] = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    slots = ("first_moment", "second_moment")
    plain = False

    def __post_init__(self):
        self._expect_fractions("beta1", "beta2")
        super().__post_init__()
        if not np.float32(self.epsilon) > 0:
            raise ValueError(f"epsilon is {self.epsilon}; expected a number that is positive in float32")

    def step_factors(self, epoch, steps):
        """Float32, shape (steps, 2): rate / (1 - beta1**t) and 1 / (1 - beta2**t)."""
        step = epoch * steps + np.arange(1, steps + 1)
        first, second = (1 - np.float64(beta) ** step for beta in (self.beta1, self.beta2))
        return np.stack([self._rates(epoch, steps) / first, 1 / second], axis=1).astype(np.float32)

    def rule(self, number, sqrt):
        """The update as a function. See `Optimizer`."""
        beta1, rest1 = number(self.beta1), number(1 - self.beta1)
        beta2, rest2 = number(self.beta2), number(1 - self.beta2)
        epsilon, decay = number(self.epsilon), number(self.weight_decay)

        def adam(weight, gradient, first, second, scale, correction):
            first = beta1 * first + rest1 * gradient
            second = beta2 * second + rest2 * (gradient * gradient)
            return weight - scale * first / (sqrt(second * correction) + epsilon), first, second

        def decayed_adam(weight, gradient, first, second, scale, correction):
            slope = gradient + decay * weight
            first = beta1 * first + rest1 * slope
            second = beta2 * second + rest2 * (slope * slope)
            return weight - scale * first / (sqrt(second * correction) + epsilon), first, second

        return decayed_adam if self.weight_decay else adam


def cosine(peak, epochs, warmup=0.0):
    """Schedule: linear rise to `peak` over `warmup` epochs, then half a cosine down to 0 at `epochs`."""

    def rate(epoch):
        if epoch < warmup:
            return peak * (epoch + 1e-3) / warmup
        return peak * 0.5 * (1 + math.cos(math.pi * min((epoch - warmup) / (epochs - warmup), 1.0)))

    return rate


def linear(peak, epochs, warmup=0.0):
    """Schedule: linear rise to `peak` over `warmup` epochs, then a straight line down to 0 at `epochs`."""

    def rate(epoch):
        if epoch < warmup:
            return peak * (epoch + 1e-3) / warmup
        return peak * max(1.0 - (epoch - warmup) / (epochs - warmup), 0.0)

    return rate
