"""Random inputs of each operation, the float64 result it must give, and how far float32 may lie from it.

Knows operations by name and geometry; must not learn how a kernel is run or compared.
"""

from dataclasses import dataclass

import numpy as np

from helpers.kernels import state as words
from helpers.kernels.base import ARGUMENTS

UNIT_ROUNDOFF = np.finfo(np.float32).eps / 2  # largest relative error of one float32 rounding
DEVIATIONS = 8.0  # see float32_allowance
# Roundings that an activation's error is worth: 4, for exp, expm1 and tanh are off by up to 2 units in the last place
# on a card (CUDA C++ Programming Guide, mathematical functions), and as many for the few operations around them.
ROUNDINGS = 8.0


@dataclass
class Case:
    """One problem: flat `inputs` by argument name, `wanted` and `allowed` by output name, in the oracle's shape."""

    inputs: dict[str, np.ndarray]
    wanted: dict[str, np.ndarray]
    allowed: dict[str, np.ndarray]


def float32_allowance(scale, terms, total=0.0):
    """Largest accepted error of a float32 sum of products of random data, added in any order.

    With u the unit roundoff, n the terms p_i, S = sqrt(sum p_i^2) the `scale` and T = sum p_i the `total`:
    each addition errs by at most u |s_k|, where s_k is the partial sum that it makes. Taken as independent and of mean
    0, these errors add up to more than lambda u sqrt(sum s_k^2) with a probability below 2 exp(-lambda^2 / 2)
    (Hoeffding's inequality; Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci.
    Comput. 41 (2019) A2815). An order that does not look at the values is a random one, in which
    E[s_k^2] <= (k/n)^2 T^2 + (k/n)(1 - k/n) S^2: on average over k at most T^2 / 3 + S^2 / 6. Rounding the products
    adds S^2 / n to it. As 1/3 + 1/6 + 1/n <= 1 for n >= 2, the allowance is

        lambda u sqrt(n) max(S, |T|),   lambda = 8.

    2 exp(-32) is 3e-14. Where T is small, the sum of s_k^2 can exceed its mean: the chance that it does and the
    errors meet there as well stays below 1e-10, so that millions of cells pass. Sums in tiles or trees err less.
    Nothing here is fitted to a kernel. A product that is left out shows while it exceeds the allowance, which for
    products of mean m and mean size a means n^1.5 < a / (8 u |m|): some ten thousands of terms in the data of `Draw`.

    Parameters
    ----------
    scale : float or ndarray
        Root of the sum of the products' squares.
    terms : int
        Products in each sum.
    total : float or ndarray
        The sum itself.

    Returns
    -------
    float or ndarray
    """
    return DEVIATIONS * UNIT_ROUNDOFF * np.sqrt(terms) * np.maximum(scale, np.abs(total))


def make_case(op, batch, seed=0, shape=None, reference=None):
    """Random problem of `op` on `batch` images.

    Parameters
    ----------
    op : lowering.Op
    batch, seed : int
    shape : tuple of int, optional
        Of one image, for operations without geometry.
    reference : module, optional
        The oracle; default helpers.reference.

    Returns
    -------
    Case

    Raises
    ------
    ValueError
        For an operation without a case here.
    """
    if reference is None:
        from helpers import reference
    if op.kind not in CASES:
        raise ValueError(f"{op.kind} has no oracle; helpers/checking/oracle_cases.py has {', '.join(CASES)}")
    for attempt in range(64):  # on tiny shapes a ReLU can silence everything: such a draw proves nothing
        draw = Draw(np.random.default_rng((seed, attempt)), batch, reference)
        inputs, wanted, allowed = CASES[op.kind](draw, op, shape)
        if all(np.linalg.norm(w) > 0 for w in wanted.values() if w.dtype.kind == "f"):
            break
    else:
        raise ValueError(f"{op.kind}: every draw gives a result of norm 0, which proves nothing; choose other shapes")
    dtypes = dict(ARGUMENTS[op.kind])
    return Case({name: values.astype(dtypes[name]).reshape(-1) for name, values in inputs.items()}, wanted, allowed)


@dataclass
class Draw:
    """Source of asymmetric float32 data for one case."""

    rng: np.random.Generator
    batch: int
    reference: object

    def images(self, shape):
        """(batch, *shape), float64 that float32 holds exactly."""
        return self.values(self.batch, *shape)

    def values(self, *shape):
        return self.rng.normal(0.3, 1.0, shape).astype(np.float32).astype(np.float64)

    def halves(self, *shape):
        """Multiples of 1/2: short sums of their products are exact in float32, in any order."""
        return np.round(2 * self.values(*shape)) / 2

    def mask(self, shape):
        """(batch, *shape), as a ReLU leaves it: zeros and positive values."""
        return np.maximum(self.images(shape) - 0.3, 0.0)


def _linear(name, function, inputs, terms, gate=None):
    """Wanted and allowed of a sum of products `function(*inputs)`, cells outside `gate` being 0."""
    wanted, scale = function(*inputs), np.sqrt(function(*(x * x for x in inputs)))
    wanted = wanted if gate is None else np.where(gate, wanted, 0.0)
    return {name: wanted}, {name: float32_allowance(scale, terms, wanted)}


def _make_forward(draw, op, function, x_shape, terms):
    x, w, b = draw.images(x_shape), draw.values(*op.geometry.weight_shape), draw.values(op.geometry.weight_shape[-1])
    wanted, allowed = _linear("y", function, (x, w, b), terms + 1)
    if op.activation == "relu":
        wanted = {"y": np.maximum(wanted["y"], 0.0)}
    return {"x": x, "w": w, "b": b}, wanted, allowed


def _make_input_gradient(draw, op, function, dy_shape, dx_shape, terms):
    dy, w = draw.images(dy_shape), draw.values(*op.geometry.weight_shape)
    gate = {"mask": draw.mask(dx_shape)} if op.mask else {}
    result = _linear("dx", function, (dy, w), terms, gate["mask"] > 0 if gate else None)
    return {"dy": dy, "w": w, **gate}, *result


def _make_weight_gradient(draw, function, x_shape, dy_shape, terms):
    def flat(x, dy):
        return np.concatenate([part.reshape(-1) for part in function(x, dy)])

    def flat_squares(x, dy):
        return np.concatenate([function(x * x, dy * dy)[0].reshape(-1), function(x, dy * dy)[1]])

    x, dy = draw.images(x_shape), draw.images(dy_shape)
    wanted = flat(x, dy)
    allowed = float32_allowance(np.sqrt(flat_squares(x, dy)), terms, wanted)
    return {"x": x, "dy": dy}, {"gradient": wanted}, {"gradient": allowed}


def _conv_forward(draw, op, shape):
    g = op.geometry
    terms = np.prod(g.weight_shape[:-1])
    return _make_forward(draw, op, lambda x, w, b: draw.reference.conv_forward(x, w, b, g), g.in_shape, terms)


def _conv_input_gradient(draw, op, shape):
    g = op.geometry
    terms = np.prod(g.kernel) * g.out_channels
    function = draw.reference.conv_input_gradient
    return _make_input_gradient(draw, op, lambda dy, w: function(dy, w, g), g.out_shape, g.in_shape, terms)


def _conv_weight_gradient(draw, op, shape):
    g = op.geometry
    terms = draw.batch * np.prod(g.out_shape[:3])
    function = draw.reference.conv_weight_gradient
    return _make_weight_gradient(draw, lambda x, dy: function(x, dy, g), g.in_shape, g.out_shape, terms)


def _dense_forward(draw, op, shape):
    return _make_forward(draw, op, draw.reference.dense_forward, (op.geometry.inputs,), op.geometry.inputs)


def _dense_input_gradient(draw, op, shape):
    g = op.geometry
    return _make_input_gradient(draw, op, draw.reference.dense_input_gradient, (g.outputs,), (g.inputs,), g.outputs)


def _dense_weight_gradient(draw, op, shape):
    g = op.geometry
    return _make_weight_gradient(draw, draw.reference.dense_weight_gradient, (g.inputs,), (g.outputs,), draw.batch)


def _conv_pool_forward(draw, op, shape):
    """Halves as operands, so that every sum is exact, many tie, and the first must win."""
    g, reference = op.geometry, draw.reference
    x, w, b = draw.halves(draw.batch, *g.in_shape), draw.halves(*g.weight_shape), draw.halves(g.out_channels)
    y = reference.conv_forward(x, w, b, g)
    y, winner = reference.pool_forward(np.maximum(y, 0.0) if op.activation == "relu" else y, op.pool)
    # no gradient passes where ReLU leaves 0, so that any winner is right there
    free = 255.0 * ((y == 0) if op.activation == "relu" else np.zeros_like(y))
    return {"x": x, "w": w, "b": b}, {"y": y, "winner": winner}, {"y": 0.0, "winner": free}


def _pool_forward(draw, op, shape):
    g, pool = op.geometry, draw.reference.pool_forward
    x = draw.halves(draw.batch, *g.in_shape)  # coarse values tie, and the first must win
    if g.mode == "average":
        return {"x": x}, *_linear("y", lambda x: pool(x, g)[0], (x,), np.prod(g.window))
    y, winner = pool(x, g)
    return {"x": x}, {"y": y, "winner": winner}, {"y": 0.0, "winner": 0.0}


def _pool_input_gradient(draw, op, shape):
    g, reference = op.geometry, draw.reference
    dy = draw.images(g.out_shape)
    winner = reference.pool_forward(draw.images(g.in_shape), g)[1]
    inputs, gate = {"dy": dy} if g.mode == "average" else {"dy": dy, "winner": winner}, None
    if op.mask and g.mode == "max":  # the mask of max-pooling is the pool's own output
        inputs["mask"] = draw.mask(g.out_shape)
        dy = np.where(inputs["mask"] > 0, dy, 0.0)
    elif op.mask:
        inputs["mask"] = draw.mask(g.in_shape)
        gate = inputs["mask"] > 0
    terms = np.prod(g.window)
    return inputs, *_linear("dx", lambda dy: reference.pool_input_gradient(dy, winner, g), (dy,), terms, gate)


def _relu_forward(draw, op, shape):
    x = draw.images(shape)
    return {"x": x}, {"y": np.maximum(x, 0.0)}, {"y": 0.0}


def _relu_input_gradient(draw, op, shape):
    dy, y = draw.images(shape), draw.mask(shape)
    return {"dy": dy, "y": y}, {"dx": np.where(y > 0, dy, 0.0)}, {"dx": 0.0}


def _activation_forward(draw, op, shape):
    g = op.geometry
    x = 3 * draw.images(g.shape)  # so that some saturate
    y = draw.reference.activation_forward(x, g)
    return {"x": x}, {"y": y}, {"y": ROUNDINGS * UNIT_ROUNDOFF * np.abs(y)}


def _activation_input_gradient(draw, op, shape):
    g, reference = op.geometry, draw.reference
    dy = draw.images(g.shape)
    # as float32 holds it: the derivative of what a kernel reads
    y = reference.activation_forward(3 * draw.images(g.shape), g).astype(np.float32).astype(np.float64)
    dx = reference.activation_input_gradient(dy, y, g)
    allowed = ROUNDINGS / 2 * UNIT_ROUNDOFF * np.abs(dy)  # of dy: 1 - y^2 cancels, and no derivative here exceeds 1
    return {"dy": dy, "y": y}, {"dx": dx}, {"dx": allowed}


def _softmax_cross_entropy(draw, op, shape):
    logits = 3 * draw.images(shape)
    labels = draw.rng.integers(0, shape[0], draw.batch)
    state = np.zeros(words.WORDS, np.int32)
    state[words.SAMPLES], state[words.SHUFFLE] = draw.batch, 1
    loss, correct, d_logits = draw.reference.softmax_cross_entropy(logits, labels)
    scales = {"d_logits": 1.0 / draw.batch, "sample_loss": 1.0 + np.abs(logits).max()}
    allowed = {name: float32_allowance(scale, shape[0]) for name, scale in scales.items()} | {"correct": 0.0}
    wanted = {"d_logits": d_logits, "sample_loss": loss, "correct": np.asarray(correct, np.int32)}
    return {"logits": logits, "labels": labels, "state": state}, wanted, allowed


CASES = {
    "conv_forward": _conv_forward,
    "conv_pool_forward": _conv_pool_forward,
    "conv_input_gradient": _conv_input_gradient,
    "conv_weight_gradient": _conv_weight_gradient,
    "dense_forward": _dense_forward,
    "dense_input_gradient": _dense_input_gradient,
    "dense_weight_gradient": _dense_weight_gradient,
    "pool_forward": _pool_forward,
    "pool_input_gradient": _pool_input_gradient,
    "relu_forward": _relu_forward,
    "relu_input_gradient": _relu_input_gradient,
    "activation_forward": _activation_forward,
    "activation_input_gradient": _activation_input_gradient,
    "softmax_cross_entropy": _softmax_cross_entropy,
}
