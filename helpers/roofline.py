"""Roofline: the arithmetic and the traffic that an operation cannot avoid, and the time a card needs for them.

Knows operations, tensors and what the card says of itself; must not learn how a kernel works or how it is timed.
"""

from dataclasses import dataclass
from math import prod

ITEM_BYTES = {"float": 4, "uint8": 1, "int32": 4}


@dataclass(frozen=True)
class Work:
    """What one run of an operation must do: floating-point operations, and bytes to and from memory."""

    flops: int
    bytes: int

    def __add__(self, other):
        return Work(self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True)
class Floor:
    """The least time of some work on a card: `seconds`, and the `limit` that sets it ("arithmetic" or "bandwidth")."""

    seconds: float
    limit: str


def operation_work(op, program, batch_size):
    """Work of one operation of a training step.

    Flops: 2 a multiply-add of convolutions and dense layers, windows counted whole; pooling, activations, the loss
    and the update count as traffic only. Bytes: each input read once, each output written once, float32; partial
    sums and re-reads are a kernel's own doing and do not count.

    Parameters
    ----------
    op : Op
    program : Program
        Where the shapes of the operation's tensors are found.
    batch_size : int

    Returns
    -------
    Work
    """
    weights = 4 * sum(parameter.size for parameter in op.parameters)
    if op.kind == "update":
        return Work(0, 5 * weights)  # reads parameters, velocity, gradient; writes the first two
    names = [*op.inputs, *op.outputs, *([op.mask] if op.mask else [])]
    traffic = sum(_tensor_bytes(program.tensors[name]) for name in names)
    if op.kind == "load_batch":
        traffic += prod(program.network.input_shape) + 1  # the uint8 image and its label
    if op.kind.endswith("_input_gradient") and op.parameters:
        weights -= 4 * op.parameters[-1].size  # the bias is not read
    macs = getattr(op.geometry, "macs", 0)
    return Work(2 * macs * batch_size, traffic * batch_size + weights)


def _tensor_bytes(tensor):
    return prod(tensor.shape) * ITEM_BYTES[tensor.dtype]


def floor(work, properties):
    """Least time of `work` in fp32 on a card.

    Parameters
    ----------
    work : Work
    properties : DeviceProperties
        Anything with `fp32_flops` (FLOP/s) and `bandwidth` (bytes/s).

    Returns
    -------
    Floor
        The larger of arithmetic and traffic, as in Williams, Waterman and Patterson, Roofline, 2009.
    """
    arithmetic, traffic = work.flops / properties.fp32_flops, work.bytes / properties.bandwidth
    return Floor(arithmetic, "arithmetic") if arithmetic > traffic else Floor(traffic, "bandwidth")


def roofline(op, program, batch_size, properties):
    """`Floor` of one operation of `program` on a card: `floor` of its `operation_work`."""
    return floor(operation_work(op, program, batch_size), properties)
