"""The fused kernel: every step of one or more epochs in one launch.

A block takes its images of the batch through the network and back, publishes what the others need, meets them, updates
the parameters it owns, and meets them again. Must not learn how a stage computes.
"""

import numpy as np
from numba import float32, int32, int64

from helpers.device import cuda, device_function
from helpers.kernels.fused.barrier import PATIENCE, make_meeting
from helpers.kernels.fused.image import fetch_image, make_samples, values_ahead
from helpers.kernels.fused.intrinsics import this_thread
from helpers.kernels.fused.parts import STEPS, make_kernel, make_report, make_start, make_train_images
from helpers.kernels.fused.places import DoesNotFit
from helpers.kernels.fused.profile import MOST_PHASES, make_lap, make_laps
from helpers.kernels.fused.update import held_sizes, make_update
from helpers.kernels.intrinsics import shared_floats, shared_ints
from helpers.kernels.state import STATUS

EXCHANGE = ("publish", "wait for the images", "sum gradients", "update", "wait for the update")


def epoch_kernel(plan, optimizer, profiled=False):
    """The kernel that trains state[STEPS] steps in one launch.

    All its blocks must be resident at once: they wait for each other.

    Returns
    -------
    (FusedKernel, list of str)
        The names are those of its phases, in the order of `cycles`.

    Raises
    ------
    DoesNotFit
        For more phases than can be profiled.
    """
    start_block, (train_images, names) = make_start(plan), make_train_images(plan, profiled)
    if profiled and len(names) + len(EXCHANGE) > MOST_PHASES:
        raise DoesNotFit(f"the kernel has {len(names)} phases and more; the cycles of {MOST_PHASES} are counted")
    publish, exchange = _make_exchange(plan, optimizer, [make_lap(plan, len(names) + i, profiled) for i in range(5)])
    (ask, put), (read, sample_of), report = fetch_image(plan), make_samples(plan), make_report(plan)
    (held_cells, held_places), ahead, image_blocks = held_sizes(plan), values_ahead(plan), plan.image_blocks
    start_laps, write_laps = make_laps(plan, profiled)

    def body(
        parameters, slots, partials, factors, images, labels, scale, rates, order, sample_losses, sample_hits, losses,
        hits, counter, state, cycles,
    ):  # fmt: skip
        block, thread = np.int64(cuda.blockIdx.x), np.int64(cuda.threadIdx.x)
        mem, ints, pixels = shared_floats(0), shared_ints(0), cuda.local.array(ahead, int32)
        held, places = cuda.local.array(held_cells, float32), cuda.local.array(held_places, int64)
        steps, number, done, patience = np.int64(state[STEPS]), np.int32(0), np.int64(0), state[PATIENCE]
        start_block(mem, ints, order, state, block, thread)
        start_laps(ints, thread)
        cuda.syncthreads()
        first = sample_of(read(order, 0, 0, block), 0, block)
        ask(pixels, images, labels, first, thread)
        put(pixels, mem, ints, images, scale, first, thread)
        for step in range(steps):
            upcoming = read(order, min(step + 1, steps - 1), 0, block)
            if block < image_blocks:
                train_images(
                    mem, ints, parameters, factors, partials, images, labels, scale, order, sample_losses,
                    sample_hits, counter, state, step, block, thread,
                )  # fmt: skip
            number += np.int32(1)
            if publish(
                mem, ints, parameters, slots, images, labels, counter, state, pixels, upcoming, held, places, step,
                number, patience, block,
            ):  # fmt: skip
                break
            number += np.int32(1)
            if exchange(
                mem, ints, parameters, slots, partials, factors, images, scale, rates, counter, state, pixels,
                upcoming, held, places, step, number, patience, block,
            ):  # fmt: skip
                break
            done += 1
        report(mem, sample_losses, sample_hits, losses, hits, done, block, thread)
        write_laps(ints, cycles, block, thread)

    return make_kernel("fused_epoch", body, plan), [*names, *EXCHANGE]


def _make_exchange(plan, optimizer, laps):
    """The two halves of what blocks do together in a step, each with its meeting.

    Returns
    -------
    (publish, exchange) : device functions
        Both answer not 0 where the kernel must end. What depends on no other block is asked for before a meeting.
    """
    read_own, sum_gradients, update = make_update(plan, optimizer)
    (ask, put), (_, sample_of) = fetch_image(plan), make_samples(plan)
    (arrive, meet), trouble = make_meeting(plan.blocks), plan.trouble
    lap_arrival, lap_images, lap_sums, lap_update, lap_end = laps

    @device_function
    def publish(
        mem, ints, parameters, slots, images, labels, counter, state, pixels, upcoming, held, places, step, number,
        patience, block,
    ):  # fmt: skip
        thread = this_thread()
        arrive(counter, thread, ints[trouble])
        ask(pixels, images, labels, sample_of(upcoming, 0, block), thread)
        read_own(parameters, slots, held, places, block, thread)
        lap_arrival(ints, thread)
        stop = meet(counter, state, thread, number, patience)
        if stop and thread == 0 and ints[trouble] > 0:
            state[STATUS] = np.int32(step + 1)
        lap_images(ints, thread)
        return stop

    @device_function
    def exchange(
        mem, ints, parameters, slots, partials, factors, images, scale, rates, counter, state, pixels, upcoming, held,
        places, step, number, patience, block,
    ):  # fmt: skip
        thread = this_thread()
        now, correction = rates[2 * step], rates[2 * step + 1]
        sum_gradients(mem, partials, factors, block, thread)
        put(pixels, mem, ints, images, scale, sample_of(upcoming, 0, block), thread)
        cuda.syncthreads()
        lap_sums(ints, thread)
        update(mem, parameters, slots, now, correction, held, places, block, this_thread())
        arrive(counter, thread, 0)
        lap_update(ints, thread)
        stop = meet(counter, state, thread, number, patience)
        lap_end(ints, thread)
        return stop

    return publish, exchange
