"""One image through the network and back: every stage's device functions in order, a barrier behind each.

Composed by folding closures, so that one straight kernel results. Must not learn about batches or other blocks.
"""

from helpers.device import cuda, device_function
from helpers.kernels.fused.convolution import conv_forward
from helpers.kernels.fused.dense import dense_forward, dense_input_gradient
from helpers.kernels.fused.gradients import input_gradient, weight_gradient
from helpers.kernels.fused.head import softmax_cross_entropy
from helpers.kernels.fused.intrinsics import this_thread
from helpers.kernels.fused.parameters import make_await
from helpers.kernels.fused.places import ConvPlan, DensePlan, PoolPlan
from helpers.kernels.fused.pooling import pool_forward, pool_input_gradient, relu_forward, relu_input_gradient
from helpers.kernels.fused.profile import make_lap
from helpers.kernels.fused.streamed import streamed_forward, streamed_input_gradient

# Every function below takes (mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread): the
# block's shared memory as floats and integers, global arrays, where this image's factors and this block's partial sums
# begin, whether this is the block's first image of the batch, where its loss goes, the thread.


def image_step(plan, profiled=False):
    """Device function that trains on the image in shared memory, and the names of its phases.

    Parameters
    ----------
    plan : Plan
    profiled : bool
        Count the cycles of each phase (profile.py).

    Returns
    -------
    (device function, list of str)
    """
    phases = _phases(plan)
    chain = None
    for number in range(len(phases) - 1, -1, -1):
        chain = _then(_at_once(phases[number][1]), make_lap(plan, number, profiled), chain)
    return chain, [name for name, _ in phases]


def _phases(plan):
    """(name, functions that run without a barrier between them), in order."""
    phases, threads = [], plan.threads
    for stage in plan.stages:
        if isinstance(stage, ConvPlan):
            parts = [_of_memory(f) for f in conv_forward(stage, threads)]
        elif isinstance(stage, DensePlan):
            forward = dense_forward if stage.resident else streamed_forward
            parts = [_of_dense(f) for f in forward(stage, threads)]
        elif isinstance(stage, PoolPlan):
            parts = [_of_memory(pool_forward(stage, threads))]
        else:
            parts = [_of_memory(relu_forward(stage, threads))]
        if stage is plan.dense[0]:
            _wait_before(phases, plan)
        phases += [(f"{stage.name} forward", [part]) for part in parts]
    phases.append(("loss", [_of_head(softmax_cross_entropy(plan))]))
    for stage in reversed(plan.stages):
        phases += [(f"{stage.name} backward", functions) for functions in _backward(stage, threads)]
    return phases


def _wait_before(phases, plan):
    """Dense parameters that are still on their way must be there before the first of their readers starts."""
    wait = make_await(plan)
    if wait is None:
        return
    if not phases:
        phases.append(("copies", []))
    phases[-1][1].append(_of_words(wait))


def _backward(stage, threads):
    """Lists of functions that may run at once."""
    if isinstance(stage, ConvPlan):
        sums = [_of_sums(f) for f in weight_gradient(stage, threads)]
        inputs = [_of_memory(f) for f in input_gradient(stage, threads)]
        longest = max(len(sums), len(inputs))
        return [[*inputs[i : i + 1], *sums[i : i + 1]] for i in range(longest)]
    if isinstance(stage, DensePlan):
        gradient = dense_input_gradient if stage.resident else streamed_input_gradient
        return [[_of_dense(f)] for f in gradient(stage, threads)]
    if stage.input_gradient is None:
        return []
    make = pool_input_gradient if isinstance(stage, PoolPlan) else relu_input_gradient
    return [[_of_memory(make(stage, threads))]]


def _of_words(wait):
    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        wait(ints)

    return run


def _of_memory(stage):
    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        stage(thread, mem, ints)

    return run


def _of_dense(stage):
    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        stage(thread, mem, parameters, factors, row)

    return run


def _of_sums(stage):
    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        stage(thread, mem, ints, partials, mine, first)

    return run


def _of_head(stage):
    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        stage(mem, ints, losses, hits, at, thread)

    return run


def _at_once(functions):
    """Device function that runs all of `functions`, no barrier between them."""
    if len(functions) == 1:
        return functions[0]
    head, rest = functions[0], _at_once(functions[1:])

    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        head(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread)
        rest(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread)

    return run


def _then(phase, lap, rest):
    """Device function: `phase`, a barrier, then `rest` if there is one."""

    @device_function
    def last(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        now = this_thread()  # read anew in each phase: its indices are not kept in registers through all of them
        phase(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, now)
        cuda.syncthreads()
        lap(ints, now)

    if rest is None:
        return last

    @device_function
    def run(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread):
        last(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread)
        rest(mem, ints, parameters, factors, partials, losses, hits, row, mine, first, at, thread)

    return run
