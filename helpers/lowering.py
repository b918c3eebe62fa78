"""Lowering: a Network becomes a list of operations on named tensors; fusion is a pass over that list.

Knows networks and geometry; must not learn how an engine runs an operation or where tensors live.

Names of tensors: "input" and "labels" are the batch; a stage's output has the stage's name ("conv1"), its gradient
"d_" before it ("d_conv1"), and max-pooling also keeps "pool1.winner": for each output the index of the winning cell
in its window (row-major, uint8). Flatten is no operation: its tensor is read in another shape.
"""

from dataclasses import dataclass, replace

from helpers.geometry import PoolGeometry
from helpers.layers import ACTIVATIONS, Conv, Dense, Flatten, Pool, ReLU
from helpers.network import Network, Parameter


@dataclass(frozen=True)
class Tensor:
    """One value of a batch: `shape` of one image (channels last, without the batch axis) and its type.

    `dtype` is "float" (the engine's precision), "uint8" or "int32".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float"


@dataclass(frozen=True)
class Op:
    """One operation: reads tensors `inputs`, writes `outputs`, at a fixed geometry.

    `activation` ("relu", or the layer description of another) is applied by a forward operation to its output; `mask`
    names an activation's output, and an input gradient is multiplied by the derivative there: (tensor > 0), or that of
    `gate`. These are what `fuse_relu` and `fuse_activations` move into an activation's neighbours. `pool` is the
    pooling that `fuse_pool` puts behind a convolution.
    """

    kind: str
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    geometry: object = None
    parameters: tuple[Parameter, ...] = ()
    activation: object | None = None
    mask: str | None = None
    pool: PoolGeometry | None = None
    gate: object | None = None


@dataclass(frozen=True)
class Program:
    """The operations of one training step in order, and the tensors they name."""

    network: Network
    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]

    @property
    def forward(self):
        """Operations from the batch to the logits."""
        return self.ops[: self._loss]

    @property
    def loss(self):
        return self.ops[self._loss]

    @property
    def backward(self):
        """Operations after the loss, the update excluded."""
        return self.ops[self._loss + 1 : -1]

    @property
    def logits(self):
        return self.loss.inputs[0]

    @property
    def _loss(self):
        return next(i for i, op in enumerate(self.ops) if op.kind == "softmax_cross_entropy")


POINTWISE = (ReLU, *ACTIVATIONS)
# forward kind, weight-gradient kind (None: no weights), input-gradient kind of each layer type
KINDS = {
    Conv: ("conv_forward", "conv_weight_gradient", "conv_input_gradient"),
    Pool: ("pool_forward", None, "pool_input_gradient"),
    ReLU: ("relu_forward", None, "relu_input_gradient"),
    **dict.fromkeys(ACTIVATIONS, ("activation_forward", None, "activation_input_gradient")),
    Dense: ("dense_forward", "dense_weight_gradient", "dense_input_gradient"),
}


def lower(network):
    """Operations of one training step of `network`, nothing fused.

    Order: load_batch, the forward operations, softmax_cross_entropy, then from the last layer to the first the
    weight gradient and the input gradient (none for the first layer with weights), and update.

    Returns
    -------
    Program
    """
    tensors = {"input": Tensor("input", network.input_shape), "labels": Tensor("labels", (), "int32")}
    ops = [Op("load_batch", "input", (), ("input", "labels"))]
    backward, current = [], "input"
    for stage in network.stages:
        if isinstance(stage.layer, Flatten):
            continue
        forward, gradients = _lower_stage(stage, current, needs_input_gradient=bool(backward))
        ops.append(forward)
        backward[:0] = gradients
        # behind Flatten still an image: an engine with another layout of images must know that at the next Dense
        shape = tensors[current].shape if isinstance(stage.layer, POINTWISE) else stage.output_shape
        tensors[stage.name] = Tensor(stage.name, shape)
        for name in forward.outputs[1:]:
            tensors[name] = Tensor(name, stage.output_shape, "uint8")
        current = stage.name
    ops.append(Op("softmax_cross_entropy", "loss", (current, "labels"), (f"d_{current}", "loss", "correct")))
    tensors["loss"], tensors["correct"] = Tensor("loss", ()), Tensor("correct", (), "int32")
    for op in (ops[-1], *backward):
        for name in op.outputs:
            if name.startswith("d_"):
                tensors[name] = replace(tensors[name[2:]], name=name)
    ops += [*backward, Op("update", "update", (), (), parameters=network.parameters)]
    return Program(network, tensors, tuple(ops))


def _lower_stage(stage, source, needs_input_gradient):
    """Forward operation of a stage that reads tensor `source`, and its gradient operations in order."""
    name, d_name = stage.name, f"d_{stage.name}"
    forward_kind, weight_kind, input_kind = KINDS[type(stage.layer)]
    max_pool = isinstance(stage.layer, Pool) and stage.layer.mode == "max"
    winner = (f"{name}.winner",) if max_pool else ()
    shared = {"layer": name, "geometry": stage.geometry, "parameters": stage.parameters}
    forward = Op(forward_kind, inputs=(source,), outputs=(name, *winner), **shared)
    gradients = []
    if weight_kind:
        gradients.append(Op(weight_kind, inputs=(source, d_name), outputs=(), **shared))
    if needs_input_gradient:
        remembered = (name,) if isinstance(stage.layer, POINTWISE) else winner
        gradients.append(Op(input_kind, inputs=(d_name, *remembered), outputs=(f"d_{source}",), **shared))
    return forward, gradients


def fuse_relu(program, keep=frozenset()):
    """Move each ReLU into the operation before it, forward and backward, so that it costs no traffic of its own.

    Operations whose kind is in `keep` stay as they are: a reader's own kernel computes just its operation.

    Forward: a convolution or dense layer followed by ReLU writes the ReLU's tensor directly (`activation`).
    Backward: the operation that makes the ReLU's gradient multiplies it by (ReLU output > 0) (`mask`); below
    max-pooling the mask is the pool's own output, since the winner is positive exactly where that is.

    Returns
    -------
    Program
        Without relu operations where the neighbour could take them; equal arithmetic.
    """
    return _fuse(program, ("relu",), keep)


def fuse_activations(program):
    """As `fuse_relu`, but for every activation, for kernels that can compute any of them where they write.

    All are non-decreasing: the largest of a window is also the largest of its outputs, so that pooling may come first.
    (Where rounding makes outputs of a window equal, the winner is then the larger input, not the first of them.)

    Parameters
    ----------
    program : Program
        As lowered.

    Returns
    -------
    Program
    """
    return _fuse(program, ("relu", "activation"), frozenset())


def _fuse(program, families, keep):
    """`program` with activations of the `families` moved into their neighbours, but for kinds in `keep`."""
    ops, dropped = list(program.ops), set()
    for op in program.ops:
        family, _, direction = op.kind.partition("_")
        if family not in families:
            continue
        if direction == "forward":
            if _fuse_forward(ops, op, keep):
                dropped.add(op.inputs[0])
        elif op.outputs[0][2:] in dropped and _fuse_backward(ops, op, keep):
            dropped.add(op.inputs[0])
    tensors = {name: tensor for name, tensor in program.tensors.items() if name not in dropped}
    return Program(program.network, tensors, tuple(ops))


def _fuse_forward(ops, activation, keep):
    """Give an activation to the forward operation that makes its input; False where that has no epilogue."""
    function = activation.geometry.function if activation.geometry else "relu"
    for i, op in enumerate(ops):
        fusable = op.kind in {"conv_forward", "dense_forward"} - keep and op.activation is None
        if fusable and op.outputs == activation.inputs:
            ops[i] = replace(op, outputs=activation.outputs, activation=function)
            ops.remove(activation)
            return True
    return False


def _fuse_backward(ops, activation, keep):
    """Give the mask of an activation (d_y, y -> d_x) to the operation that makes d_y; False where none can take it."""
    d_y, y = activation.inputs
    gate = activation.geometry.function if activation.geometry else None
    keep = keep | {"relu_input_gradient", "activation_input_gradient"}  # each has a derivative of its own already
    for i, op in enumerate(ops):
        if op.outputs == (d_y,) and op.kind.endswith("_input_gradient") and op.mask is None and op.kind not in keep:
            max_pool = op.kind == "pool_input_gradient" and op.geometry.mode == "max"
            ops[i] = replace(op, outputs=activation.outputs, mask=op.layer if max_pool else y, gate=gate)
            ops.remove(activation)
            return True
    return False


LARGEST_FUSED_WINDOW = 16  # cells that a thread holds in registers at once


def fuse_pool(program, keep=frozenset()):
    """Join each convolution with the max-pooling behind it (after its activation was fused): "conv_pool_forward".

    The convolution's own output then never exists, so nothing else may read it: the pooling's gradient needs only the
    winners and, as its mask, the pooled tensor. Joined are windows that do not overlap nor hang over the edge, without
    padding, one plane deep and of at most LARGEST_FUSED_WINDOW cells. Operations whose kind is in `keep` stay as they
    are.

    Returns
    -------
    Program
        With equal arithmetic; poolings that cannot join stay as they are.
    """
    ops, tensors = list(program.ops), dict(program.tensors)
    for pool in program.forward:
        source = next((op for op in ops if op.outputs == pool.inputs and op.kind == "conv_forward"), None)
        if source is None or not _pools_in_registers(pool) or {source.kind, pool.kind} & keep:
            continue
        if _readers(ops, source.outputs[0]) != [pool]:
            continue
        joined = replace(source, kind="conv_pool_forward", outputs=pool.outputs, pool=pool.geometry)
        ops[ops.index(source)] = joined
        ops.remove(pool)
        del tensors[source.outputs[0]]
    return Program(program.network, tensors, tuple(ops))


def _readers(ops, tensor):
    return [op for op in ops if tensor in op.inputs or op.mask == tensor]


def _pools_in_registers(op):
    """Whether `op` is a max-pooling of disjoint, whole, unpadded, flat windows that fit a thread."""
    g = op.geometry
    if op.kind != "pool_forward" or g.mode != "max" or g.stride != g.window or g.padding != (0, 0, 0):
        return False
    whole = all(o * w <= i for o, w, i in zip(g.out_shape, g.window, g.in_shape))
    return whole and g.window[0] == 1 and g.window[1] * g.window[2] <= LARGEST_FUSED_WINDOW
