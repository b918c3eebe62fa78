"""The forward operations of a lowered program as PyTorch layers, and their weights' layouts.

Imports torch: read this module only when the engine `pytorch` is made. Knows lowering and geometry; must not learn
how a step or an epoch is run.

PyTorch has channels first: images (N, C, [D,] H, W), weights (K, C, [kd,] kh, kw) and (out, in), where the inputs of
a dense layer behind an image are in the order (C, [D,] H, W).
"""

from dataclasses import astuple
from math import prod

import numpy as np
import torch
from torch import nn

from helpers.engines.framework import window_padding
from helpers.layers import ELU, LeakyReLU, Sigmoid, Tanh
from helpers.reference import window_counts

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
PADDING = {2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
# type of a layer's description: PyTorch's class, which takes the description's constants
ACTIVATIONS = {LeakyReLU: nn.LeakyReLU, ELU: nn.ELU, Sigmoid: nn.Sigmoid, Tanh: nn.Tanh}


class ProgramModule(nn.Module):
    """Images (N, C, [D,] H, W), normalised, to logits (N, classes).

    Parameters
    ----------
    program : Program
        As lowered, nothing fused.
    rank : int
        Spatial axes of the images, 2 or 3.
    """

    def __init__(self, program, rank):
        super().__init__()
        ops = program.forward[1:]  # behind load_batch
        self._places = [(op.layer, op.inputs[0], op.outputs[0]) for op in ops]
        self._logits = program.logits
        self.layers = nn.ModuleDict({op.layer: MAKERS[op.kind](op.geometry, rank) for op in ops})
        self._weighted = {p.name: (op, program.tensors[op.inputs[0]].shape) for op in ops for p in op.parameters}

    def forward(self, images):
        tensors = {"input": images}
        for layer, source, target in self._places:
            tensors[target] = self.layers[layer](tensors[source])
        return tensors[self._logits]

    def named_weights(self):
        """(documented name, torch parameter, operation, shape of the operation's input) of every parameter."""
        for name, (op, input_shape) in self._weighted.items():
            *_, layer = self.layers[op.layer].children()
            yield name, getattr(layer, name.rsplit(".", 1)[1]), op, input_shape


def to_torch(array, op, input_shape):
    """An array of the documented layout (see the module) in PyTorch's, C order."""
    if array.ndim == 1:
        return array
    if op.kind == "conv_forward":
        return np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1)))
    spatial = np.moveaxis(array.reshape(*input_shape, -1), (-1, -2), (0, 1))
    return np.ascontiguousarray(spatial.reshape(array.shape[1], -1))


def from_torch(array, op, input_shape):
    """The inverse of `to_torch`."""
    if array.ndim == 1:
        return array
    if op.kind == "conv_forward":
        return np.moveaxis(array, (0, 1), (-1, -2)).reshape(op.geometry.weight_shape)
    spatial = array.reshape(-1, *input_shape[-1:], *input_shape[:-1])
    return np.moveaxis(spatial, (0, 1), (-1, -2)).reshape(-1, array.shape[0])


def _conv(geometry, rank):
    pad, inside = _padding(geometry, rank, 0.0)
    sizes = geometry.kernel[-rank:], geometry.stride[-rank:], inside
    return nn.Sequential(*pad, CONVOLUTION[rank](geometry.in_channels, geometry.out_channels, *sizes))


def _pool(geometry, rank):
    window, stride = geometry.window[-rank:], geometry.stride[-rank:]
    if geometry.mode == "max":
        pad, inside = _padding(geometry, rank, float("-inf"))
        return nn.Sequential(*pad, MAX_POOL[rank](window, stride, inside))
    pad, inside = _padding(geometry, rank, 0.0)
    pool = AVERAGE_POOL[rank](window, stride, inside, count_include_pad=False)
    return nn.Sequential(*pad, pool, *([RealCount(geometry, rank)] if pad else []))


def _relu(geometry, rank):
    return nn.ReLU()


def _activation(geometry, rank):
    return ACTIVATIONS[type(geometry.function)](*astuple(geometry.function))


def _dense(geometry, rank):
    return nn.Sequential(nn.Flatten(), nn.Linear(geometry.inputs, geometry.outputs))


MAKERS = {
    "conv_forward": _conv,
    "pool_forward": _pool,
    "relu_forward": _relu,
    "activation_forward": _activation,
    "dense_forward": _dense,
}


class RealCount(nn.Module):
    """Turns means over padded windows into means over the cells that are really there."""

    def __init__(self, geometry, rank):
        super().__init__()
        ratio = prod(geometry.window) / window_counts(geometry, np.float32)[..., 0]
        self.register_buffer("ratio", torch.from_numpy(ratio.reshape(ratio.shape[3 - rank :])))

    def forward(self, means):
        return means * self.ratio


def _padding(geometry, rank, value):
    """(layers that pad, padding inside the windowed layer): the layer's own where it gives the geometry's outputs."""
    pads = window_padding(geometry)[3 - rank :]
    before = tuple(front for front, _ in pads)
    axes = zip(geometry.in_shape[3 - rank :], geometry.out_shape[3 - rank :], geometry.window[-rank:],
               geometry.stride[-rank:], before)  # fmt: skip
    if all(2 * p <= window and (size + 2 * p - window) // stride + 1 == outputs
           for size, outputs, window, stride, p in axes):  # fmt: skip
        return [], before
    flat = [cells for pair in reversed(pads) for cells in pair]
    return [PADDING[rank](flat, value)], (0,) * rank
