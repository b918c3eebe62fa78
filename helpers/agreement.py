"""When two engines agree: a bound on each step's loss, made of rounding alone, never fitted to the engine under test.

Knows the vectorized engine, which it runs three times; must not learn about the engines that it judges.
"""

import numpy as np

from helpers.engines.vectorized import VectorizedEngine
from helpers.rounding import rounded_operations

MARGIN = 4.0


def agreement_bound(network, optimizer, dataset, batch_size, seed, steps, precision="fp32"):
    """What the first `steps` losses of an epoch must be, and how far float32 may be away.

    The bound of step s is `MARGIN` times the largest gap up to s between float64 and either of two float32 runs,
    which differ in the order of their sums only, plus one float32 ulp of the loss: the least that a loss kept in
    float32 can be off by.

    A float32 activation whose exact value is within rounding of 0, or of its neighbour in a pooling window, can take
    the other branch; from that step on the gradients differ by far more than rounding, in the runs here as in the
    engine under test, and at different steps. The chance grows with activations times steps: keep both small.

    Parameters
    ----------
    network : Network
    optimizer : SGD
    dataset : Dataset
    batch_size, seed, steps : int
    precision : {"fp32", "tf32", "bf16", "fp16"}
        Of the engine under test: for the reduced ones the two runs round the operands of convolutions and dense layers.

    Returns
    -------
    reference : ndarray, float64, shape (steps,)
        Losses in float64.
    bound : ndarray, float64, shape (steps,)
    """
    runs = []
    for of_run, reverse in (("fp64", False), ("fp32", False), ("fp32", True)):
        engine = VectorizedEngine(network, optimizer, batch_size, of_run, seed, processes=1, reverse=reverse)
        if runs and precision != "fp32":
            engine.operations = rounded_operations(engine.operations, precision)
        engine.load(dataset)
        runs.append(engine.train(0, 1, steps)[0])
    reference, *rounded = runs
    gap = np.maximum.accumulate(np.max(np.abs(np.array(rounded) - reference), axis=0))
    return reference, MARGIN * gap + np.spacing(np.abs(reference).astype(np.float32))


def check_agreement(losses, reference, bound, name="engine"):
    """Raise where a loss leaves the bound, NaN included.

    Parameters
    ----------
    losses, reference, bound : array_like, shape (steps,)
        Losses of the engine under test, and what `agreement_bound` returned.
    name : str
        Of the engine, for the message.

    Returns
    -------
    float
        Largest share of the bound that was used, 0 to 1.

    Raises
    ------
    AssertionError
        Names the first step that differs: got, wanted, allowed.
    """
    losses, reference, bound = (np.asarray(a, np.float64) for a in (losses, reference, bound))
    if losses.shape != reference.shape:
        raise AssertionError(f"{name} gave losses of shape {losses.shape}; expected {reference.shape}")
    gap = np.abs(losses - reference)
    wrong = np.flatnonzero(~(gap <= bound))
    if len(wrong):
        step = wrong[0]
        raise AssertionError(
            f"{name} disagrees at step {step}: got a loss of {losses[step]:.9g}, wanted {reference[step]:.9g} "
            f"within {bound[step]:.3g}, but it is {gap[step]:.3g} away"
        )
    return float(np.max(gap / bound))
