"""A lowered program as tensor cores run it: poolings undone where the gradient is made, gates beside activations,
channels in whole tiles, and the input unfolded for a first convolution of few channels.

Knows lowering and the layout of layout.py; must not learn about kernels or engines.
"""

from dataclasses import replace
from math import prod

from helpers.kernels.tensor.layout import LANE_CHANNELS, MOST_CELLS, padded
from helpers.layers import Flatten
from helpers.lowering import POINTWISE, Program, Tensor, fuse_pool, fuse_relu, lower

LARGEST_WINDOW = 1024  # values of an unfolded window, whose pieces a block makes together
FEW_CHANNELS = 8  # of a first convolution's input: more fill a good part of a tile by themselves
POOLED = {1, 2, 4}  # rows of a window, which a lane has, and its columns, which lanes exchange


def tensor_program(network):
    """Program of one training step of `network` in the layouts of tensor cores.

    Forward operations that close gates write a second tensor, "NAME.gate" of their output NAME; an input gradient's
    `mask` is that name. An input gradient whose `pool` is set also undoes that pooling. Shapes are (D, H, W, channels
    in memory); gates have int32 words for LANE_CHANNELS channels each.

    Raises
    ------
    ValueError
        For a layer that tensor cores do not run here; the message names it.
    """
    program = fuse_pool(fuse_relu(lower(network)))
    program = undo_pooling_at_once(program)
    _refuse(program)
    gated = {op.outputs[0] for op in program.forward if op.activation or op.pool}
    ops, tensors = [], {}
    for op in program.ops:
        if op.kind.endswith("_forward"):
            gate = (f"{op.outputs[0]}.gate",) if op.outputs[0] in gated else ()
            op = replace(op, outputs=(op.outputs[0], *gate))
        elif op.kind.endswith("_input_gradient"):
            source = op.mask or next((t.removesuffix(".winner") for t in op.inputs if t.endswith(".winner")), None)
            op = replace(op, inputs=op.inputs[:1], mask=f"{source}.gate" if source else None)
        ops.append(op)
    for name, tensor in program.tensors.items():
        if name.endswith(".winner"):
            continue
        tensors[name] = _in_tiles(program, tensor)
        if name in gated:
            shape = tensors[name].shape
            tensors[f"{name}.gate"] = Tensor(f"{name}.gate", (*shape[:-1], shape[-1] // LANE_CHANNELS), "int32")
    tensors[program.logits] = replace(tensors[program.logits], dtype="float32")
    return Program(network, tensors, tuple(ops))


def undo_pooling_at_once(program):
    """Join each max-pooling's input gradient to the operation before it, which makes what it distributes."""
    ops = list(program.ops)
    for pool in program.backward:
        maker = next((op for op in ops if op.outputs == pool.inputs[:1]), None)
        if pool.kind != "pool_input_gradient" or maker is None or maker.mask or not pool.inputs[1:]:
            continue
        joined = replace(maker, inputs=(*maker.inputs, *pool.inputs[1:]), outputs=pool.outputs, mask=pool.mask)
        ops[ops.index(maker)] = replace(joined, pool=pool.geometry)
        ops.remove(pool)
    kept = {name for op in ops for name in (*op.inputs, *op.outputs)}
    tensors = {name: tensor for name, tensor in program.tensors.items() if name in kept}
    return Program(program.network, tensors, tuple(ops))


def is_unfolded(op):
    """Whether `op` is a first convolution, or its weight gradient, that reads its input unfolded."""
    if not op.kind.startswith("conv") or op.inputs[0] != "input":
        return False
    return op.geometry.in_channels <= FEW_CHANNELS and prod(op.geometry.weight_shape[:-1]) <= LARGEST_WINDOW


def image_of(network, layer):
    """(D, H, W, channels) of the image that dense layer `layer` reads; where it reads the input, one cell of all."""
    stages = [stage for stage in network.stages if not isinstance(stage.layer, POINTWISE)]
    names = [stage.name for stage in stages]
    before = stages[: names.index(layer)]
    if all(isinstance(stage.layer, Flatten) for stage in before):
        return (1, 1, 1, prod(network.input_shape))
    source = before[-1]
    return _four(source.input_shape if isinstance(source.layer, Flatten) else source.output_shape)


def _four(shape):
    return (1,) * (4 - len(shape)) + tuple(shape)


def _in_tiles(program, tensor):
    """`tensor` with its shape in memory."""
    if tensor.dtype != "float" or not tensor.shape:
        return replace(tensor, dtype="float32") if tensor.dtype == "float" else tensor
    if tensor.name == "input":
        first = next(op for op in program.forward if op.inputs == ("input",))
        if is_unfolded(first):
            window = prod(first.geometry.weight_shape[:-1])
            return replace(tensor, shape=(*first.geometry.out_shape[:3], padded(window)))
        if first.kind == "dense_forward":
            return replace(tensor, shape=(1, 1, 1, padded(prod(tensor.shape))))
    shape = _four(tensor.shape)
    return replace(tensor, shape=(*shape[:3], padded(shape[3])))


def _refuse(program):
    """Refuse what has no kernel on tensor cores."""
    advice = "choose engine 'layerwise' with precision 'fp32'"
    for op in program.ops:
        family = op.kind.partition("_")[0]
        if family in ("relu", "activation"):
            raise ValueError(
                f"{op.layer}: tensor cores compute ReLU behind a convolution or a dense layer only; {advice}"
            )
        if family == "pool":
            raise ValueError(
                f"{op.layer}: tensor cores pool behind a convolution only, by the maximum of whole windows without "
                f"overlap or padding; {advice}"
            )
        if op.pool and (set(op.pool.window) - POOLED or prod(op.pool.window) > MOST_CELLS):
            raise ValueError(
                f"{op.layer}: the pooling behind it has windows of {op.pool.window[1:]}; expected 1, 2 or 4 rows and "
                f"columns and at most {MOST_CELLS} cells; {advice}"
            )
