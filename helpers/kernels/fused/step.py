"""One image through the network and back: every stage's device functions in order, a barrier behind each.

Composed by folding closures, so that one straight kernel results. Must not learn about batches, nor how blocks meet.
"""

from itertools import pairwise

from helpers.device import cuda, device_function
from helpers.kernels.fused.activation import activation_forward, activation_input_gradient
from helpers.kernels.fused.barrier import make_group_meeting
from helpers.kernels.fused.convolution import conv_forward
from helpers.kernels.fused.dense import dense_forward, dense_input_gradient
from helpers.kernels.fused.head import softmax_cross_entropy
from helpers.kernels.fused.input_gradients import input_gradient
from helpers.kernels.fused.intrinsics import this_thread
from helpers.kernels.fused.items import in_turn
from helpers.kernels.fused.parameters import make_await
from helpers.kernels.fused.pooling import pool_forward, pool_input_gradient
from helpers.kernels.fused.profile import make_lap
from helpers.kernels.fused.sharded import sharded_forward, sharded_input_gradient
from helpers.kernels.fused.stages import ConvPlan, DensePlan, PoolPlan
from helpers.kernels.fused.streamed import streamed_forward, streamed_input_gradient
from helpers.kernels.fused.weight_gradients import weight_gradient
from helpers.kernels.intrinsics import remainder

# Every phase takes (thread, mem, ints, parameters, factors, row, block, partials, mine, first, losses, hits, at,
# counter, state): the block's shared memory as floats and integers, global arrays, where this image's factors and this
# block's partial sums begin, whether this is the block's first image of the batch, and where its loss goes.
MEETING = None  # instead of a phase's functions: the blocks of a group wait for each other


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
    phases, meeting = _phases(plan), _of_meeting(make_group_meeting(plan))
    parts = [meeting if functions is MEETING else in_turn(functions) for _, functions in phases]
    laps = [make_lap(plan, number, profiled) for number in range(len(parts))]
    return in_turn([*map(_with_barrier, parts, laps)]), [name for name, _ in phases]


def image_segments(plan):
    """The same in pieces, between which the blocks of a group would meet: for a host that keeps the order.

    Returns
    -------
    list of device functions
    """
    phases, unprofiled = _phases(plan), make_lap(plan, 0, False)
    cuts = [-1, *(i for i, (_, functions) in enumerate(phases) if functions is MEETING), len(phases)]
    segments = [[in_turn(functions) for _, functions in phases[i + 1 : j]] for i, j in pairwise(cuts)]
    return [in_turn([_with_barrier(part, unprofiled) for part in parts]) for parts in segments]


def _phases(plan):
    """(name, functions that run without a barrier between them, or MEETING), in order."""
    phases, threads = [], plan.threads
    for stage in plan.stages:
        name = f"{stage.name} forward"
        if stage is plan.dense[0]:
            _wait_before(phases, plan)
        if isinstance(stage, ConvPlan):
            phases += [(name, [_of_memory(f)]) for f in conv_forward(stage, threads)]
        elif isinstance(stage, DensePlan) and stage.shard:
            phases += _with_meetings(name, sharded_forward(stage, plan.factors, threads), plan)
        elif isinstance(stage, DensePlan):
            forward = dense_forward if stage.resident else streamed_forward
            phases += [(name, [_of_dense(f)]) for f in forward(stage, threads)]
        else:
            forward = pool_forward if isinstance(stage, PoolPlan) else activation_forward
            phases.append((name, [_of_memory(forward(stage, threads))]))
    phases.append(("loss", [_of_head(softmax_cross_entropy(plan))]))
    for stage in reversed(plan.stages):
        phases += _backward(f"{stage.name} backward", stage, plan)
    return phases


def _wait_before(phases, plan):
    """Dense parameters that are still on their way must be there before the first of their readers starts."""
    wait = make_await(plan)
    if wait is None:
        return
    if not phases:
        phases.append(("copies", []))
    phases[-1][1].append(_of_words(wait))


def _with_meetings(name, parts, plan):
    """Phases of the parts of a pass between which the group meets."""
    phases = []
    for part in parts:
        phases += [(f"wait in {name}", MEETING)] if phases else []
        phases += [(name, [_of_shard(f, plan.members)]) for f in part]
    return phases


def _backward(name, stage, plan):
    """Phases of a stage's backward pass."""
    threads = plan.threads
    if isinstance(stage, ConvPlan):
        sums = [_of_sums(f) for f in weight_gradient(stage, threads)]
        inputs = [_of_memory(f) for f in input_gradient(stage, threads)]
        longest = max(len(sums), len(inputs))
        return [(name, [*inputs[i : i + 1], *sums[i : i + 1]]) for i in range(longest)]
    if isinstance(stage, DensePlan) and stage.shard:
        return _with_meetings(name, sharded_input_gradient(stage, plan.factors, threads), plan)
    if isinstance(stage, DensePlan):
        gradient = dense_input_gradient if stage.resident else streamed_input_gradient
        return [(name, [_of_dense(f)]) for f in gradient(stage, threads)]
    if stage.input_gradient is None:
        return []
    make = pool_input_gradient if isinstance(stage, PoolPlan) else activation_input_gradient
    return [(name, [_of_memory(make(stage, threads))])]


def _of_words(wait):
    @device_function
    def run(thread, mem, ints, *rest):
        wait(ints)

    return run


def _of_memory(stage):
    @device_function
    def run(thread, mem, ints, *rest):
        stage(thread, mem, ints)

    return run


def _of_dense(stage):
    @device_function
    def run(thread, mem, ints, parameters, factors, row, *rest):
        stage(thread, mem, parameters, factors, row)

    return run


def _of_shard(stage, members):
    @device_function
    def run(thread, mem, ints, parameters, factors, row, block, *rest):
        stage(thread, mem, parameters, factors, row, remainder(block, members))

    return run


def _of_sums(stage):
    @device_function
    def run(thread, mem, ints, parameters, factors, row, block, partials, mine, first, *rest):
        stage(thread, mem, ints, partials, mine, first)

    return run


def _of_head(stage):
    @device_function
    def run(thread, mem, ints, parameters, factors, row, block, partials, mine, first, losses, hits, at, *rest):
        stage(mem, ints, losses, hits, at, thread)

    return run


def _of_meeting(meet):
    @device_function
    def run(
        thread, mem, ints, parameters, factors, row, block, partials, mine, first, losses, hits, at, counter, state
    ):  # fmt: skip
        meet(ints, counter, state, block, thread)

    return run


def _with_barrier(part, lap):
    """Device function: `part` and a barrier."""

    @device_function
    def run(thread, mem, ints, *context):
        now = this_thread()  # read anew in each phase: its indices are not kept in registers through all of them
        part(now, mem, ints, *context)
        cuda.syncthreads()
        lap(ints, now)

    return run
