"""One training step on tensor cores: buffers for its tensors in words, weights packed beside their float32 masters.

Knows programs and kernels of tensor cores; must not learn about epochs, data sets or graphs.
"""

from math import prod

import numpy as np

from helpers import device
from helpers.engines.step import DeviceStep
from helpers.kernels.tensor.catalogue import make_kernel, surroundings
from helpers.kernels.tensor.layout import Packing
from helpers.kernels.tensor.loss_scale import CELLS, SAVED, sum_weight_gradient
from helpers.kernels.tensor.update import LayerUpdate, pack_weights, update
from helpers.kernels.update import collect_metrics
from helpers.lowering import Op
from helpers.memory import plan_memory

WORD = 4  # bytes
MOST_VALUES = 2**32  # of a tensor: kernels divide 32-bit indices


class TensorStep(DeviceStep):
    """A program of tensor_program.py placed on the card.

    Parameters
    ----------
    program : lowering.Program
    optimizer : SGD
    batch : int
    form : Format
    card : Card
    load : callable
        compiler.load: kernels to launchables.
    """

    def __init__(self, program, optimizer, batch, form, card, load):
        self.program, self.batch, self.form = program, batch, form
        last = program.ops[-1]
        # its kind tells the queue what it is: queued beside the input gradients, behind the weight gradients
        sums = Op("sum_weight_gradient", last.layer, (), (), parameters=last.parameters)
        self.training_ops = (*program.ops[:-1], *((sums,) if form.scaled else ()), last)
        collect = Op("collect_metrics", "metrics", (), ())
        self.evaluation_ops = (*program.forward, program.loss, collect)
        self._place_parameters()
        self._place_packed()
        made = {op: make_kernel(op, batch, program, form, card) for op in program.ops[:-1]}
        segments = {offset: (splits, source) for offset, _, splits, source in self._place_gradients(made)}
        layers = tuple(
            LayerUpdate(offset, size, *segments[offset], self._packings[name], *self._packed[name])
            for name, (offset, size) in self._layers.items()
        )
        if form.scaled:
            made[sums] = sum_weight_gradient(layers)
        self._flags = made[sums].grid[0] if form.scaled else 0
        made[last] = update(last, batch, layers, optimizer.momentum, form, flags=self._flags)
        made[collect] = collect_metrics(collect, batch)
        self._kernels = {op: (kernel, run) for (op, kernel), run in zip(made.items(), load(list(made.values())))}
        self._allocate()

    def _place_packed(self):
        """Where each layer's weights begin in the packed ones, in values: forward, and for the input gradient."""
        self._packings, self._packed, position = {}, {}, 0
        backward = {op.layer for op in self.program.backward if op.kind.endswith("_input_gradient")}
        for op in self.program.forward:
            if not op.parameters:
                continue
            packing = self._packings[op.layer] = self._packing(op)
            back = position + packing.size if op.layer in backward else None
            self._packed[op.layer] = (position, back)
            position += packing.size * (2 if op.layer in backward else 1)
        self._packed_values = position

    def _packing(self, op):
        around, packed = surroundings(self.program, op), self.form.packed
        if op.kind == "dense_forward":
            return Packing(around.cells, around.image[3], op.geometry.outputs, (1, 1, 1), packed)
        g = op.geometry
        if around.unfolded:
            return Packing(1, prod(g.weight_shape[:-1]), g.out_channels, (1, 1, 1), packed)
        return Packing(prod(g.kernel), g.in_channels, g.out_channels, g.kernel, packed)

    def _allocate(self):
        """Every buffer: one arena for the tensors, the parameters, slots and packed weights."""
        width = WORD // self.form.packed
        self.plan = plan_memory(self.program, self.batch, width, reuse=False)  # what is zeroed once stays zero
        self._arena = device.empty(self.plan.size, np.uint8)
        device.fill(self._arena, 0xFF)  # NaN until written
        self.tensors = {}
        for name, tensor in self.program.tensors.items():
            if self.batch * prod(tensor.shape) >= MOST_VALUES:
                raise ValueError(
                    f"{name} has {self.batch * prod(tensor.shape)} values; kernels count up to {MOST_VALUES}: choose a "
                    "smaller batch"
                )
            place = self.plan.placements[name]
            kind = np.int32 if tensor.dtype == "int32" else np.float32
            self.tensors[name] = device.view(self._arena, place.offset, place.size // WORD, kind)
        for op in self.program.backward:
            if op.pool:  # cells that no window of the pooling covers stay zero
                device.fill(self.tensors[op.outputs[0]], 0)
        channels = self.program.network.input_shape[-1]
        self.buffers = {
            "parameters": device.empty(self._parameter_floats),
            "velocity": device.empty(self._parameter_floats),
            "gradient": device.empty(self._gradient_floats),
            "scale": device.empty(2 * channels),
            "packed": device.empty(self._packed_values, np.dtype(self.form.storage)),
        }
        if self.form.scaled:
            self.buffers |= {"loss_scale": device.empty(CELLS), "overflows": device.empty(self._flags, np.int32)}
        device.fill(self.buffers["gradient"], 0xFF)
        self._scratch, self.reserved_steps = {}, 0

    def _argument(self, op, kernel, name, data):
        """The array that an operation's argument `name` stands for."""
        if name == "w":
            forward, backward = self._packed[op.layer]
            first = (forward if op.kind.endswith("_forward") else backward) * WORD // self.form.packed
            size = self._packings[op.layer].size // self.form.packed
            return device.view(self.buffers["packed"], first, size, np.float32)
        if op.kind == "sum_weight_gradient":
            return self.buffers[name]  # the gradients of every layer
        if name == "gate":
            gates = [t for t in (*op.outputs, op.mask or "") if t.endswith(".gate")]
            return self.tensors[gates[0] if gates else "labels"]  # without gates: any valid address will do
        return super()._argument(op, kernel, name, data)

    def read_slots(self):
        """Parameters and velocity in the visible layout; of a scaled loss also its scale and good steps."""
        slots = super().read_slots()
        if self.form.scaled:
            slots["loss_scale"] = device.to_host(self.buffers["loss_scale"])[:SAVED].copy()
        return slots

    def write_slots(self, state):
        """Take parameters and velocity over from the visible layout, and pack the weights."""
        super().write_slots(state)
        if self.form.scaled:
            cells = np.ones(CELLS, np.float32)  # the last is set by each step's loss
            cells[:SAVED] = state["loss_scale"]
            device.write(self.buffers["loss_scale"], cells)
        packed = np.zeros(self._packed_values, self.form.storage)
        for stage in self.program.network.stages:
            if not stage.parameters:
                continue
            packing, (forward, backward) = self._packings[stage.name], self._packed[stage.name]
            weights = np.asarray(state["parameters"], np.float32)[stage.parameters[0].slice]
            for first, values in zip((forward, backward), pack_weights(weights, packing, self.form.name)):
                if first is not None:
                    packed[first : first + packing.size] = values
        device.write(self.buffers["packed"], packed)

    @property
    def memory(self):
        purposes = super().memory
        more = {"parameters": "packed", **({"optimizer": "loss_scale", "scratch": "overflows"} if self._flags else {})}
        return {**purposes, **{name: purposes[name] + self.buffers[of].nbytes for name, of in more.items()}}
