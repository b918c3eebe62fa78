"""One training step on the card: buffers for its tensors, a kernel for each operation, and their launches in order.

Knows programs, memory plans and kernels; must not learn about epochs, data sets or graphs.
"""

from math import prod

import numpy as np

from helpers import device
from helpers.graphs import Event
from helpers.kernels.catalogue import make_kernel
from helpers.kernels.state import WORDS
from helpers.kernels.update import collect_metrics, update
from helpers.lowering import Op
from helpers.memory import plan_memory

ALIGNMENT = 4  # floats: each layer's weights start at a multiple of 16 bytes, so that kernels can load 128 bits


class DeviceStep:
    """A program placed on the card.

    Parameters
    ----------
    program : lowering.Program
    optimizer : SGD
    batch : int
    replacements : dict of str to factory
        A reader's kernels by operation.
    load : callable
        compiler.load: kernels to launchables.
    """

    def __init__(self, program, optimizer, batch, replacements, load):
        self.program, self.batch = program, batch
        self.training_ops = program.ops
        collect = Op("collect_metrics", "metrics", (), ())
        self.evaluation_ops = (*program.forward, program.loss, collect)
        self._place_parameters()
        made = {op: make_kernel(op, batch, program.tensors, replacements) for op in program.ops[:-1]}
        segments = self._place_gradients(made)
        made[program.ops[-1]] = update(program.ops[-1], batch, segments, optimizer.momentum)
        made[collect] = collect_metrics(collect, batch)
        self._kernels = {op: (kernel, run) for (op, kernel), run in zip(made.items(), load(list(made.values())))}
        self._allocate()

    def _place_parameters(self):
        """Offsets, in floats, of parameters in the engine's own vector: as the visible one, each layer aligned."""
        self._offsets, self._layers, position = {}, {}, 0
        for stage in self.program.network.stages:
            if stage.parameters:
                size = sum(p.size for p in stage.parameters)
                self._layers[stage.name] = (position, size)
                for parameter in stage.parameters:
                    self._offsets[parameter] = position + parameter.offset - stage.parameters[0].offset
                position += -(-size // ALIGNMENT) * ALIGNMENT
        self._parameter_floats = position

    def _place_gradients(self, made):
        """Place each layer's partial sums in one arena; segments (parameter offset, size, splits, arena offset)."""
        self._partials, segments, position = {}, [], 0
        for op, kernel in made.items():
            if op.kind.endswith("_weight_gradient"):
                offset, size = self._layers[op.layer]
                self._partials[op.layer] = (position, kernel.splits * size)
                segments.append((offset, size, kernel.splits, position))
                position += -(-kernel.splits * size // ALIGNMENT) * ALIGNMENT
        self._gradient_floats = position
        return tuple(sorted(segments))

    def _allocate(self):
        """Every buffer: one arena for the tensors, the parameters and slots, the metrics."""
        self.plan = plan_memory(self.program, self.batch)
        self._arena = device.empty(self.plan.size, np.uint8)
        kinds = {"float": np.float32, "uint8": np.uint8, "int32": np.int32}
        self.tensors = {
            name: device.view(
                self._arena, self.plan.placements[name].offset, self.batch * prod(t.shape), kinds[t.dtype]
            )
            for name, t in self.program.tensors.items()
        }
        channels = self.program.network.input_shape[-1]
        self.buffers = {
            "parameters": device.empty(self._parameter_floats),
            "velocity": device.empty(self._parameter_floats),
            "gradient": device.empty(self._gradient_floats),
            "scale": device.empty(2 * channels),
        }
        device.fill(self._arena, 0xFF)  # NaN until written
        device.fill(self.buffers["gradient"], 0xFF)
        self._scratch = {
            kernel: device.empty(kernel.scratch_bytes // 4)
            for kernel, _ in self._kernels.values()
            if kernel.scratch_bytes
        }
        self.reserved_steps = 0

    def reserve(self, steps):
        """Make room for what steers and reports `steps` steps: state, losses, hits and learning rates, one block."""
        if steps <= self.reserved_steps:
            return
        self.reserved_steps, position = steps, 0
        self._control = device.empty(WORDS + 3 * steps, np.int32)
        sizes = {"state": WORDS, "losses": steps, "hits": steps, "learning_rates": steps}
        for name, size in sizes.items():
            dtype = np.int32 if name in ("state", "hits") else np.float32
            self.buffers[name] = device.view(self._control, 4 * position, size, dtype)
            position += size

    def steer(self, state, learning_rates=()):
        """Write the state words and this epoch's learning rates, and poison the losses: one copy to the card."""
        control = np.full(self._control.size, -1, np.int32)  # NaN, read as float32
        control[:WORDS] = state
        rates = np.asarray(learning_rates, np.float32)
        control[self._control.size - self.reserved_steps :][: len(rates)] = rates.view(np.int32)
        device.write(self._control, control)

    def report(self, steps):
        """State words, and losses and hits of the first `steps` steps: one copy from the card."""
        control = device.to_host(device.view(self._control, 0, WORDS + 2 * self.reserved_steps, np.int32))
        losses, hits = control[WORDS:].reshape(2, -1)[:, :steps]
        return control[:WORDS], losses.copy().view(np.float32), hits

    def launches(self, images, labels, ops):
        """(op, Kernel, launchable, arrays) of `ops`, reading the data set `images`, `labels` on the card."""
        self.reserve(1)
        data = {"images": images, "all_labels": labels}
        result = []
        for op in ops:
            kernel, run = self._kernels[op]
            result.append((op, kernel, run, [self._argument(op, kernel, name, data) for name, _ in kernel.arguments]))
        return result

    def queue(self, images, labels, ops, stream, side):
        """Function that queues one step of `ops` on `stream`.

        Weight gradients depend on nothing that follows them, so they go to the stream `side`, beside the chain of
        input gradients; the update waits for both.
        """
        launches = self.launches(images, labels, ops)
        if stream is None:
            return lambda: [run(*arrays) for _, _, run, arrays in launches]
        forks = {i: Event(timing=False) for i, launch in enumerate(launches) if _is_weight_gradient(launch[0])}
        done = Event(timing=False)

        def run_step():
            for i, (op, _, run, arrays) in enumerate(launches):
                if i in forks:
                    side.wait(forks[i].record(stream))
                    run(*arrays, stream=side)
                    continue
                if op.kind == "update" and forks:
                    stream.wait(done.record(side))
                run(*arrays, stream=stream)

        return run_step

    def _argument(self, op, kernel, name, data):
        """The array that an operation's argument `name` stands for."""
        forward = op.kind.endswith("_forward")
        if name in data:
            return data[name]
        if name in self.buffers and not (name == "gradient" and op.kind != "update"):
            return self.buffers[name]
        if name == "gradient":
            offset, size = self._partials[op.layer]
            return device.view(self.buffers["gradient"], 4 * offset, size, np.float32)
        if name in ("w", "b"):
            parameter = op.parameters["wb".index(name)]
            return device.view(self.buffers["parameters"], 4 * self._offsets[parameter], parameter.size, np.float32)
        if name == "scratch":
            return self._scratch[kernel]
        tensor = {
            "y": op.outputs[:1] if forward else op.inputs[-1:],
            "dx": op.outputs[:1],
            "d_logits": op.outputs[:1],
            "x": op.inputs[:1],
            "logits": op.inputs[:1],
            "dy": op.inputs[1:2] if _is_weight_gradient(op) else op.inputs[:1],
            "winner": [t for t in op.inputs + op.outputs if t.endswith(".winner")],
            "mask": op.mask,
            "sample_loss": "loss",
        }.get(name, name)
        tensor = tensor if isinstance(tensor, str) else next(iter(tensor or ()), None)
        # An operation that does not use an optional argument gets the parameters: any valid address will do.
        return self.tensors[tensor] if tensor else self.buffers["parameters"]

    def read_slots(self):
        """Parameters and velocity in the visible layout."""
        return {name: self._visible(device.to_host(self.buffers[name])) for name in ("parameters", "velocity")}

    def write_slots(self, state):
        """Take parameters and velocity over from the visible layout."""
        for name in ("parameters", "velocity"):
            padded = np.zeros(self._parameter_floats, np.float32)
            for parameter, offset in self._offsets.items():
                padded[offset : offset + parameter.size] = state[name][parameter.slice]
            device.write(self.buffers[name], padded)

    def _visible(self, padded):
        return np.concatenate([padded[offset : offset + p.size] for p, offset in self._offsets.items()])

    @property
    def memory(self):
        """Bytes by purpose."""
        bytes_of = {name: array.nbytes for name, array in self.buffers.items()}
        return {
            "parameters": bytes_of["parameters"],
            "optimizer": bytes_of["velocity"],
            "activations": self.plan.purposes["activations"],
            "gradients": self.plan.purposes["gradients"] + bytes_of["gradient"],
            "scratch": sum(array.nbytes for array in self._scratch.values()),
        }


def _is_weight_gradient(op):
    return op.kind.endswith("_weight_gradient")
