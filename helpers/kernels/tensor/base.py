"""Kernels of a training step on tensor cores: the fixed argument order of each operation.

As kernels/base.py has it for float32 in the visible layout; here activations, their gradients and weights are words
in the layouts of layout.py. Must not learn how a kernel works.
"""

from dataclasses import dataclass

from helpers.kernels.base import ARGUMENTS, Kernel

FORWARD = (
    ("y", "float32"),  # words; float32 values where it is the logits
    ("gate", "int32"),  # written where the activation or a pooling closes gates
    ("x", "float32"),
    ("w", "float32"),  # words, packed for the forward pass
    ("b", "float32"),  # float32 values
)
INPUT_GRADIENT = (
    ("dx", "float32"),  # words, of the larger image where the pooling in front is undone
    ("dy", "float32"),
    ("w", "float32"),  # words, packed for the input gradient
    ("gate", "int32"),
)
WEIGHT_GRADIENT = (
    ("gradient", "float32"),  # (splits, weights + biases) partial sums in the visible layout
    ("x", "float32"),
    ("dy", "float32"),
)
TENSOR_ARGUMENTS = {
    "load_batch": ARGUMENTS["load_batch"],  # input: words
    "conv_forward": FORWARD,
    "conv_pool_forward": FORWARD,
    "dense_forward": FORWARD,
    "conv_input_gradient": INPUT_GRADIENT,
    "dense_input_gradient": INPUT_GRADIENT,
    "conv_weight_gradient": WEIGHT_GRADIENT,
    "dense_weight_gradient": WEIGHT_GRADIENT,
    "softmax_cross_entropy": ARGUMENTS["softmax_cross_entropy"],  # d_logits: words; logits: (N, padded classes)
    "sum_weight_gradient": (
        ("gradient", "float32"),  # every layer's partial sums, one arena; in the place of the first their sum
        ("overflows", "int32"),  # (blocks,) 1 where a block has found a sum that is not finite
        ("loss_scale", "float32"),  # see loss_scale.py
    ),
    "update": ARGUMENTS["update"],
}
# further arguments, at the end, where the loss is scaled
SCALED_ARGUMENTS = {
    "softmax_cross_entropy": (("loss_scale", "float32"),),
    "update": (("overflows", "int32"), ("loss_scale", "float32")),
}


@dataclass(frozen=True)
class TensorKernel(Kernel):
    """A kernel of `TENSOR_ARGUMENTS`.

    Parameters
    ----------
    storage : str
        Type of cells of the packed weights that "update" writes.
    chained : bool
        It may be launched before the kernel in front of it in its stream has ended; its body waits where it must.
    scaled : bool
        Its loss is scaled: its body takes `SCALED_ARGUMENTS` too.
    """

    storage: str = "float32"
    chained: bool = False
    scaled: bool = False

    @property
    def arguments(self):
        """(name, dtype) of every argument, in order."""
        packed = (("packed", self.storage),) if self.operation == "update" else ()
        scaling = SCALED_ARGUMENTS[self.operation] if self.scaled else ()
        return TENSOR_ARGUMENTS[self.operation] + packed + scaling
