"""Plans of the fused kernel's stages, and of the whole kernel: what each stage needs to know.

Offsets and sizes are in 32-bit cells of the block's shared memory unless a name says otherwise. Knows numbers only;
must not learn how a stage computes, nor how a plan is made (plan.py).
"""

from dataclasses import dataclass

from helpers.kernels.fused.places import Card, Shard, View


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What every stage has: its input and output, where the gradients of both lie, and the activation behind it.

    `input_gradient`: None where nobody needs it; it is that of the input of `input_activation`, if there is one below.
    `activation`, `input_activation`: layer descriptions or None. `forward_cells` and `backward_cells`: the scratch
    memory of a pass.
    """

    name: str
    x: View
    y: View
    gradient: int
    input_gradient: int | None
    input_activation: object | None
    activation: object | None
    forward_cells: int = 0
    backward_cells: int = 0


@dataclass(frozen=True, kw_only=True)
class ConvPlan(StagePlan):
    """A convolution with the max-pooling behind it: a *cell* is one pooled output, its *window* what it is pooled from.

    Without pooling a window is one output. `corners`: for each cell and filter, where in the input the winning
    output's patch begins, and which of the window it is (see convolution.py). `transposed`: the weights once more in
    the order (filter, row, column, channel), or None. `exchange`: where this layer's sums begin in a block's row of
    partial gradients.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    window: tuple[int, int]
    cells: tuple[int, int]
    weights: int
    biases: int
    transposed: int | None
    corners: int
    exchange: int
    filters_at_once: int = 1
    splits: int = 1
    groups: int = 1
    rows_at_once: int = 1
    scratch: int = 0
    gradient_scratch: int = 0
    sums_scratch: int = 0

    @property
    def channels(self):
        return self.x.shape[2]

    @property
    def filters(self):
        return self.y.shape[2]

    @property
    def cell_count(self):
        return self.cells[0] * self.cells[1]

    @property
    def pooled(self):
        return self.window != (1, 1)

    @property
    def patch(self):
        """Rows and columns of the input that a window reads."""
        return tuple((w - 1) * s + k for w, s, k in zip(self.window, self.stride, self.kernel))

    @property
    def weight_count(self):
        return self.kernel[0] * self.kernel[1] * self.channels * self.filters

    @property
    def parameter_count(self):
        return self.weight_count + self.filters


@dataclass(frozen=True, kw_only=True)
class DensePlan(StagePlan):
    """A dense layer: weights (inputs + 1) rows of `pitch`, the last one the biases.

    They are `resident` in every block, or a group of blocks shares them (`shard`), or they stream from L2. `lanes`: of
    a warp that share four outputs, where the weights are resident; `splits`: of a sum in scratch memory, where they
    stream; `gradient_rows` and `gradient_splits`: rows of weights that a thread takes at once for the inputs' gradient,
    and the splits of its sums, where they are resident. `x_factors` and `d_factors`: where its
    inputs and its outputs' gradient lie in an image's row of factors.
    """

    weights: int
    pitch: int
    resident: bool
    shard: Shard | None
    x_factors: int
    d_factors: int
    splits: int = 1
    gradient_rows: int = 1
    gradient_splits: int = 1
    lanes: int = 32
    scratch: int = 0
    gradient_scratch: int = 0

    @property
    def streams(self):
        return not self.resident and self.shard is None

    @property
    def inputs(self):
        return self.x.size

    @property
    def outputs(self):
        return self.y.size

    @property
    def quads(self):
        """Groups of four neighbouring outputs."""
        return self.pitch_used // 4

    @property
    def pitch_used(self):
        return -(-self.outputs // 4) * 4

    @property
    def row_tiles(self):
        """Groups of four neighbouring rows of weights, the biases among them."""
        return -(-(self.inputs + 1) // 4)


@dataclass(frozen=True, kw_only=True)
class PoolPlan(StagePlan):
    """A pooling on its own. `winners`: for each output the input cell (y * columns + x) that won; None: average."""

    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    winners: int | None


@dataclass(frozen=True, kw_only=True)
class ActivationPlan(StagePlan):
    """An activation that no other stage could take."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What lives where, who works on what. `stages` in order; cells and bytes of shared memory; see plan.py.

    `members`: blocks of a group that shares dense weights, 1 where none does. `update_cells`: scratch memory of the
    sums of dense weights' gradients, and behind it of convolutions'.
    """

    network: object
    batch: int
    card: Card
    threads: int
    blocks: int
    image_blocks: int
    rounds: int
    members: int
    stages: tuple
    image: View
    label: int
    trouble: int
    arrivals: int
    meetings: int
    laps: int
    activations: tuple[int, int]
    copied: int
    resident: int
    parameter_cells: int
    exchange: int
    factors: int
    rectangle: tuple[int, int]
    update_splits: int
    update_groups: int
    update_scratch: int
    update_cells: tuple[int, int]
    cells: int

    @property
    def dense(self):
        return [stage for stage in self.stages if isinstance(stage, DensePlan)]

    @property
    def shards(self):
        return [stage.shard for stage in self.dense if stage.shard]

    @property
    def convolutions(self):
        return [stage for stage in self.stages if isinstance(stage, ConvPlan)]

    @property
    def shared_bytes(self):
        return 4 * self.cells

    @property
    def tiles_per_block(self):
        """Tiles of 4 x 4 dense weights that a block owns: a rectangle of one layer's."""
        return self.rectangle[0] * self.rectangle[1]

    @property
    def sums_per_block(self):
        """Sums of convolutions' partial gradients that a block owns."""
        return -(-self.exchange // self.blocks)
