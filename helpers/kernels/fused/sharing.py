"""How many threads share one piece of a stage's work, and the scratch memory that costs.

A stage that has fewer pieces than a block has threads is split along its sums; a cost in rounds of the block decides.
Knows plans of stages; must not learn where their tensors lie.
"""

from dataclasses import replace

from helpers.kernels.fused.places import TILE, DoesNotFit

WARP, MANY_WARPS = 32, 12
MOST_SUMS = 32  # outputs that a thread of a convolution holds in registers
MOST_GROUPS = 64
MOST_IMAGES = 8  # whose sums a thread holds in registers, four of each


def share_convolution(plan, threads, limit, forward_scratch, backward_scratch):
    """The plan with its work shared out; `limit` bounds the scratch of each split sum, in cells."""
    outputs = plan.window[0] * plan.window[1]
    sums = plan.cell_count * plan.filters * outputs
    divisors = [s for s in range(1, plan.channels + 1) if plan.channels % s == 0]
    widths = [n for n in (8, 4, 2, 1) if plan.filters % n == 0 and (n == 1 or n * outputs <= MOST_SUMS)]
    options = [(n, s) for n in widths for s in divisors if s == 1 or s * sums <= limit]
    at_once, splits = min(options, key=lambda option: _forward_cost(plan, *option))
    plan = replace(plan, filters_at_once=at_once)
    patches = plan.cell_count * plan.patch[0] * plan.patch[1] * plan.channels
    patches = patches if plan.pooled and plan.input_gradient is not None else 0
    pairs, rows = plan.channels * plan.filters, plan.kernel[0]
    at_once = rows if pairs >= threads and rows * plan.kernel[1] <= MOST_SUMS else 1
    items = pairs * rows // at_once
    groups = min(
        (g for g in range(1, min(MOST_GROUPS, plan.cell_count) + 1) if g == 1 or g * plan.parameter_count <= limit),
        key=lambda g: (-(-items * g // threads) * -(-plan.cell_count // g) + 0.3 * g, g),
    )
    plan = replace(plan, rows_at_once=at_once)
    patches = -(-patches // 4) * 4
    backward = patches + (groups * plan.parameter_count if groups > 1 else 0)
    placed = {"gradient_scratch": backward_scratch, "sums_scratch": backward_scratch + patches}
    cells = {"forward_cells": splits * sums if splits > 1 else 0, "backward_cells": backward}
    return replace(plan, splits=splits, groups=groups, scratch=forward_scratch, **placed, **cells)


def _forward_cost(plan, at_once, splits):
    """Estimated cycles of a convolution's forward pass: what four schedulers issue, or what shared memory returns.

    It returns a float to each lane of a warp in a cycle, however many a load brings and however few are different.
    """
    outputs, taps = plan.window[0] * plan.window[1], plan.kernel[0] * plan.kernel[1]
    warps = -(-plan.cell_count * plan.filters * splits // (at_once * WARP))
    patch, weights = plan.patch[0] * plan.patch[1] // 2, taps * -(-at_once // 4)
    channels = plan.channels // splits
    issued = channels * (taps * outputs * at_once + patch + weights + 6) + 40
    returned = channels * (2 * patch + taps * at_once)
    added = splits * plan.cell_count * plan.filters * outputs / WARP if splits > 1 else 0
    idle = MANY_WARPS / min(warps, MANY_WARPS)  # few warps do not hide each other's waits
    return max(-(-warps // 4) * issued * idle, warps * returned) + 4 * added


def share_dense(plan, threads, limit, forward_scratch, backward_scratch):
    """The same for a dense layer."""
    plan = replace(plan, scratch=forward_scratch, gradient_scratch=backward_scratch)
    if plan.shard:
        return _share_shard(plan, threads, limit)
    if plan.resident:
        lanes = next((n for n in (32, 16) if plan.quads * n <= threads), 8)
        options = [
            (rows, splits)
            for rows in (1, 2, 4)
            for splits in range(1, plan.quads + 1)
            if plan.inputs % rows == 0 and splits * plan.inputs <= min(rows * threads, limit) or rows * splits == 1
        ]
        rows, splits = min(options, key=lambda option: _gradient_cost(plan, *option))
        return replace(
            plan, lanes=lanes, gradient_rows=rows, gradient_splits=splits, backward_cells=splits * plan.inputs
        )
    splits = _fewest_steps(plan.inputs, min(threads // plan.quads, limit // plan.pitch_used))
    return replace(plan, splits=splits, forward_cells=splits * plan.pitch_used)


def _gradient_cost(plan, rows, splits):
    """Estimated cycles of the gradient of a dense layer's input: what shared memory returns, then the split sums."""
    warps, share = -(-plan.inputs // rows * splits // WARP), -(-plan.quads // splits)
    idle = MANY_WARPS / min(warps, MANY_WARPS)
    return warps * share * 4 * (rows + 1) * idle + 4 * splits * plan.inputs / WARP


def _share_shard(plan, threads, limit):
    """The same for one whose weights a group shares: inputs or gradients of all members, then the split sums."""
    shard = plan.shard
    shard = replace(shard, images=min(shard.members, MOST_IMAGES))
    outputs, inputs = shard.members * plan.pitch_used, shard.members * shard.rows
    splits = min(threads // (plan.quads * shard.halves), limit // outputs)
    backward = min(threads // (shard.rows // 4 * shard.halves), limit // inputs)
    splits, backward = _fewest_steps(shard.rows // 4, splits), _fewest_steps(plan.quads, backward)
    cells = {"forward_cells": inputs + splits * outputs, "backward_cells": outputs + backward * inputs}
    return replace(plan, shard=replace(shard, splits=splits, gradient_splits=backward), **cells)


def _fewest_steps(terms, most):
    """Into how many parts a sum of `terms` is cut, at most `most`: few steps in a part, few parts, no uneven ones."""
    parts = min(range(1, max(1, min(most, terms)) + 1), key=lambda n: 2 * -(-terms // n) + n + 8 * (terms % n > 0))
    return -(-terms // -(-terms // parts))  # no empty part


def share_tiles(layers, blocks):
    """Rows and columns of a rectangle of tiles, such that `blocks` of them cover every layer's weights.

    The smaller it is, the fewer products a block makes; the squarer, the fewer factors it reads.
    """
    most_rows, most_columns = max(layer.row_tiles for layer in layers), max(layer.quads for layer in layers)
    best = None
    for rows in range(1, most_rows + 1):
        for columns in range(1, most_columns + 1):
            size = rows * columns + 2 * (rows + columns), rows
            needed = sum(-(-layer.row_tiles // rows) * -(-layer.quads // columns) for layer in layers)
            if needed <= blocks and (best is None or size < best[0]):
                best = size, (rows, columns)
    if best is None:
        raise DoesNotFit(f"{len(layers)} dense layers need a block each; the card has {blocks} multiprocessors")
    return best[1]


def share_update(plan, limit):
    """The plan with splits of a tile's sum over the batch, and groups of a partial sum's blocks."""
    tiles, chunk = plan.tiles_per_block, plan.sums_per_block
    splits = max(1, min(plan.threads // max(tiles, 1), plan.batch, max(limit, 4096) // (TILE * max(tiles, 1))))
    splits = 1 << splits.bit_length() - 1
    groups = max(1, min(plan.threads // max(chunk, 1), plan.image_blocks)) if chunk else 1
    cells = tiles * TILE * splits, chunk * groups
    return replace(plan, update_splits=splits, update_groups=groups, update_cells=cells)
