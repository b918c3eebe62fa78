"""Decides for a network, a batch and a card what lives in shared memory and who works on what.

In a block's shared memory lie, in this order: the parameters that stay there; the tensors of one image with halos of
zeros; a work area that forward scratch, gradients with backward scratch, and the update use one after the other.
Knows lowered operations and geometry; must not learn how a stage computes.
"""

from dataclasses import replace
from math import prod

from helpers.geometry import ConvGeometry
from helpers.kernels.fused.banks import row_length
from helpers.kernels.fused.barrier import MOST_BLOCKS
from helpers.kernels.fused.parameters import ARRIVAL_WORDS
from helpers.kernels.fused.places import Card, ConvPlan, DensePlan, DoesNotFit, Plan, PoolPlan, ReluPlan, View
from helpers.kernels.fused.profile import MOST_PHASES
from helpers.kernels.fused.sharing import share_convolution, share_dense, share_tiles, share_update
from helpers.lowering import fuse_pool, fuse_relu, lower

THREADS = 512
ROUNDING = 4  # cells: what is read four at a time begins at a multiple
SCRATCH_LIMITS = (1 << 20, 8192, 6144, 5120, 4096, 3072, 2048, 1024)  # cells, from fast to frugal
REPORT_CELLS = 64  # of the work area: the report's sums, two for each lane of a warp
CORNER_CELLS = 1 << 20  # cells of a tensor that a corner word can name


def plan_epoch(network, batch, card, threads=THREADS):
    """The plan of a kernel that trains `network` on `card`.

    As many dense layers as fit keep their weights in shared memory, the small ones first; the others stream.

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
    program = _lowered(network)
    _refuse_unknown(program, threads)
    dense = sorted((op for op in program.forward if op.kind == "dense_forward"), key=lambda op: op.geometry.macs)
    for count in range(len(dense), -1, -1):
        resident = {op.layer for op in dense[:count]}
        for limit in SCRATCH_LIMITS:
            plan = _Placing(program, batch, card, threads, resident, limit).plan()
            if plan.shared_bytes <= card.shared_bytes:
                return plan
    raise DoesNotFit(_largest(plan, card))


def card_of(properties, capability=None):
    """The `Card` of device.DeviceProperties, as `capability` if that is forced."""
    shared = properties.shared_bytes_per_block
    capability = capability or properties.capability
    if capability < (8, 0):
        shared = min(shared, 64 * 1024)
    return Card(properties.multiprocessors, shared, capability)


def _lowered(network):
    """The network's program, each convolution joined with the max-pooling behind it.

    None is where a last window hangs over the edge, as "same" makes it: a joined one would read behind the outputs.
    """
    apart = fuse_relu(lower(network))
    joined = fuse_pool(apart)
    pools = [op.pool for op in joined.forward if op.pool]
    whole = all(o * w <= i for pool in pools for o, w, i in zip(pool.out_shape, pool.window, pool.in_shape))
    return joined if whole else apart


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


def _rounded(cells):
    return -(-cells // ROUNDING) * ROUNDING


class _Placing:
    """Places everything, stage by stage; `plan()` tells the result."""

    def __init__(self, program, batch, card, threads, resident, limit):
        self.program, self.batch, self.card, self.threads = program, batch, card, threads
        self.resident, self.limit = resident, limit
        self.forward = [op for op in program.forward if op.kind != "load_batch"]
        self.cells, self.blocks = 0, min(card.multiprocessors, MOST_BLOCKS)

    def take(self, cells):
        """Place `cells` cells behind what is placed; their first one."""
        begin = self.cells
        self.cells += _rounded(cells)
        return begin

    def plan(self):
        """The whole plan; may be larger than the card."""
        parameters = self._place_parameters()
        begin = self.cells
        views = self._place_views()
        words = {op.layer: self.take(self._word_count(op)) for op in self.forward}
        label, trouble, arrivals, laps = (
            self.take(1),
            self.take(1),
            self.take(
                ARRIVAL_WORDS * (2 + sum(op.pool is not None or op.kind == "conv_forward" for op in self.forward))
            ),
            self.take(1 + MOST_PHASES),
        )
        activations, work = (begin, self.cells - begin), self.cells
        stages = self._place_stages(parameters, views, words)
        exchange = sum(stage.parameter_count for stage in stages if isinstance(stage, ConvPlan))
        rounds = -(-self.batch // self.blocks)
        plan = Plan(
            *(self.program.network, self.batch, self.card, self.threads, self.blocks),
            *(-(-self.batch // rounds), rounds, tuple(stages), views["input"]),
            *(label, trouble, arrivals, laps, activations),
            *(self.copied, self.resident_cells, self.parameter_cells, exchange, self.factors),
            rectangle=share_tiles([s for s in stages if isinstance(s, DensePlan)], self.blocks),
            update_splits=1, update_groups=1, update_scratch=work, cells=0,
        )  # fmt: skip
        splits, groups, cells = share_update(plan, self.limit)
        cells = max(self.cells, work + max(cells, REPORT_CELLS))
        return replace(plan, update_splits=splits, update_groups=groups, cells=cells)

    def _place_parameters(self):
        """{layer: first cell}, of weights; of biases and transposed weights, too, for convolutions.

        Convolutions come first, then the dense layers that are resident, then those that stream.
        """
        places, kinds = {}, {"conv_forward", "conv_pool_forward"}
        for op in (op for op in self.forward if op.kind in kinds):
            weights = self.take(prod(op.geometry.weight_shape))
            biases = self.take(op.geometry.out_channels)
            copied = op.kind == "conv_pool_forward" and self._needs_gradient(op)
            places[op.layer] = weights, biases, self.take(prod(op.geometry.weight_shape)) if copied else None
        self.copied = self.cells
        dense = [op for op in self.forward if op.kind == "dense_forward"]
        self.factors = 0
        for op in sorted(dense, key=lambda op: op.layer not in self.resident):
            quads = -(-op.geometry.outputs // 4)
            pitch = 4 * (quads + 1 - quads % 2)  # an odd number of quads: neighbouring rows lie in other banks
            if op.layer not in self.resident and not hasattr(self, "resident_cells"):
                self.resident_cells = self.cells
            places[op.layer] = self.take((op.geometry.inputs + 1) * pitch), pitch
        self.parameter_cells = self.cells
        if not hasattr(self, "resident_cells"):
            self.resident_cells = self.cells
        self.cells = self.resident_cells
        return places

    def _needs_gradient(self, op):
        """Whether a layer with parameters lies below `op`."""
        below = self.forward[: self.forward.index(op)]
        return any(other.parameters for other in below)

    def _place_views(self):
        """{tensor: View} of the input and of every stage's output, each in the layout its reader likes."""
        shape, views = self.program.network.input_shape, {}
        for name, op in zip(["input", *(op.layer for op in self.forward)], [*self.forward, None]):
            shape = shape if name == "input" else self._output_shape(self.forward[len(views) - 1]) or shape
            views[name] = self._view(shape, op)
        return views

    @staticmethod
    def _output_shape(op):
        if op.kind == "conv_pool_forward":
            return op.pool.out_shape[1:]
        if op.kind == "dense_forward":
            return (1, 1, op.geometry.outputs)
        return op.geometry.out_shape[1:] if op.geometry else None

    def _view(self, shape, reader):
        """Place one tensor: channel by channel with a halo for a convolution, channels last for everybody else."""
        height, width, channels = shape
        if reader is None or not isinstance(reader.geometry, ConvGeometry):
            offset = self.take(prod(shape))
            return View(offset, offset, shape, width * channels, channels, 1)
        g = reader.geometry
        top, left = g.padding[1:]
        needed = [(o - 1) * s + k for o, s, k in zip(g.out_shape[1:3], g.stride[1:], g.kernel[1:])]
        rows, columns = max(needed[0], top + height), max(needed[1], left + width)
        window = reader.pool.window[1:] if reader.pool else (1, 1)
        steps = [w * s for w, s in zip(window, g.stride[1:])]
        row = row_length(columns, (reader.pool or g).out_shape[2], *steps)
        corner = self.take(rows * row * channels)
        if rows * row * channels >= CORNER_CELLS:
            raise DoesNotFit(f"{reader.layer} has an input of {4 * rows * row * channels:,} bytes; the most are 4 MB")
        return View(corner + top * row + left, corner, shape, row, 1, rows * row)

    @staticmethod
    def _word_count(op):
        """Integers that a stage remembers for its backward pass."""
        if op.kind == "conv_pool_forward":
            return prod(op.pool.out_shape)
        return prod(op.geometry.out_shape) if op.kind == "pool_forward" and op.geometry.mode == "max" else 0

    def _place_stages(self, parameters, views, words):
        """Stage plans; gradients behind the tensors, scratch behind the gradients, forward scratch over both."""
        work, names = self.cells, ["input", *(op.layer for op in self.forward)]
        needed = {op.layer: self._needs_gradient(op) for op in self.forward}
        gradients = {op.layer: self.take(prod(self._shape_of(views, op.layer))) for op in self.forward}
        scratch, stages, exchange, most = self.cells, [], 0, self.cells
        for below, op in zip(names, self.forward):
            common = {
                "name": op.layer,
                "x": views[below],
                "y": views[op.layer],
                "gradient": gradients[op.layer],
                "input_gradient": gradients[below] if needed[op.layer] else None,
                "input_gated": bool(stages) and stages[-1].activation,
            }
            stage = self._stage(op, common, parameters.get(op.layer), words[op.layer], exchange)
            if isinstance(stage, ConvPlan):
                stage, forward, backward = share_convolution(stage, self.threads, self.limit, work, scratch)
                exchange += stage.parameter_count
            elif isinstance(stage, DensePlan):
                stage, forward, backward = share_dense(stage, self.threads, self.limit, work, scratch)
            else:
                forward = backward = 0
            most = max(most, work + forward, scratch + backward)
            stages.append(stage)
        self.cells = most
        return stages

    @staticmethod
    def _shape_of(views, name):
        return views[name].shape

    def _stage(self, op, common, parameters, words, exchange):
        """The plan of one operation before its work is shared out."""
        g = op.geometry
        if op.kind == "dense_forward":
            x_factors = self.factors
            d_factors = x_factors + _rounded(g.inputs + 1)
            self.factors = d_factors + _rounded(g.outputs)
            weights, pitch = parameters
            return DensePlan(
                **common, activation=op.activation == "relu", weights=weights, pitch=pitch,
                resident=op.layer in self.resident, x_factors=x_factors, d_factors=d_factors, splits=1,
            )  # fmt: skip
        if op.kind in ("conv_forward", "conv_pool_forward"):
            weights, biases, transposed = parameters
            window = op.pool.window[1:] if op.pool else (1, 1)
            cells = (op.pool or g).out_shape[1:3]
            return ConvPlan(
                **common, activation=op.activation == "relu", kernel=g.kernel[1:], stride=g.stride[1:],
                padding=g.padding[1:], window=window, cells=cells, weights=weights, biases=biases,
                transposed=transposed, corners=words, exchange=exchange, filters_at_once=1, splits=1, groups=1,
            )  # fmt: skip
        if op.kind == "pool_forward":
            winners = words if g.mode == "max" else None
            return PoolPlan(**common, window=g.window[1:], stride=g.stride[1:], padding=g.padding[1:], winners=winners)
        if op.kind == "relu_forward":
            return ReluPlan(**common)
        raise DoesNotFit(f"{op.layer} is a {op.kind}; the fused kernel has no stage for it")
