"""What a kernel factory returns, and the fixed argument order of each named operation.

Every argument is a flat C-contiguous array, outputs before inputs; images are channels last. A factory is a
function of compile-time values only: `factory(op, batch, ...) -> Kernel`, `op` an Op of lowering.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

# Arguments of each operation: (name, dtype). N is the batch; shapes are flattened.
#   gradient: (splits, weights + biases): partial sums over the batch, weight then bias in each; the update adds the
#     splits in order. splits = 1 is the gradient itself.
#   mask: the tensor whose positive entries let the gradient pass (read only where the op has a mask).
#   state: int32 words that live on the card, see helpers/kernels/state.py.
ARGUMENTS = {
    "probe": (("y", "float32"), ("x", "float32")),
    "load_batch": (
        ("input", "float32"),  # (N, D*H*W*C), (x / 255 - mean) / std
        ("labels", "int32"),  # (N,)
        ("images", "uint8"),  # (samples, D*H*W*C)
        ("all_labels", "uint8"),  # (samples,)
        ("scale", "float32"),  # (2, C): x * scale[0] + scale[1] normalises
        ("state", "int32"),
    ),
    "conv_forward": (("y", "float32"), ("x", "float32"), ("w", "float32"), ("b", "float32")),
    "conv_pool_forward": (
        ("y", "float32"),
        ("winner", "uint8"),
        ("x", "float32"),
        ("w", "float32"),
        ("b", "float32"),
    ),
    "conv_input_gradient": (("dx", "float32"), ("dy", "float32"), ("w", "float32"), ("mask", "float32")),
    "conv_weight_gradient": (("gradient", "float32"), ("x", "float32"), ("dy", "float32")),
    "pool_forward": (("y", "float32"), ("winner", "uint8"), ("x", "float32")),
    "pool_input_gradient": (("dx", "float32"), ("dy", "float32"), ("winner", "uint8"), ("mask", "float32")),
    "relu_forward": (("y", "float32"), ("x", "float32")),
    "relu_input_gradient": (("dx", "float32"), ("dy", "float32"), ("y", "float32")),
    "activation_forward": (("y", "float32"), ("x", "float32")),
    "activation_input_gradient": (("dx", "float32"), ("dy", "float32"), ("y", "float32")),
    "dense_forward": (("y", "float32"), ("x", "float32"), ("w", "float32"), ("b", "float32")),
    "dense_input_gradient": (("dx", "float32"), ("dy", "float32"), ("w", "float32"), ("mask", "float32")),
    "dense_weight_gradient": (("gradient", "float32"), ("x", "float32"), ("dy", "float32")),
    "softmax_cross_entropy": (
        ("d_logits", "float32"),  # (N, classes), of the batch mean
        ("sample_loss", "float32"),  # (N,)
        ("correct", "int32"),  # (N,) 0 or 1
        ("logits", "float32"),
        ("labels", "int32"),
        ("state", "int32"),
    ),
    "update": (
        ("parameters", "float32"),
        ("velocity", "float32"),
        ("gradient", "float32"),  # every layer's partial sums, one arena
        ("learning_rates", "float32"),  # (steps,) of this epoch
        ("losses", "float32"),  # (steps,)
        ("hits", "int32"),  # (steps,) correct predictions
        ("sample_loss", "float32"),
        ("correct", "int32"),
        ("state", "int32"),
    ),
    "collect_metrics": (
        ("losses", "float32"),
        ("hits", "int32"),
        ("sample_loss", "float32"),
        ("correct", "int32"),
        ("state", "int32"),
    ),
}


# Arguments that each operation must write whole, whatever they held before (a max-pool's winner too, but average
# pooling has none; the state, and what an update changes in place, is not among them).
OUTPUTS = {
    "probe": ("y",),
    "load_batch": ("input", "labels"),
    "conv_forward": ("y",),
    "conv_pool_forward": ("y", "winner"),
    "conv_input_gradient": ("dx",),
    "conv_weight_gradient": ("gradient",),
    "pool_forward": ("y",),
    "pool_input_gradient": ("dx",),
    "relu_forward": ("y",),
    "relu_input_gradient": ("dx",),
    "activation_forward": ("y",),
    "activation_input_gradient": ("dx",),
    "dense_forward": ("y",),
    "dense_input_gradient": ("dx",),
    "dense_weight_gradient": ("gradient",),
    "softmax_cross_entropy": ("d_logits", "sample_loss", "correct"),
}


@dataclass(frozen=True)
class Kernel:
    """A kernel body specialised to its geometry, and how to launch it.

    Parameters
    ----------
    operation : str
        A key of `ARGUMENTS`; it fixes the order and types of the body's arguments.
    body : callable
        Plain Python function of the flat arrays; compiled by compiler.py, interpreted by the simulator and trace.py.
    grid, block : tuple of 3 int
        Blocks and threads a block.
    shared_bytes : int
        Dynamic shared memory of a block, bytes.
    scratch_bytes : int
        Bytes of scratch that the body gets as one more float32 argument at the end; 0: no such argument.
    splits : int
        Partial sums that a weight gradient writes; 1 for everything else.
    blocks_per_multiprocessor : int
        Blocks that must fit a multiprocessor at once: caps the registers a thread at 65536 / (threads * blocks).
    """

    operation: str
    body: Callable
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0
    scratch_bytes: int = 0
    splits: int = 1
    blocks_per_multiprocessor: int = 1

    @property
    def arguments(self):
        """(name, dtype) of every argument, in order."""
        scratch = (("scratch", "float32"),) if self.scratch_bytes else ()
        return ARGUMENTS[self.operation] + scratch

    @property
    def threads(self):
        """Threads a block."""
        return self.block[0] * self.block[1] * self.block[2]
