"""Engine `pytorch`: the same network, data order and update in PyTorch, in its ordinary and its best forms.

Knows PyTorch's ways to run a step and an epoch; must not learn about layers or their layouts (pytorch_layers.py).
"""

from contextlib import nullcontext
from importlib import import_module

import numpy as np

from helpers.engines.framework import FrameworkEngine, spatial_rank

COMPILER_OPTIONS = {"combo_kernels": True}  # small independent kernels, as the casts of all weights, become one
WARM_UP_STEPS = 3  # before a capture: libraries choose algorithms and allocate outside of it


class PyTorchEngine(FrameworkEngine):
    """Trains with PyTorch, on its GPU where it finds one.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`. "fp32" forbids TF32; "bf16" is autocast over fp32 weights.
    form : {"eager", "compile", "epoch graph", "compile + epoch graph"}
        A training loop as users write it; forward and backward compiled; all steps of an epoch captured as one CUDA
        graph; both.
    channels_last : bool
        Images and filters in PyTorch's channels-last memory format.

    Raises
    ------
    ValueError
        For a graph or TF32 without a GPU.
    """

    name = "pytorch"
    package = "torch"
    precisions = ("fp32", "tf32", "bf16")
    forms = ("eager", "compile", "epoch graph", "compile + epoch graph")

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, form=None, channels_last=False):
        super().__init__(network, optimizer, batch_size, precision, seed, form)
        torch = self._framework
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu" and ("graph" in self.form or precision == "tf32"):
            wanted = f"form {self.form!r}" if "graph" in self.form else "precision 'tf32'"
            raise ValueError(f"{wanted} needs a GPU that PyTorch finds; choose 'eager' or 'compile' with 'fp32'")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = self.form != "eager"
        torch.backends.cudnn.benchmark_limit = 0  # no algorithm is left out
        last = {2: torch.channels_last, 3: torch.channels_last_3d}[spatial_rank(network)]
        self._format = last if channels_last else torch.contiguous_format
        self._make_model()
        self._load_state(self.initial_state())

    @property
    def on_gpu(self):
        return self.device.type == "cuda"

    def _make_model(self):
        torch, self._layers = self._framework, import_module("helpers.engines.pytorch_layers")
        model = self._layers.ProgramModule(self._program, spatial_rank(self.network))
        self._model = model.to(self.device).to(memory_format=self._format)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), lr=1.0, momentum=self.optimizer.momentum, fused="graph" in self.form or None
        )
        for parameter in self._model.parameters():
            self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        if "compile" in self.form:
            torch.compiler.reset()  # what an engine of other shapes left in this process would make sizes variable
            self._loss = torch.compile(self._mean_loss, options=COMPILER_OPTIONS if self.on_gpu else None)
        else:
            self._loss = self._mean_loss
        self._graphs = {}

    def _load_split(self, images, labels):
        self._graphs = {}
        self._scale = [self._framework.from_numpy(row).to(self.device) for row in self.dataset.scale]
        self._images, self._labels = self._images_to_device(images), self._tensor(labels.astype(np.int64))

    def _tensor(self, array):
        return self._framework.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _images_to_device(self, images):
        """uint8 images, channels first, in the engine's memory format."""
        return self._tensor(images).movedim(-1, 1).contiguous(memory_format=self._format)

    def _to_device(self, order):
        return self._tensor(order)

    def _normalized(self, images):
        """float32 of uint8 images (N, C, [D,] H, W)."""
        factor, shift = (row.reshape(-1, *(1,) * (images.ndim - 2)) for row in self._scale)
        return images.to(self._framework.float32) * factor + shift

    def _forward(self, images):
        with self._reduced():
            return self._model(self._normalized(images)).float()

    def _reduced(self):
        """The context that makes PyTorch compute in bfloat16, where that is wanted."""
        if self.precision != "bf16":
            return nullcontext()
        return self._framework.autocast(self.device.type, self._framework.bfloat16)

    def _mean_loss(self, samples):
        """Of the samples of a step; gathered here, so that the compiler fuses it with what follows."""
        logits = self._forward(self._images[samples])
        return self._framework.nn.functional.cross_entropy(logits, self._labels[samples])

    def _step(self, samples, rate):
        """One step on the given samples; its loss, not yet waited for."""
        loss = self._loss(samples)
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _run_steps(self, order, rates):
        if "graph" in self.form:
            return self._run_graph(order, rates)
        losses = [self._step(samples, float(rate)) for samples, rate in zip(order, rates)]
        return self._framework.stack(losses).cpu().numpy()

    def _run_graph(self, order, rates):
        """Replay all steps, captured at the first call for their number, on buffers that the graph reads."""
        steps = len(rates)
        if steps not in self._graphs:
            self._graphs[steps] = self._capture(order, steps)
        graph, own_order, own_rates, losses = self._graphs[steps]
        if own_order.data_ptr() != order.data_ptr():
            own_order.copy_(order[:steps])
        own_rates.copy_(self._tensor(rates))
        graph.replay()
        return losses.cpu().numpy()

    def _capture(self, order, steps):
        torch = self._framework
        order, rates = order[:steps].clone(), torch.zeros(steps, device=self.device)
        losses = torch.zeros(steps, device=self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        saved = self._read_slots()
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                self._step(order[0], rates[0])
        torch.cuda.current_stream().wait_stream(side)
        self._write_slots(*saved)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for step in range(steps):
                losses[step] = self._step(order[step], rates[step])
        return graph, order, rates, losses

    def _logits(self, images):
        with self._framework.inference_mode():
            return self._forward(self._images_to_device(images)).cpu().numpy()

    def _read_slots(self):
        parameters, velocity = {}, {}
        for name, parameter, *place in self._model.named_weights():
            momentum = self._optimizer.state[parameter]["momentum_buffer"]
            parameters[name] = self._layers.from_torch(parameter.detach().cpu().numpy(), *place)
            velocity[name] = self._layers.from_torch(momentum.cpu().numpy(), *place)
        return parameters, velocity

    def _write_slots(self, parameters, velocity):
        """Into the tensors that are there: a captured graph knows their addresses."""
        for name, parameter, *place in self._model.named_weights():
            momentum = self._optimizer.state[parameter]["momentum_buffer"]
            for tensor, array in ((parameter.data, parameters[name]), (momentum, velocity[name])):
                tensor.copy_(self._tensor(self._layers.to_torch(array, *place)).reshape(tensor.shape))
