"""Places what a fused kernel keeps in a block's shared memory, and hands each stage its share of the work.

In this order: the parameters that stay there; a block's part of the dense weights that a group shares; the tensors of
one image with halos of zeros; a work area that forward scratch, gradients with backward scratch, and the update use one
after the other. Knows lowered operations and geometry; must not learn how a stage computes, nor what fits (plan.py).
"""

from dataclasses import replace
from math import prod

from helpers.geometry import ConvGeometry
from helpers.kernels.fused.banks import row_length
from helpers.kernels.fused.barrier import MOST_BLOCKS
from helpers.kernels.fused.parameters import arrival_words
from helpers.kernels.fused.places import CORNER_BITS, DoesNotFit, Shard, View
from helpers.kernels.fused.profile import MOST_PHASES
from helpers.kernels.fused.sharing import share_convolution, share_dense, share_tiles, share_update
from helpers.kernels.fused.stages import ActivationPlan, ConvPlan, DensePlan, Plan, PoolPlan
from helpers.layers import ReLU

ROUNDING = 4  # cells: what is read four at a time begins at a multiple
REPORT_CELLS = 64  # of the work area: the report's sums, two for each lane of a warp
CORNER_CELLS = 1 << CORNER_BITS  # of a tensor that a corner word can name
CONVOLUTIONS = ("conv_forward", "conv_pool_forward")
WORTH_SHARING = 1 << 16  # weights of a layer: fewer stream from L2 in less time than the meetings of a group take


def images_of_blocks(batch, card):
    """(blocks that have images, images of each in turn) of a batch on a card."""
    rounds = -(-batch // blocks_of(card))
    return -(-batch // rounds), rounds


def blocks_of(card):
    """Blocks that are resident at once: one a multiprocessor."""
    return min(card.multiprocessors, MOST_BLOCKS)


def _rounded(cells):
    return -(-cells // ROUNDING) * ROUNDING


def worth_sharing(op):
    """Whether a group of blocks should share the weights of a dense layer that does not fit one of them."""
    return op.geometry.inputs * op.geometry.outputs >= WORTH_SHARING


def _activation_of(op):
    """Layer description of the activation behind an operation, or that it is; None without one."""
    if op.kind == "activation_forward":
        return op.geometry.function
    return ReLU() if "relu" in (op.activation, op.kind.partition("_")[0]) else op.activation


class Placing:
    """Places everything, stage by stage; `plan()` tells the result, which may be larger than the card.

    Parameters
    ----------
    program : Program
        Fused; its forward operations are placed.
    batch : int
    card : Card
    threads : int
    resident : set of str
        Dense layers whose weights every block keeps.
    members : int
        Blocks that share the weights of the others; 1: those stream.
    limit : int
        Cells of scratch memory that a split sum may take.
    """

    def __init__(self, program, batch, card, threads, resident, members, limit):
        self.program, self.batch, self.card, self.threads = program, batch, card, threads
        self.resident, self.members, self.limit = resident, members, limit
        self.forward = [op for op in program.forward if op.kind != "load_batch"]
        self.cells = self.factors = 0

    def take(self, cells):
        """Place `cells` cells behind what is placed; their first one."""
        begin = self.cells
        self.cells += _rounded(cells)
        return begin

    def take_factors(self, values):
        """Place `values` numbers of an image behind its other factors; their first one."""
        begin = self.factors
        self.factors += _rounded(values)
        return begin

    def plan(self):
        parameters, ends = self._place_parameters()
        shards = {op.layer: self._place_shard(op, parameters[op.layer][1]) for op in self._shared()}
        begin, views = self.cells, self._place_views()
        words = {op.layer: self.take(self._word_count(op)) for op in self.forward}
        books = {"label": 1, "trouble": 1, "meetings": 1, "arrivals": arrival_words(len(shards)),
                 "laps": 1 + MOST_PHASES}  # fmt: skip
        books = {name: self.take(cells) for name, cells in books.items()}
        activations, work = (begin, self.cells - begin), self.cells
        stages = self._place_stages(parameters, shards, views, words)
        image_blocks, rounds = images_of_blocks(self.batch, self.card)
        plan = Plan(
            network=self.program.network, batch=self.batch, card=self.card, threads=self.threads,
            blocks=(blocks := blocks_of(self.card)), image_blocks=image_blocks, rounds=rounds,
            members=self.members if shards else 1, stages=tuple(stages), image=views["input"], **books, **ends,
            activations=activations, factors=self.factors,
            exchange=sum(stage.parameter_count for stage in stages if isinstance(stage, ConvPlan)),
            rectangle=share_tiles([s for s in stages if isinstance(s, DensePlan)], blocks),
            update_splits=1, update_groups=1, update_scratch=work, update_cells=(0, 0), cells=0,
        )  # fmt: skip
        plan = share_update(plan, self.limit)
        return replace(plan, cells=max(self.cells, work + max(sum(plan.update_cells), REPORT_CELLS)))

    def _dense(self):
        return [op for op in self.forward if op.kind == "dense_forward"]

    def _shared(self):
        """Dense layers whose weights groups of blocks share."""
        return [op for op in self._dense() if self.members > 1 and worth_sharing(op) and op.layer not in self.resident]

    def _place_parameters(self):
        """{layer: first cell}, of weights; of biases and transposed weights, too, for convolutions; and their ends.

        Convolutions come first, then the dense layers that are resident. The others follow in memory only.
        """
        places = {}
        for op in (op for op in self.forward if op.kind in CONVOLUTIONS):
            weights = self.take(prod(op.geometry.weight_shape))
            biases = self.take(op.geometry.out_channels)
            copied = op.kind == "conv_pool_forward" and self._needs_gradient(op)
            places[op.layer] = weights, biases, self.take(prod(op.geometry.weight_shape)) if copied else None
        ends = {"copied": self.cells}
        for elsewhere in (False, True):
            for op in (op for op in self._dense() if (op.layer not in self.resident) == elsewhere):
                quads, rows = -(-op.geometry.outputs // 4), op.geometry.inputs + 1
                pitch = 4 * (quads + 1 - quads % 2)  # an odd number of quads: neighbouring rows lie in other banks
                rows = max(rows, self.members * self._shard_rows(op)) if op in self._shared() else rows  # whole parts
                places[op.layer] = self.take(rows * pitch), pitch
            ends["parameter_cells" if elsewhere else "resident"] = self.cells
        self.cells = ends["resident"]
        return places, ends

    def _shard_rows(self, op):
        """Rows of weights of each member of a group: whole quads."""
        return _rounded(-(-op.geometry.inputs // self.members))

    def _place_shard(self, op, pitch):
        """A block's part of the weights of `op`, behind the parameters that all blocks keep."""
        rows, used = self._shard_rows(op), _rounded(op.geometry.outputs)
        gradients = self.take_factors(op.geometry.inputs if self._needs_gradient(op) else 0)
        sums = self.take_factors(self.members * used)
        return Shard(self.take(rows * pitch), rows, self.members, sums, gradients)

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
        return op.geometry.out_shape[1:] if hasattr(op.geometry, "out_shape") else None

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
            raise DoesNotFit(
                f"{reader.layer} has an input of {4 * rows * row * channels:,} bytes; the most are {4 * CORNER_CELLS:,}"
            )
        return View(corner + top * row + left, corner, shape, row, 1, rows * row)

    @staticmethod
    def _word_count(op):
        """Integers that a stage remembers for its backward pass."""
        if op.kind == "conv_pool_forward":
            return prod(op.pool.out_shape)
        return prod(op.geometry.out_shape) if op.kind == "pool_forward" and op.geometry.mode == "max" else 0

    def _place_stages(self, parameters, shards, views, words):
        """Stage plans; gradients behind the tensors, scratch behind the gradients, forward scratch over both."""
        work, names = self.cells, ["input", *(op.layer for op in self.forward)]
        needed = {op.layer: self._needs_gradient(op) for op in self.forward}
        gradients = {op.layer: self.take(prod(views[op.layer].shape)) for op in self.forward}
        scratch, stages, exchange, most = self.cells, [], 0, self.cells
        for below, op in zip(names, self.forward):
            common = {
                "name": op.layer,
                "x": views[below],
                "y": views[op.layer],
                "gradient": gradients[op.layer],
                "input_gradient": gradients[below] if needed[op.layer] else None,
                "input_activation": stages[-1].activation if stages else None,
                "activation": _activation_of(op),
            }
            if op.kind in CONVOLUTIONS:
                stage = self._convolution(op, common, parameters[op.layer], words[op.layer], exchange)
                stage = share_convolution(stage, self.threads, self.limit, work, scratch)
                exchange += stage.parameter_count
            elif op.kind == "dense_forward":
                stage = self._dense_layer(op, common, parameters[op.layer], shards.get(op.layer))
                stage = share_dense(stage, self.threads, self.limit, work, scratch)
            else:
                stage = self._other(op, common, words[op.layer])
            most = max(most, work + stage.forward_cells, scratch + stage.backward_cells)
            stages.append(stage)
        self.cells = most
        return stages

    @staticmethod
    def _convolution(op, common, places, corners, exchange):
        """The plan of a convolution before its work is shared out."""
        g, (weights, biases, transposed) = op.geometry, places
        return ConvPlan(
            **common, kernel=g.kernel[1:], stride=g.stride[1:], padding=g.padding[1:],
            window=op.pool.window[1:] if op.pool else (1, 1), cells=(op.pool or g).out_shape[1:3],
            weights=weights, biases=biases, transposed=transposed, corners=corners, exchange=exchange,
        )  # fmt: skip

    def _dense_layer(self, op, common, places, shard):
        """The same of a dense layer."""
        x_factors = self.take_factors(op.geometry.inputs + 1)
        return DensePlan(
            **common, weights=places[0], pitch=places[1], resident=op.layer in self.resident, shard=shard,
            x_factors=x_factors, d_factors=self.take_factors(op.geometry.outputs),
        )  # fmt: skip

    @staticmethod
    def _other(op, common, words):
        """The same of a stage without parameters."""
        if op.kind == "pool_forward":
            g = op.geometry
            winners = words if g.mode == "max" else None
            return PoolPlan(**common, window=g.window[1:], stride=g.stride[1:], padding=g.padding[1:], winners=winners)
        if common["activation"]:
            return ActivationPlan(**common)
        raise DoesNotFit(f"{op.layer} is a {op.kind}; the fused kernel has no stage for it")
