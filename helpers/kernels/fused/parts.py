"""What the epoch's kernel and the kernels of its phases have in common: arguments, a block's images, the report.

Must not learn how blocks wait for each other, nor how a stage computes.
"""

from dataclasses import dataclass

import numpy as np
from numba import int32

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.fused.image import fetch_image, make_order, make_sample_of, pixels_ahead
from helpers.kernels.fused.intrinsics import this_thread
from helpers.kernels.fused.items import each
from helpers.kernels.fused.parameters import make_prepare, make_reload
from helpers.kernels.fused.profile import make_lap
from helpers.kernels.fused.step import image_step

STEPS, PER_EPOCH = 10, 11  # words of `state`: steps of the launch, steps of an epoch
MEETING_LANES = 32
ZERO = np.float32(0.0)

ARGUMENTS = (
    ("parameters", "float32"),  # in the engine's own layout (plan.parameter_cells)
    ("slots", "float32"),  # the optimizer's, one array of that layout behind the other
    ("partials", "float32"),  # (image blocks, exchange): sums of convolutions' gradients
    ("factors", "float32"),  # (batch, factors): inputs and gradients of dense layers
    ("images", "uint8"),
    ("labels", "uint8"),
    ("scale", "float32"),  # (2, C): x * scale[0] + scale[1] normalises
    ("rates", "float32"),  # (steps, 2): the optimizer's factors of each step
    ("order", "int32"),  # (steps, batch): which sample each image is
    ("sample_losses", "float32"),  # (steps, batch)
    ("sample_hits", "int32"),
    ("losses", "float32"),  # (steps,): means of the batches
    ("hits", "int32"),  # (steps,): correct predictions
    ("counter", "int32"),  # (1,): blocks that arrived at meetings
    ("state", "int32"),  # STATE_WORDS
    ("cycles", "int32"),  # (blocks, MOST_PHASES): of a profiled kernel
)


@dataclass(frozen=True)
class FusedKernel(Kernel):
    """A kernel with the arguments of this module."""

    @property
    def arguments(self):
        return ARGUMENTS


def make_kernel(name, body, plan):
    """`body` as a `FusedKernel` on the blocks and threads of `plan`."""
    return FusedKernel(name, body, (plan.blocks, 1, 1), (plan.threads, 1, 1), shared_bytes=plan.shared_bytes)


def make_parts(plan, profiled):
    """What a block does with its images.

    Returns
    -------
    (start_block, train_images, names)
        Device functions: what is done once, and the images of one step; and the names of the phases of a step.
    """
    threads, (first_cell, cells), trouble = plan.threads, plan.activations, plan.trouble
    order_samples, image_blocks, rounds, batch = make_order(plan), plan.image_blocks, plan.rounds, plan.batch
    step_once, names = image_step(plan, profiled)
    (ask, put), sample_of = fetch_image(plan), make_sample_of(plan)
    reload, ahead = make_reload(plan), pixels_ahead(plan)
    factors_of, exchange = plan.factors, plan.exchange
    lap_load, prepare = make_lap(plan, len(names), profiled), make_prepare(plan)

    @device_function
    def put_zero(item, mem):
        mem[first_cell + item] = ZERO

    clear = each(cells, threads, put_zero)

    @device_function
    def start_block(mem, ints, order, state, block, thread):
        """Halos of zeros, no trouble yet, and which samples this block trains on in every step."""
        clear(thread, mem)
        order_samples(order, state, np.int64(state[STEPS]), np.int64(state[PER_EPOCH]), block, thread)
        cuda.syncthreads()
        if thread == 0:
            ints[trouble] = 0
            prepare(ints)

    @device_function
    def train_images(
        mem, ints, parameters, factors, partials, images, labels, scale, order, losses, hits, step, block, thread
    ):
        """This block's images of a batch; the first of them is in shared memory already."""
        pixels = cuda.local.array(ahead, int32)
        reload(mem, ints, parameters, step, this_thread())
        for turn in range(rounds):
            n = turn * image_blocks + block
            if n < batch:
                if turn > 0:
                    sample = sample_of(order, step, turn, block)
                    ask(pixels, images, sample, thread)
                    put(pixels, mem, ints, images, labels, scale, sample, thread)
                cuda.syncthreads()
                lap_load(ints, thread)
                row, mine, at = n * factors_of, block * exchange, step * batch + n
                step_once(mem, ints, parameters, factors, partials, losses, hits, row, mine, turn == 0, at, thread)

    return start_block, train_images, [*names, "load"]


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
