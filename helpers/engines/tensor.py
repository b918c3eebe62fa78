"""Engine `tensor`: as `layerwise`, but layers multiply on tensor cores, in a reduced precision.

Activations stay in the precision's words, in the layout that the kernels want, from the first layer on; sums, the
loss, the master weights and their update are float32. In fp16 the loss is scaled, see kernels/tensor/loss_scale.py.
Knows programs and kernels of tensor cores and the device; must not learn about files or notebooks.
"""

import time

import numpy as np

from helpers import device, graphs
from helpers.compiler import load
from helpers.device import SIMULATOR
from helpers.engines import TENSOR_PRECISIONS
from helpers.engines.base import Engine
from helpers.engines.layerwise import LayerwiseEngine
from helpers.engines.tensor_step import TensorStep
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.loss_scale import SAVED, START
from helpers.kernels.tensor.tables import table_name
from helpers.kernels.tensor.tiling import Card
from helpers.tensor_program import tensor_program

MODES = ("graph", "resident")
SIMULATED = (8, 0)  # compute capability whose kernels the interpreter runs


class TensorEngine(LayerwiseEngine):
    """Trains a Network with one CUDA kernel per fused operation, on tensor cores.

    Parameters
    ----------
    network, optimizer, batch_size, seed
        As in `Engine`.
    precision : {"bf16", "fp16", "tf32", "3xtf32"}
        Of the factors of every product; "3xtf32" makes three products of tf32, about as exact as float32.
    mode : {"graph", "resident"}
        An epoch is one graph launch, or a launch per kernel; in the simulator always the latter.

    Raises
    ------
    ValueError
        For a layer, or a precision on a card, that has no kernel here.
    DeviceError
        Without a GPU, unless NUMBA_ENABLE_CUDASIM=1 selects the simulator.
    """

    name = "tensor"
    precisions = TENSOR_PRECISIONS

    def __init__(self, network, optimizer, batch_size=128, precision="bf16", seed=0, mode="graph", kernels=None):
        Engine.__init__(self, network, optimizer, batch_size, precision, seed)
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; expected {', '.join(map(repr, MODES))}")
        if kernels:
            raise ValueError("engine 'tensor' takes no kernels of your own; choose precision 'fp32', whose engine does")
        started = time.perf_counter()
        form = format_of(precision, SIMULATED if SIMULATOR else device.capability())
        program = tensor_program(network)
        self.mode = "resident" if SIMULATOR else mode
        self.step = TensorStep(program, optimizer, self.batch_size, form, card_here(), load)
        self.compile_seconds = time.perf_counter() - started
        self._stream = None if SIMULATOR else graphs.Stream()
        self._side = None if SIMULATOR else graphs.Stream()
        self._splits, self._graphs = {}, {}
        self._load_state(self.initial_state())

    def initial_state(self):
        """As of every engine; in fp16 with the loss scale and the number of good steps since it last changed."""
        scaling = {"loss_scale": np.array([START, 0], np.float32)} if self.precision == "fp16" else {}
        return {**super().initial_state(), **scaling}

    def load_state(self, state):
        """As of every engine; a state without a loss scale, of another precision or engine, gets the first one."""
        if self.precision == "fp16":
            state = {"loss_scale": self.initial_state()["loss_scale"], **state}
            scale = np.asarray(state["loss_scale"])
            if scale.shape == (SAVED,) and np.frexp(scale[0])[0] != 0.5:
                raise ValueError(f"the loss scale is {scale[0]}; expected a power of two")
        super().load_state(state)

    def _predict(self, images):
        data = device.to_device(np.ascontiguousarray(images).reshape(-1))
        labels = device.to_device(np.zeros(len(images), np.uint8))
        steps = -(-len(images) // self.batch_size)
        self._begin(steps, len(images), shuffle=0)
        queue = self.step.queue(data, labels, self.step.evaluation_ops, self._stream, self._side)
        logits = []
        for _ in range(steps):
            queue()
            padded = device.to_host(self.step.tensors[self.step.program.logits])
            logits.append(padded.reshape(self.batch_size, -1)[:, : self.network.classes])
        return np.concatenate(logits)[: len(images)]


def card_here():
    """What tiles are chosen by: the card's properties and its table, less shared memory where a T4's path is forced;
    small ones without a card.
    """
    if SIMULATOR:
        return Card(4, 64 * 1024)
    properties, forced = device.device_properties(), device.capability()
    table = table_name(properties.name, properties.capability, forced)
    as_on_t4 = forced < (8, 0) <= properties.capability
    shared_bytes = 64 * 1024 if as_on_t4 else properties.shared_bytes_per_block
    return Card(properties.multiprocessors, shared_bytes, table=table)
