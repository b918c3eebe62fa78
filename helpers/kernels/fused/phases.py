"""The phases of the fused kernel as kernels of their own: the host calls them in turn where no card keeps the order."""

import numpy as np
from numba import float32, int32, int64

from helpers.device import cuda
from helpers.kernels.fused.image import fetch_image, make_samples, values_ahead
from helpers.kernels.fused.parameters import make_reload
from helpers.kernels.fused.parts import STEPS, make_kernel, make_report, make_start
from helpers.kernels.fused.step import image_segments
from helpers.kernels.fused.update import held_sizes, make_update
from helpers.kernels.intrinsics import remainder, shared_floats, shared_ints
from helpers.kernels.state import STATUS, STEP

TURN = 12  # a word of `state`: which of a block's images of the step


def phase_kernels(plan, optimizer):
    """The same work as kernels that the host calls in turn.

    For each step: for each turn, state[TURN], all of `images`; then `update`. At the end: `report`.

    Returns
    -------
    (images, update, report) : list of FusedKernel, FusedKernel, FusedKernel
        Between two of `images` the blocks of a group would meet; what a block keeps in shared memory is handed on.
    """
    memory, segments = {}, image_segments(plan)
    images = [_segment_body(plan, segment, number == 0) for number, segment in enumerate(segments)]
    update, report = _update_body(plan, optimizer), _report_body(plan)
    return (
        [make_kernel(f"fused_images_{i}", body, plan, memory) for i, body in enumerate(images)],
        make_kernel("fused_update", update, plan),
        make_kernel("fused_report", report, plan),
    )


def _segment_body(plan, segment, first):
    """Body of a kernel that trains on one image a block, up to the group's next meeting; the first one fetches it."""
    start_block, (ask, put), (read, sample_of) = make_start(plan), fetch_image(plan), make_samples(plan)
    ahead, trouble, reload, members = values_ahead(plan), plan.trouble, make_reload(plan), plan.members
    image_blocks, batch, factors_of, exchange = plan.image_blocks, plan.batch, plan.factors, plan.exchange

    def images_body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        mem, ints, step, turn = shared_floats(0), shared_ints(0), np.int64(state[STEP]), np.int64(state[TURN])
        pixels, sample = cuda.local.array(ahead, int32), np.int64(0)
        n = turn * image_blocks + block
        if first:
            if turn == 0:
                start_block(mem, ints, order, state, block, thread)
                cuda.syncthreads()
            sample = sample_of(read(order, step, turn, block), turn, block)
            ask(pixels, images, labels, sample, thread)
            put(pixels, mem, ints, images, scale, sample, thread)
            if turn == 0 and block < image_blocks:
                reload(mem, ints, parameters, 0, remainder(block, members), thread)
            cuda.syncthreads()
        if block < image_blocks and n < batch:
            segment(
                thread, mem, ints, parameters, factors, n * factors_of, block, partials, block * exchange, turn == 0,
                sample_losses, sample_hits, step * batch + n, counter, state,
            )  # fmt: skip
        cuda.syncthreads()
        if thread == 0 and ints[trouble] > 0:
            state[STATUS] = np.int32(step + 1)

    return images_body


def _update_body(plan, optimizer):
    read_own, sum_gradients, update = make_update(plan, optimizer)
    held_cells, held_places = held_sizes(plan)

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

    return update_body


def _report_body(plan):
    report = make_report(plan)

    def report_body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        report(shared_floats(0), sample_losses, sample_hits, losses, hits, np.int64(state[STEPS]), block, thread)

    return report_body
