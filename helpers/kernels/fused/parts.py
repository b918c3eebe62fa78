"""What the epoch's kernel and the kernels of its phases have in common: arguments, a block's images, the report.

Must not learn how blocks wait for each other, nor how a stage computes.
"""

from dataclasses import dataclass

import numpy as np
from numba import int32

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.fused.image import fetch_image, make_order, make_samples, values_ahead
from helpers.kernels.fused.intrinsics import this_thread
from helpers.kernels.fused.items import each
from helpers.kernels.fused.parameters import make_prepare, make_reload
from helpers.kernels.fused.profile import make_lap
from helpers.kernels.fused.step import image_step
from helpers.kernels.intrinsics import remainder

STEPS, PER_EPOCH = 10, 11  # words of `state`: steps of the launch, steps of an epoch
MEETING_LANES = 32
ZERO = np.float32(0.0)

ARGUMENTS = (
    ("parameters", "float32"),  # in the engine's own layout (plan.parameter_cells)
    ("slots", "float32"),  # the optimizer's, one array of that layout behind the other
    ("partials", "float32"),  # (image blocks, exchange): sums of convolutions' gradients
    ("factors", "float32"),  # (batch, factors): inputs and gradients of dense layers, what groups exchange
    ("images", "uint8"),
    ("labels", "uint8"),
    ("scale", "float32"),  # (2, C): x * scale[0] + scale[1] normalises
    ("rates", "float32"),  # (steps, 2): the optimizer's factors of each step
    ("order", "int32"),  # (steps, batch): which sample each image is
    ("sample_losses", "float32"),  # (steps, batch)
    ("sample_hits", "int32"),
    ("losses", "float32"),  # (steps,): means of the batches
    ("hits", "int32"),  # (steps,): correct predictions
    ("counter", "int32"),  # (barrier.counters,): blocks that arrived at meetings
    ("state", "int32"),  # STATE_WORDS
    ("cycles", "int32"),  # (blocks, MOST_PHASES): of a profiled kernel
)


@dataclass(frozen=True)
class FusedKernel(Kernel):
    """A kernel with the arguments of this module.

    `kept_memory`: {block: its shared memory}, where an interpreted kernel goes on with what another one left there.
    """

    kept_memory: dict | None = None

    @property
    def arguments(self):
        return ARGUMENTS


def make_kernel(name, body, plan, kept_memory=None):
    """`body` as a `FusedKernel` on the blocks and threads of `plan`."""
    size = {"grid": (plan.blocks, 1, 1), "block": (plan.threads, 1, 1), "shared_bytes": plan.shared_bytes}
    return FusedKernel(name, body, **size, kept_memory=kept_memory)


def make_start(plan):
    """Device function (mem, ints, order, state, block, thread): what a block does once.

    Halos of zeros, no trouble yet, and which samples this block trains on in every step.
    """
    threads, (first_cell, cells), trouble, meetings = plan.threads, plan.activations, plan.trouble, plan.meetings
    order_samples, prepare = make_order(plan), make_prepare(plan)

    @device_function
    def put_zero(item, mem):
        mem[first_cell + item] = ZERO

    clear = each(cells, threads, put_zero)

    @device_function
    def start_block(mem, ints, order, state, block, thread):
        clear(thread, mem)
        order_samples(order, state, np.int64(state[STEPS]), np.int64(state[PER_EPOCH]), block, thread)
        cuda.syncthreads()
        if thread == 0:
            ints[trouble] = ints[meetings] = 0
            prepare(ints)

    return start_block


def make_train_images(plan, profiled):
    """This block's images of a batch; the first of them is in shared memory already.

    Returns
    -------
    (device function, list of str)
        It takes (mem, ints, parameters, factors, partials, images, labels, scale, order, losses, hits, counter, state,
        step, block, thread); the names are those of its phases.
    """
    image_blocks, rounds, batch, members = plan.image_blocks, plan.rounds, plan.batch, plan.members
    step_once, names = image_step(plan, profiled)
    (ask, put), (read, sample_of) = fetch_image(plan), make_samples(plan)
    reload, ahead = make_reload(plan), values_ahead(plan)
    factors_of, exchange, several = plan.factors, plan.exchange, plan.rounds > 1
    lap_load = make_lap(plan, len(names), profiled)

    @device_function
    def train_images(
        mem, ints, parameters, factors, partials, images, labels, scale, order, losses, hits, counter, state, step,
        block, thread,
    ):  # fmt: skip
        pixels, following, upcoming = cuda.local.array(ahead, int32), np.int32(0), np.int64(-1)
        if several:
            following = read(order, step, 1, block)
        reload(mem, ints, parameters, step, remainder(block, members), this_thread())
        for turn in range(rounds):
            n = turn * image_blocks + block
            if n < batch:
                if several:
                    upcoming = sample_of(following, turn + 1, block)
                    ask(pixels, images, labels, upcoming, thread)
                    following = read(order, step, turn + 2, block)
                cuda.syncthreads()
                lap_load(ints, thread)
                row, mine, at = n * factors_of, block * exchange, step * batch + n
                step_once(
                    thread, mem, ints, parameters, factors, row, block, partials, mine, turn == 0, losses, hits, at,
                    counter, state,
                )  # fmt: skip
                if several:
                    put(pixels, mem, ints, images, scale, upcoming, thread)

    return train_images, [*names, "load"]


def make_report(plan):
    """Device function: mean loss and hits of the first `done` steps, a step a block at a time, in a fixed order."""
    batch, blocks, work = plan.batch, plan.blocks, plan.update_scratch

    @device_function
    def report(mem, sample_losses, sample_hits, losses, hits, done, block, thread):
        for step in range(block, done, blocks):
            cuda.syncthreads()
            if thread < MEETING_LANES:
                loss, right = ZERO, ZERO
                for n in range(thread, batch, MEETING_LANES):
                    loss += sample_losses[step * batch + n]
                    right += np.float32(sample_hits[step * batch + n])
                mem[work + thread], mem[work + MEETING_LANES + thread] = loss, right
            cuda.syncthreads()
            if thread == 0:
                loss, right = ZERO, ZERO
                for lane in range(MEETING_LANES):
                    loss += mem[work + lane]
                    right += mem[work + MEETING_LANES + lane]
                losses[step], hits[step] = loss / np.float32(batch), np.int32(right)

    return report
