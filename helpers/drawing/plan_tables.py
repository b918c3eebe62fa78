"""Tables of a plan of the fused kernel: a row a stage, and the plan in a few rows; `show_table` shows them.

Knows plans (helpers/kernels/fused/places.py); must not learn how a plan is made or a stage computes.
"""

from math import prod

import pandas as pd

from helpers.drawing.plan_parts import (
    CELL_BYTES,
    memory_parts,
    tensor_cells,
    weight_cells,
)
from helpers.kernels.fused.places import TILE
from helpers.kernels.fused.sharded import ROWS
from helpers.kernels.fused.stages import ConvPlan, DensePlan
from helpers.number_text import show_bytes, show_share

TIMES = " x "


def plan_table(plan):
    """What each stage keeps where, and into how many pieces its work is cut for a block's threads.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    pandas.DataFrame
        A row for the image and one a stage. Bytes of weights count biases, padding and the second copy of a
        convolution's weights in another order; bytes of a tensor count its halo of zeros; scratch is shared by all
        stages. Work backward is that of a convolution's weights' gradient, and of all others' input's gradient.
    """
    columns = ("output", "weights are", "weight bytes", "tensor bytes", "work forward", "work backward",
               "scratch forward, bytes", "scratch backward, bytes")  # fmt: skip
    rows = [_shape(plan.image), None, 0, CELL_BYTES * tensor_cells(plan.image), None, None, 0, 0]
    table = {"input": rows}
    for stage in plan.stages:
        table[_title(stage)] = [
            *(_shape(stage.y), weights_place(stage)),
            *(CELL_BYTES * cells for cells in (weight_cells(stage), tensor_cells(stage.y))),
            *(_work_forward(stage), _work_backward(stage)),
            *(CELL_BYTES * cells for cells in (stage.forward_cells, stage.backward_cells)),
        ]
    frame = pd.DataFrame.from_dict(table, "index", columns=columns).rename_axis("stage")
    return frame.astype({name: int for name in columns if name.endswith("bytes")})


def weights_place(stage):
    """Where the weights of a stage live, in words; None where it has none."""
    if isinstance(stage, ConvPlan):
        return "in shared memory" + (", in two orders" if stage.transposed is not None else "")
    if isinstance(stage, DensePlan):
        shared = stage.shard and f"shared by {stage.shard.members} blocks"
        return shared or ("in shared memory" if stage.resident else "streamed from L2")
    return None


def plan_summary(*plans):
    """A plan in a few rows; several plans side by side.

    Parameters
    ----------
    plans : Plan
        On cards that differ.

    Returns
    -------
    pandas.DataFrame
        A column a plan.
    """
    names = [card_text(plan.card) for plan in plans]
    if len(set(names)) < len(names):
        raise ValueError(f"the plans' cards are {', '.join(names)}; expected no card twice")
    return pd.DataFrame({name: _facts(plan) for name, plan in zip(names, plans)}).rename_axis(
        f"{plans[0].network.name}, batch {plans[0].batch:,}"
    )


def card_text(card):
    """What a plan knows of a card: "132 multiprocessors, capability 9.0"."""
    return f"{card.multiprocessors} multiprocessors, capability {'.'.join(map(str, card.capability))}"


def rounds_text(plan):
    """How many images a block takes in a step."""
    return f"{_count(plan.rounds, 'image')[1]} a block and step"


def fill_text(plan):
    """The share of a block's shared memory that a plan takes; "100 %" only where nothing is left."""
    share = plan.shared_bytes / plan.card.shared_bytes
    return show_share(share, 1 if 0.995 <= share < 1 else 0)


def _facts(plan):
    """{what: text} of one plan."""
    parameters, (rows, columns) = plan.network.parameter_count, plan.rectangle
    sizes = {layer.name: (layer.inputs + 1) * layer.outputs for layer in plan.dense}
    streamed = {layer.name: sizes[layer.name] for layer in plan.dense if layer.streams}
    shared = {layer.name: sizes[layer.name] for layer in plan.dense if layer.shard}
    elsewhere = sum(streamed.values()) + sum(shared.values())
    idle = plan.blocks - plan.image_blocks
    kept = sum(part.bytes for part in memory_parts(plan) if part.kind in ("convolutions", "dense"))
    return {
        "blocks": f"{plan.blocks:,}" + (f", {idle:,} of them without images" if idle else ""),
        "threads a block": f"{plan.threads:,}",
        "images a block and step": f"{plan.rounds:,}" + (" at most" if plan.batch % plan.image_blocks else ""),
        "shared memory of a block": f"{plan.shared_bytes:,} of {plan.card.shared_bytes:,} bytes ({fill_text(plan)})",
        "parameters in every block": f"{parameters - elsewhere:,} of {parameters:,}",
        "parameters shared by groups": f"{_named(shared)}, {plan.members} blocks a group" if shared else "none",
        "parameters streamed from L2": _named(streamed) if streamed else "none",
        "parameters in a block take": show_bytes(kept),
        "dense weights that a block updates": f"{4 * rows}{TIMES}{4 * columns}, {TILE * rows * columns:,} at most",
        "convolution parameters that a block updates": f"{plan.sums_per_block:,} at most",
    }


def _named(sizes):
    return f"{', '.join(sorted(sizes))}: {sum(sizes.values()):,}"


def _shape(view):
    return TIMES.join(map(str, view.shape if prod(view.shape[:2]) > 1 else view.shape[2:]))


def _title(stage):
    """A stage's name and what it does beside its own work."""
    pool = isinstance(stage, ConvPlan) and stage.pooled
    own = isinstance(stage, (ConvPlan, DensePlan))
    activation = [type(stage.activation).__name__] if own and stage.activation else []
    return ", ".join([stage.name, *activation, *["max-pooling"] * pool])


def _work_forward(stage):
    """Pieces of work among which the threads share the forward pass; a split sum adds a few, later."""
    if isinstance(stage, ConvPlan):
        groups = stage.filters // stage.filters_at_once
        return _pieces(
            _count(stage.cell_count, "window" if stage.pooled else "output"),
            _count(groups, "group", f" of {stage.filters_at_once} filters") if stage.filters_at_once > 1
            else _count(groups, "filter"),
            _count(stage.splits, "part", " of the channels"),
        )  # fmt: skip
    if isinstance(stage, DensePlan):
        outputs, inputs = _count(stage.quads, "group", " of 4 outputs"), " of the inputs"
        if stage.shard:
            images = _count(stage.shard.halves, "group", f" of {stage.shard.images} images")
            return _pieces(outputs, images, _count(stage.shard.splits, "part", inputs))
        return _pieces(outputs, _count(stage.lanes, "lane") if stage.resident else _count(stage.splits, "part", inputs))
    return _pieces(_count(stage.y.size, "output"))


def _work_backward(stage):
    """The same for the backward pass; None where nothing is left to do."""
    if isinstance(stage, ConvPlan):
        rows, at_once = stage.channels * stage.kernel[0] * stage.filters, stage.rows_at_once
        pieces = _count(rows, "row", " of weights")
        pieces = pieces if at_once == 1 else _count(rows // at_once, "group", f" of {at_once} rows of weights")
        return _pieces(pieces, _count(stage.groups, "group", " of windows" if stage.pooled else " of outputs"))
    if stage.input_gradient is None:
        return None
    inputs = _count(stage.x.size, "input")
    if not isinstance(stage, DensePlan):
        return _pieces(inputs)
    if stage.streams:
        return f"{inputs[1]}, several a warp"
    rows, outputs = ROWS if stage.shard else stage.gradient_rows, " of the outputs"
    inputs = _count((stage.shard.rows if stage.shard else stage.inputs) // rows, "group", f" of {rows} inputs")
    if stage.shard:
        images = _count(stage.shard.halves, "group", f" of {stage.shard.images} images")
        return _pieces(inputs, images, _count(stage.shard.gradient_splits, "part", outputs))
    inputs = inputs if rows > 1 else _count(stage.inputs, "input")
    return _pieces(inputs, _count(stage.gradient_splits, "part", outputs))


def _count(count, noun, rest=""):
    """(count, "2 groups of 4 outputs")."""
    return count, f"{count:,} {noun}{'' if count == 1 else 's'}{rest}"


def _pieces(first, *others):
    """Text of a product of counts; what is counted once is left out."""
    kept = [first, *(other for other in others if other[0] > 1)]
    product = prod(count for count, _ in kept)
    return TIMES.join(text for _, text in kept) + (f" = {product:,}" if len(kept) > 1 else "")
