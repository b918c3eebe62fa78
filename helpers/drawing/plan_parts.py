"""What lies where in a block's shared memory under a plan of the fused kernel, as parts with a place and a size.

Knows plans (helpers/kernels/fused/places.py); must not learn how parts are drawn or written.
"""

from dataclasses import dataclass
from operator import attrgetter

from helpers.kernels.fused.placing import ROUNDING
from helpers.kernels.fused.stages import ConvPlan, DensePlan

CELL_BYTES = 4


@dataclass(frozen=True)
class Part:
    """Cells [begin, begin + cells) of shared memory, what they hold, and of which kind it is.

    Kinds: "convolutions", "dense", "tensors", "work", "free"; in the work area also "gradients" and "scratch".
    """

    name: str
    kind: str
    begin: int
    cells: int

    @property
    def end(self):
        return self.begin + self.cells

    @property
    def bytes(self):
        return CELL_BYTES * self.cells


def memory_parts(plan):
    """A block's shared memory from its first cell to the card's last one, without gaps.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    list of Part
        Parameters of all convolutions, those of each resident dense layer, the block's part of those that its group
        shares, the tensors of one image (with the few words in which a block keeps books), the work area, and what is
        free.
    """
    (tensors, cells), last = plan.activations, plan.card.shared_bytes // CELL_BYTES
    resident = sorted((layer for layer in plan.dense if layer.resident), key=lambda layer: layer.weights)
    ends = [*(layer.weights for layer in resident[1:]), plan.resident]
    parts = [
        Part(_several(plan.convolutions), "convolutions", 0, plan.copied),
        *(Part(x.name, "dense", x.weights, end - x.weights) for x, end in zip(resident, ends)),
        *(Part(part_name(x), "dense", x.shard.begin, weight_cells(x)) for x in plan.dense if x.shard),
        Part("tensors", "tensors", tensors, cells),
        Part("work area", "work", tensors + cells, plan.cells - tensors - cells),
        Part("free", "free", plan.cells, last - plan.cells),
    ]
    return [part for part in parts if part.cells]


def _several(stages):
    """Names of stages, of many the first and the last one."""
    names = [stage.name for stage in stages]
    return " to ".join(names[:: len(names) - 1]) if len(names) > 2 else ", ".join(names)


def part_name(layer):
    """What a block holds of a layer that its group shares."""
    return f"1/{layer.shard.members} of {layer.name}"


def streamed_parts(plan):
    """Parameters of dense layers that no block keeps: each image reads them from L2; `begin` is in global memory."""
    return [Part(layer.name, "dense", layer.weights, weight_cells(layer)) for layer in plan.dense if layer.streams]


def work_parts(plan):
    """What uses the work area one after the other.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    dict of str to list of Part
        "forward": the largest scratch of a stage; "backward": all gradients, then the largest scratch; "update": sums
        of dense weights' gradients, then those of convolutions.
    """
    work = sum(plan.activations)
    behind = max(stage.gradient + -(-stage.y.size // ROUNDING) * ROUNDING for stage in plan.stages)
    forward, backward = (max(plan.stages, key=attrgetter(f"{way}_cells")) for way in ("forward", "backward"))
    tiles, sums = plan.update_cells
    found = {
        "forward": [Part(f"scratch of {forward.name}", "scratch", work, forward.forward_cells)],
        "backward": [
            Part("gradients", "gradients", work, behind - work),
            Part(f"scratch of {backward.name}", "scratch", behind, backward.backward_cells),
        ],
        "update": [
            Part("sums of dense weights", "gradients", plan.update_scratch, tiles),
            Part("sums of convolutions", "scratch", plan.update_scratch + tiles, sums),
        ],
    }
    return {when: [part for part in parts if part.cells] for when, parts in found.items()}


def weight_cells(stage):
    """Cells that a stage's weights and biases take in a block or in L2: padding and second copies included."""
    if isinstance(stage, ConvPlan):
        return stage.parameter_count + (stage.weight_count if stage.transposed is not None else 0)
    if not isinstance(stage, DensePlan):
        return 0
    return (stage.shard.rows if stage.shard else stage.inputs + 1) * stage.pitch


def tensor_cells(view):
    """Cells of one image of a tensor, with its halo of zeros where it has one."""
    return view.size if view.channel == 1 else view.channel * view.shape[2]
