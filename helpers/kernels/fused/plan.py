"""Decides for a network, a batch and a card which dense weights a block keeps, and refuses what does not fit.

Knows lowered operations and what a placing needs (placing.py); must not learn how a stage computes.
"""

from functools import partial

from helpers.kernels.fused.places import Card, DoesNotFit
from helpers.kernels.fused.placing import Placing, images_of_blocks, worth_sharing
from helpers.lowering import fuse_activations, fuse_pool, lower

THREADS = 512
GROUPS = (2, 4, 8, 16)  # blocks that may share a layer's weights
SCRATCH_LIMITS = (1 << 20, 16384, 13312, 10240, 8192, 6144, 5120, 4096, 3072, 2048, 1024)  # cells, from fast to frugal


def plan_epoch(network, batch, card, threads=THREADS):
    """The plan of a kernel that trains `network` on `card`.

    As many dense layers as fit keep their weights in every block's shared memory, the small ones first. Large ones of
    the others are shared by groups of blocks, the smallest groups that can hold them; what is left streams from L2.

    Parameters
    ----------
    network : Network
    batch : int
    card : Card
    threads : int
        Threads a block, a multiple of 32.

    Returns
    -------
    Plan

    Raises
    ------
    DoesNotFit
        Where an image's tensors and the convolutions' weights need more than the card's shared memory, or a layer is
        of a kind that no stage computes; the message names the layer and the bytes.
    """
    program = fuse_pool(fuse_activations(lower(network)))
    _refuse_unknown(program, threads)
    dense = sorted((op for op in program.forward if op.kind == "dense_forward"), key=lambda op: op.geometry.macs)
    for count, members in _choices(dense, batch, card):
        resident = frozenset(op.layer for op in dense[:count])
        placed = partial(_place, program, batch, card, threads, resident, members)
        frugal = placed(SCRATCH_LIMITS[-1])
        if frugal.shared_bytes <= card.shared_bytes:
            return next(plan for plan in map(placed, SCRATCH_LIMITS) if plan.shared_bytes <= card.shared_bytes)
    raise DoesNotFit(_largest(frugal, card))


def _place(*what):
    return Placing(*what).plan()


def _choices(dense, batch, card):
    """(how many of `dense` every block keeps, blocks of a group that shares others), from fast to frugal.

    The groups are of 1 where nothing is to be shared. A larger one needs an image for each block in every round.
    """
    image_blocks, rounds = images_of_blocks(batch, card)
    groups = [size for size in GROUPS if image_blocks % size == 0 and image_blocks * rounds == batch]
    for count in range(len(dense), -1, -1):
        if any(map(worth_sharing, dense[count:])):
            yield from ((count, members) for members in groups)
        else:
            yield count, 1
    yield from ((count, 1) for count in range(len(dense), -1, -1))


def card_of(properties, capability=None):
    """The `Card` of device.DeviceProperties, as `capability` if that is forced."""
    shared = properties.shared_bytes_per_block
    capability = capability or properties.capability
    if capability < (8, 0):
        shared = min(shared, 64 * 1024)
    return Card(properties.multiprocessors, shared, capability)


def _refuse_unknown(program, threads):
    for op in program.forward:
        depth = getattr(op.geometry, "kernel", getattr(op.geometry, "window", (1,)))[0]
        if depth != 1 or (hasattr(op.geometry, "in_shape") and op.geometry.in_shape[0] != 1):
            raise DoesNotFit(f"{op.layer} has a depth; the fused kernel takes flat images only")
    if len(shape := program.network.input_shape) != 3:
        raise DoesNotFit(f"images of shape {shape} have a depth; the fused kernel takes flat images only")
    if program.network.classes > threads:
        raise DoesNotFit(f"the network has {program.network.classes} classes; a block has {threads} threads")


def _largest(plan, card):
    """Sentence on what keeps a plan from fitting."""
    sizes = {stage.name: 4 * stage.parameter_count for stage in plan.convolutions}
    tensors = {stage.name: 4 * stage.x.size for stage in plan.stages}
    layer = max(tensors, key=lambda name: tensors[name] + sizes.get(name, 0))
    return (
        f"a block needs {plan.shared_bytes:,} bytes of shared memory, the card has {card.shared_bytes:,}; {layer} "
        f"takes the most, {tensors[layer]:,} bytes of input and {sizes.get(layer, 0):,} of weights"
    )
