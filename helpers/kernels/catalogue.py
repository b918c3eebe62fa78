"""Catalogue of the production kernels, by operation: the one place where an operation meets its implementation.

An engine asks `make_kernel`; a reader's own factory of the same form replaces an entry by name. Must not learn how a
kernel works or who launches it.
"""

from helpers.kernels import (
    activation,
    conv_forward,
    conv_input_gradient,
    conv_pool_forward,
    conv_weight_gradient,
    dense,
    load_batch,
    pool,
    relu,
    softmax,
)

# Each module's `production` chooses the variant and its tiles from the geometry.
MODULES = {
    "load_batch": load_batch,
    "conv_forward": conv_forward,
    "conv_pool_forward": conv_pool_forward,
    "conv_input_gradient": conv_input_gradient,
    "conv_weight_gradient": conv_weight_gradient,
    "pool_forward": pool,
    "pool_input_gradient": pool,
    "relu_forward": relu,
    "relu_input_gradient": relu,
    "activation_forward": activation,
    "activation_input_gradient": activation,
    "dense_forward": dense,
    "dense_input_gradient": dense,
    "dense_weight_gradient": dense,
    "softmax_cross_entropy": softmax,
}


def make_kernel(op, batch, tensors, replacements=None):
    """Kernel of `op` for `batch` images.

    Parameters
    ----------
    op : lowering.Op
    batch : int
    tensors : dict of str to lowering.Tensor
        For operations without geometry, which take the shape of the tensor they work on.
    replacements : dict of str to factory, optional
        Factories `(op, batch) -> Kernel` that stand in for production kernels, by operation.

    Raises
    ------
    ValueError
        If a replacement returns a kernel of another operation.
    """
    factory = (replacements or {}).get(op.kind) or MODULES[op.kind].production
    if op.geometry is None:
        shaped = op.outputs[0] if op.kind == "load_batch" else op.inputs[0]
        kernel = factory(op, batch, tensors[shaped].shape)
    else:
        kernel = factory(op, batch)
    if kernel.operation != op.kind:
        raise ValueError(f"the factory for {op.kind} returned a kernel of {kernel.operation}; it must be of {op.kind}")
    return kernel
