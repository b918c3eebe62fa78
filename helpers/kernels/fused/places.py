"""Where a fused kernel keeps what: views of an image's tensors in shared memory, and what each layer needs to know.

Offsets and sizes are in 32-bit cells of the block's shared memory unless a name says otherwise; strides are in cells.
Knows numbers only; must not learn how a stage computes.
"""

from dataclasses import dataclass


class DoesNotFit(ValueError):
    """A network, or one of its layers, that the fused kernel cannot hold; the message names it and the bytes."""


@dataclass(frozen=True)
class Card:
    """What a plan depends on: multiprocessors, shared memory a block in bytes, compute capability."""

    multiprocessors: int
    shared_bytes: int
    capability: tuple[int, int] = (9, 0)

    @property
    def copies(self):
        """How parameters reach shared memory: by "bulk" transfers, by "asynchronous" copies of the threads, or "plain".

        The first two go on while the threads compute.
        """
        return "bulk" if self.capability >= (9, 0) else "asynchronous" if self.capability >= (8, 0) else "plain"


@dataclass(frozen=True)
class View:
    """One image of a tensor: cell (y, x, c) lies at `offset` + y * row + x * column + c * channel.

    `corner` is the first cell of the halo of zeros above and left of it, which is `offset` where there is none.
    """

    offset: int
    corner: int
    shape: tuple[int, int, int]
    row: int
    column: int
    channel: int

    @property
    def size(self):
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class ConvPlan:
    """A convolution with the max-pooling behind it: a *cell* is one pooled output, its *window* what it is pooled from.

    Without pooling a window is one output. `corners`: for each cell and filter, where in the input the winning
    output's patch begins, and which of the window it is (see convolution.py). `transposed`: the weights once more in
    the order (filter, row, column, channel), or None. `exchange`: where this layer's sums begin in a block's row of
    partial gradients.
    """

    name: str
    x: View
    y: View
    gradient: int
    input_gradient: int | None
    input_gated: bool
    activation: bool
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
    filters_at_once: int
    splits: int
    groups: int
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


@dataclass(frozen=True)
class DensePlan:
    """A dense layer: weights (inputs + 1) rows of `pitch`, the last one the biases; they are `resident` or stream.

    `lanes`: of a warp that share four outputs, where the weights are resident; `splits`: of a sum in scratch memory,
    where they stream; `gradient_splits`: of an input's gradient, where they are resident. `x_factors` and `d_factors`:
    where its inputs and its outputs' gradient lie in an image's row of factors.
    """

    name: str
    x: View
    y: View
    gradient: int
    input_gradient: int | None
    input_gated: bool
    activation: bool
    weights: int
    pitch: int
    resident: bool
    x_factors: int
    d_factors: int
    splits: int
    gradient_splits: int = 1
    lanes: int = 32
    scratch: int = 0
    gradient_scratch: int = 0

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


@dataclass(frozen=True)
class PoolPlan:
    """A pooling on its own. `winners`: for each output the input cell (y * columns + x) that won; None: average."""

    name: str
    x: View
    y: View
    gradient: int
    input_gradient: int | None
    input_gated: bool
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    winners: int | None
    activation: bool = False


@dataclass(frozen=True)
class ReluPlan:
    """A ReLU that no other stage could take."""

    name: str
    x: View
    y: View
    gradient: int
    input_gradient: int | None
    input_gated: bool
    activation: bool = True


@dataclass(frozen=True)
class Plan:
    """What lives where, who works on what. `stages` in order; cells and bytes of shared memory; see plan.py."""

    network: object
    batch: int
    card: Card
    threads: int
    blocks: int
    image_blocks: int
    rounds: int
    stages: tuple
    image: View
    label: int
    trouble: int
    arrivals: int
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
    cells: int

    @property
    def dense(self):
        return [stage for stage in self.stages if isinstance(stage, DensePlan)]

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
