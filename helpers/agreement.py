"""When two engines agree: a bound on each step's loss, made of rounding alone, never fitted to the engine under test.

Knows the vectorized engines, which it runs several times; must not learn about the engines that it judges.
"""

import numpy as np

from helpers.engines.forked import FORKS, ForkedWorkers, available_cores
from helpers.engines.vectorized import VectorizedEngine
from helpers.engines.vectorized_optimizers import VectorizedOptimizersEngine
from helpers.host_memory import available_bytes
from helpers.rounding import perturbed_operations, rounded_operations

MARGIN = 4.0
# runs that stand for fast fp32 algorithms, and how far these leave an operand off: 16 units in float32's last place
PERTURBED_RUNS, OPERAND_ERROR = 8, 2.0**-20
# runs that show where an activation may take the other branch; left out where one does more operations than that: in
# such a network a single activation counts little
BRANCHING_RUNS, BRANCHING_ERROR, BRANCHING_WORK = 8, 2.0**-18, 5e10
BRANCHED = MARGIN * BRANCHING_ERROR / OPERAND_ERROR  # times a perturbed run's gap: more than the error explains
WORTH_FORKING = 1e9  # floating-point operations of a run: below, it takes less time than a process to start


def agreement_bound(network, optimizer, dataset, batch_size, seed, steps, precision="fp32", fast_algorithms=False):
    """What the first `steps` losses of an epoch must be, and how far float32 may be away.

    The bound of step s is `MARGIN` times the largest gap up to s between float64 and any of the float32 runs, plus one
    float32 ulp of the loss: the least that a loss kept in float32 can be off by. There are two runs, which differ in
    the order of their sums only.

    A float32 activation whose exact value is within rounding of 0, or of its neighbour in a pooling window, can take
    the other branch; from that step on the gradients differ by far more than rounding, in the runs here as in the
    engine under test. On MNIST the background's value is shared by most of an image: when it passes 0, all of it
    changes its branch at once. Such steps are the same for all, but whoever rounds a little more gets there first.

    Parameters
    ----------
    network : Network
    optimizer : SGD or Adam
    dataset : Dataset
    batch_size, seed, steps : int
    precision : {"fp32", "tf32", "bf16", "fp16"}
        Of the engine under test: for the reduced ones the two runs round the operands of convolutions and dense layers.
    fast_algorithms : bool
        The engine under test may compute float32 products by a library's fast algorithms, which transform operands and
        so err more than direct sums (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016):
        `PERTURBED_RUNS` more runs have operands that are off by up to `OPERAND_ERROR`, at random. TF32 is off by 512
        times as much and stays outside. `BRANCHING_RUNS` more, with `BRANCHING_ERROR`, count from where they branch.

    Returns
    -------
    reference : ndarray, float64, shape (steps,)
        Losses in float64.
    bound : ndarray, float64, shape (steps,)
    """
    runs = [("fp64", False, 0.0, 0), ("fp32", False, 0.0, 0), ("fp32", True, 0.0, 0)]
    work = network.training_flops * batch_size * steps
    if fast_algorithms and precision == "fp32":
        runs += [("fp32", bool(number % 2), OPERAND_ERROR, number) for number in range(PERTURBED_RUNS)]
        if work < BRANCHING_WORK:
            runs += [("fp32", bool(number % 2), BRANCHING_ERROR, number) for number in range(BRANCHING_RUNS)]

    oracle = VectorizedEngine if optimizer.plain else VectorizedOptimizersEngine

    def losses(run):
        arithmetic, reverse, error, number = run
        engine = oracle(network, optimizer, batch_size, arithmetic, seed, processes=1, reverse=reverse)
        if error:
            engine.operations = perturbed_operations(engine.operations, error, np.random.default_rng(number))
        elif arithmetic == "fp32" and precision != "fp32":
            engine.operations = rounded_operations(engine.operations, precision)
        engine.load(dataset)
        return engine.train(0, 1, steps)[0]

    if work > WORTH_FORKING:
        reference, *rounded = _at_once(losses, runs, _step_bytes(network, batch_size))
    else:
        reference, *rounded = map(losses, runs)
    gaps, coarse = np.abs(np.array(rounded) - reference), np.array([run[2] == BRANCHING_ERROR for run in runs[1:]])
    gap = largest_gap(gaps[~coarse], gaps[coarse])
    return reference, MARGIN * gap + np.spacing(np.abs(reference).astype(np.float32))


def largest_gap(gaps, coarse):
    """Largest gap up to each step.

    Parameters
    ----------
    gaps : ndarray, shape (runs, steps)
        Of runs as exact as the engine under test may be.
    coarse : ndarray, shape (other runs, steps)
        Of less exact ones: each counts from the step on where its gap is more than its error explains.

    Returns
    -------
    ndarray, shape (steps,)
    """
    largest = np.maximum.accumulate(gaps.max(axis=0))
    branched = np.logical_or.accumulate(coarse > BRANCHED * largest, axis=1)
    return np.maximum.accumulate(np.maximum(largest, np.where(branched, coarse, 0.0).max(axis=0, initial=0.0)))


def _step_bytes(network, batch_size):
    """About what a step in float64 takes: values of all layers, their gradients, and as much again in between."""
    values = sum(int(np.prod(stage.output_shape)) for stage in network.stages)
    return 3 * 8 * batch_size * values


def _at_once(function, arguments, needed_bytes):
    """`function` of each argument, on as many cores as there are and as the memory allows."""
    if not FORKS:
        return [function(argument) for argument in arguments]
    count = int(max(1, min(len(arguments), available_cores(), available_bytes() // needed_bytes)))
    workers = ForkedWorkers(count, lambda: None, function)
    results = workers.map(arguments)
    workers.close()
    return results


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
