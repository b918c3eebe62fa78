"""The fused kernel: every step of one or more epochs in one launch; and its phases as kernels of their own.

A block takes its images of the batch through the network and back, publishes what the others need, meets them, updates
the parameters it owns, and meets them again. Without a card the host calls the phases one after the other, where on
the card the meetings keep the order. Must not learn how a stage computes.
"""

from dataclasses import dataclass

import numpy as np
from numba import float32, int32, int64

from helpers.device import cuda, device_function
from helpers.kernels.base import Kernel
from helpers.kernels.fused.barrier import PATIENCE, make_meeting
from helpers.kernels.fused.image import fetch_image, make_order, make_sample_of, pixels_ahead
from helpers.kernels.fused.intrinsics import this_thread
from helpers.kernels.fused.items import each
from helpers.kernels.fused.parameters import make_prepare, make_reload
from helpers.kernels.fused.places import DoesNotFit
from helpers.kernels.fused.profile import MOST_PHASES, make_lap, make_laps
from helpers.kernels.fused.step import image_step
from helpers.kernels.fused.update import held_sizes, make_update
from helpers.kernels.intrinsics import shared_floats, shared_ints
from helpers.kernels.state import STATUS, STEP

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


def epoch_kernel(plan, optimizer, profiled=False):
    """The kernel that trains state[STEPS] steps in one launch.

    All its blocks must be resident at once: they wait for each other.

    Returns
    -------
    (FusedKernel, list of str)
        The names are those of its phases, in the order of `cycles`.
    """
    blocks, image_blocks = plan.blocks, plan.image_blocks
    start_block, train_images, names = _make_parts(plan, profiled)
    read_own, sum_gradients, update = make_update(plan, optimizer)
    arrive, meet = make_meeting(blocks)
    (ask, put), sample_of, report = fetch_image(plan), make_sample_of(plan), _make_report(plan)
    (held_cells, held_places), ahead, trouble = held_sizes(plan), pixels_ahead(plan), plan.trouble
    start_laps, write_laps = make_laps(plan, profiled)
    count = len(names)
    names = [*names, "publish", "wait for the images", "sum gradients", "update", "wait for the update"]
    if profiled and len(names) > MOST_PHASES:
        raise DoesNotFit(f"the kernel has {len(names)} phases; the cycles of at most {MOST_PHASES} are counted")
    laps = [make_lap(plan, count + i, profiled) for i in range(5)]
    lap_arrival, lap_images, lap_sums, lap_update, lap_end = laps

    def body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        mem, ints = shared_floats(0), shared_ints(0)
        held, places = cuda.local.array(held_cells, float32), cuda.local.array(held_places, int64)
        steps, number, done, patience = np.int64(state[STEPS]), np.int32(0), np.int64(0), state[PATIENCE]
        pixels, upcoming = cuda.local.array(ahead, int32), np.int64(0)
        start_block(mem, ints, order, state, block, thread)
        start_laps(ints, thread)
        cuda.syncthreads()
        upcoming = sample_of(order, 0, 0, block)
        ask(pixels, images, upcoming, thread)
        put(pixels, mem, ints, images, labels, scale, upcoming, thread)
        for step in range(steps):
            upcoming = sample_of(order, min(step + 1, steps - 1), 0, block)  # read long before it is needed
            if block < image_blocks:
                train_images(
                    mem, ints, parameters, factors, partials, images, labels, scale, order, sample_losses,
                    sample_hits, step, block, thread,
                )  # fmt: skip
            number, thread = number + np.int32(1), this_thread()
            arrive(counter, thread, ints[trouble])
            # what does not depend on other blocks is asked for before the wait
            ask(pixels, images, upcoming, thread)
            read_own(parameters, slots, held, places, block, thread)
            scale_now, correction = rates[2 * step], rates[2 * step + 1]
            lap_arrival(ints, thread)
            if meet(counter, state, thread, number, patience):
                if thread == 0 and ints[trouble] > 0:
                    state[STATUS] = np.int32(step + 1)
                break
            lap_images(ints, thread)
            thread = this_thread()
            sum_gradients(mem, partials, factors, block, thread)
            put(pixels, mem, ints, images, labels, scale, upcoming, thread)
            cuda.syncthreads()
            lap_sums(ints, thread)
            thread = this_thread()
            update(mem, parameters, slots, scale_now, correction, held, places, block, thread)
            number, thread = number + np.int32(1), this_thread()
            arrive(counter, thread, 0)
            lap_update(ints, thread)
            if meet(counter, state, thread, number, patience):
                break
            lap_end(ints, thread)
            done += 1
        report(mem, sample_losses, sample_hits, losses, hits, done, block, thread)
        write_laps(ints, cycles, block, thread)

    return _kernel("fused_epoch", body, plan), names


def phase_kernels(plan, optimizer):
    """The same work as kernels that the host calls in turn, for each step: images, update; at the end: report.

    Returns
    -------
    (FusedKernel, FusedKernel, FusedKernel)
    """
    start_block, train_images, _ = _make_parts(plan, False)
    read_own, sum_gradients, update = make_update(plan, optimizer)
    (ask, put), sample_of, report = fetch_image(plan), make_sample_of(plan), _make_report(plan)
    (held_cells, held_places), ahead, trouble = held_sizes(plan), pixels_ahead(plan), plan.trouble
    image_blocks = plan.image_blocks

    def images_body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        mem, ints, step = shared_floats(0), shared_ints(0), np.int64(state[STEP])
        pixels, sample = cuda.local.array(ahead, int32), np.int64(0)
        start_block(mem, ints, order, state, block, thread)
        cuda.syncthreads()
        sample = sample_of(order, step, 0, block)
        ask(pixels, images, sample, thread)
        put(pixels, mem, ints, images, labels, scale, sample, thread)
        if block < image_blocks:
            train_images(
                mem, ints, parameters, factors, partials, images, labels, scale, order, sample_losses, sample_hits,
                step, block, thread,
            )  # fmt: skip
        cuda.syncthreads()
        if thread == 0 and ints[trouble] > 0:
            state[STATUS] = np.int32(step + 1)

    def update_body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        mem, step = shared_floats(0), np.int64(state[STEP])
        held, places = cuda.local.array(held_cells, float32), cuda.local.array(held_places, int64)
        read_own(parameters, slots, held, places, block, thread)
        sum_gradients(mem, partials, factors, block, thread)
        cuda.syncthreads()
        update(mem, parameters, slots, rates[2 * step], rates[2 * step + 1], held, places, block, thread)

    def report_body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        report(shared_floats(0), sample_losses, sample_hits, losses, hits, np.int64(state[STEPS]), block, thread)

    bodies = {"fused_images": images_body, "fused_update": update_body, "fused_report": report_body}
    return tuple(_kernel(name, body, plan) for name, body in bodies.items())


def _kernel(name, body, plan):
    return FusedKernel(name, body, (plan.blocks, 1, 1), (plan.threads, 1, 1), shared_bytes=plan.shared_bytes)


def _make_parts(plan, profiled):
    """(start of a block, its images of one step, names of phases)."""
    threads, (first_cell, cells), trouble = plan.threads, plan.activations, plan.trouble
    order_samples, image_blocks, rounds, batch = make_order(plan), plan.image_blocks, plan.rounds, plan.batch
    step_once, names = image_step(plan, profiled)
    (ask, put), sample_of, reload, ahead = (
        fetch_image(plan),
        make_sample_of(plan),
        make_reload(plan),
        pixels_ahead(plan),
    )
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


def _make_report(plan):
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
