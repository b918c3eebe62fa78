"""Kernels of layers on tensor cores: each operation of a lowered program as a problem, a tile and a finish.

Knows operations and tiles; must not learn about engines or where tensors lie.
"""

from dataclasses import dataclass

from helpers.kernels.tensor.base import TensorKernel
from helpers.kernels.tensor.convolution import correlator
from helpers.kernels.tensor.correlation import Correlation, Staging
from helpers.kernels.tensor.finish import bias_and_pool, through_gates
from helpers.kernels.tensor.layout import padded
from helpers.kernels.tensor.tiling import choose_strips, choose_tile
from helpers.kernels.tensor.weight_gradient import weight_body
from helpers.kernels.tensor.weight_strips import WeightProblem, WeightStrips


@dataclass(frozen=True)
class Surroundings:
    """What a layer's kernel must know beside its operation.

    Parameters
    ----------
    unfolded : bool
        The input of a convolution lies unfolded (a first layer of few channels).
    image : tuple of int
        (D, H, W, channels) of the image that a dense layer reads; (1, 1, 1, inputs) where it reads none.
    logits : bool
        The layer's outputs are the network's.
    """

    unfolded: bool = False
    image: tuple[int, int, int, int] = (1, 1, 1, 0)
    logits: bool = False

    @property
    def cells(self):
        return self.image[0] * self.image[1] * self.image[2]


def forward_problem(op, batch, around):
    """Correlation of a forward operation."""
    if op.kind == "dense_forward":
        return Correlation.of_rows(batch, around.cells * padded(around.image[3]), padded(op.geometry.outputs))
    return (Correlation.unfolded if around.unfolded else Correlation.forward)(op.geometry, batch)


def input_gradient_problem(op, batch, around):
    """Correlation of an input gradient."""
    if op.kind == "dense_input_gradient":
        return Correlation.of_rows(batch, padded(op.geometry.outputs), around.cells * padded(around.image[3]))
    return Correlation.input_gradient(op.geometry, batch)


def weight_problem(op, batch, around):
    """Problem of a weight gradient."""
    if op.kind == "dense_weight_gradient":
        return WeightProblem.of_dense(around.cells, around.image[3], op.geometry.outputs, batch)
    return (WeightProblem.unfolded if around.unfolded else WeightProblem.of_convolution)(op.geometry, batch)


def forward(op, batch, form, around, card, tile=None):
    """Kernel of conv_forward, conv_pool_forward and dense_forward: y and its gates from x, w and b.

    Parameters
    ----------
    op : lowering.Op
    batch : int
    form : Format
    around : Surroundings
    card : Card
        What tiles are chosen for.
    tile : Tile, optional

    Returns
    -------
    TensorKernel
    """
    problem = forward_problem(op, batch, around)
    window = op.pool.window[1:] if op.pool else (1, 1)
    staging = Staging(problem, tile or choose_tile(problem, form, card, window[0]), form.packed)
    filters = op.geometry.outputs if op.kind == "dense_forward" else op.geometry.out_channels
    finish = bias_and_pool(staging, form, filters, op.activation == "relu", window, around.logits)
    correlate = correlator(staging, form, finish)

    def body(y, gate, x, w, b):
        correlate(y, gate, x, w, b)

    return TensorKernel(op.kind, body, chained=form.chains, **staging.launch)


def input_gradient(op, batch, form, around, card, tile=None):
    """Kernel of conv_input_gradient and dense_input_gradient: dx from dy, w and gates; parameters as in `forward`.

    Where `op.pool` is set dx is the gradient of what was pooled to x.
    """
    problem = input_gradient_problem(op, batch, around)
    image = (*around.image[:3], padded(around.image[3])) if op.kind == "dense_input_gradient" else None
    staging = Staging(problem, tile or choose_tile(problem, form, card), form.packed)
    window, unpooled = (op.pool.window[1:], op.pool.in_shape[1:3]) if op.pool else ((1, 1), None)
    finish = through_gates(staging, form, op.mask is not None or op.pool is not None, window, image, unpooled)
    correlate = correlator(staging, form, finish)

    def body(dx, dy, w, gate):
        correlate(dx, gate, dy, w, w)  # there is no bias: any address will do

    return TensorKernel(op.kind, body, chained=form.chains, **staging.launch)


def weight_gradient(op, batch, form, around, card, tile=None):
    """Kernel of conv_weight_gradient and dense_weight_gradient: partial sums from x and dy; as in `forward`."""
    problem = weight_problem(op, batch, around)
    strips = WeightStrips(problem, tile or choose_strips(problem, form, card), form.packed)
    return TensorKernel(op.kind, weight_body(strips, form), splits=strips.tile.splits, **strips.launch)
