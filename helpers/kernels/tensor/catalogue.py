"""Catalogue of the kernels of tensor cores, by operation: the one place where an operation meets its implementation.

Must not learn how a kernel works or who launches it.
"""

from helpers.kernels.tensor import layers
from helpers.kernels.tensor.load_batch import load_batch
from helpers.kernels.tensor.softmax import softmax_cross_entropy
from helpers.tensor_program import image_of, is_unfolded

LAYERS = {
    "conv_forward": layers.forward,
    "conv_pool_forward": layers.forward,
    "dense_forward": layers.forward,
    "conv_input_gradient": layers.input_gradient,
    "dense_input_gradient": layers.input_gradient,
    "conv_weight_gradient": layers.weight_gradient,
    "dense_weight_gradient": layers.weight_gradient,
}


def surroundings(program, op):
    """`Surroundings` of a layer's operation in a program of tensor_program.py."""
    dense = op.kind.startswith("dense")
    return layers.Surroundings(
        unfolded=is_unfolded(op),
        image=image_of(program.network, op.layer) if dense else (1, 1, 1, 0),
        logits=op.outputs[:1] == (program.logits,),
    )


def make_kernel(op, batch, program, form, card):
    """Kernel of `op`, any but the update, for `batch` images.

    Parameters
    ----------
    op : lowering.Op
    batch : int
    program : lowering.Program
        Of tensor_program.py.
    form : Format
    card : Card

    Returns
    -------
    TensorKernel
    """
    network = program.network
    if op.kind == "load_batch":
        first, channels = program.ops[1], network.input_shape[-1]
        if is_unfolded(first):
            return load_batch(op, batch, network.input_shape, first.geometry, form)
        shape = (first.geometry.inputs,) if first.kind == "dense_forward" else network.input_shape
        return load_batch(op, batch, shape, None, form, channels)
    if op.kind == "softmax_cross_entropy":
        return softmax_cross_entropy(op, batch, network.classes, form)
    return LAYERS[op.kind](op, batch, form, surroundings(program, op), card)
