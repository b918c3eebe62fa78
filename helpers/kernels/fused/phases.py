"""The phases of the fused kernel as kernels of their own: the host calls them in turn where no card keeps the order."""

import numpy as np
from numba import float32, int32, int64

from helpers.device import cuda
from helpers.kernels.fused.image import fetch_image, make_sample_of, pixels_ahead
from helpers.kernels.fused.parts import STEPS, make_kernel, make_parts, make_report
from helpers.kernels.fused.update import held_sizes, make_update
from helpers.kernels.intrinsics import shared_floats, shared_ints
from helpers.kernels.state import STATUS, STEP


def phase_kernels(plan, optimizer):
    """The same work as kernels that the host calls in turn, for each step: images, update; at the end: report.

    Returns
    -------
    (FusedKernel, FusedKernel, FusedKernel)
    """
    start_block, train_images, _ = make_parts(plan, False)
    read_own, sum_gradients, update = make_update(plan, optimizer)
    (ask, put), sample_of, report = fetch_image(plan), make_sample_of(plan), make_report(plan)
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
    return tuple(make_kernel(name, body, plan) for name, body in bodies.items())
