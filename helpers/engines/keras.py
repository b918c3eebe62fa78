"""Engine `keras`: the same network, data order and update as Keras users write them: a Sequential model and fit.

Knows Keras's layers, metrics and optimizers; must not learn which backend computes, beyond its name.
"""

import os
import sys
from importlib import import_module

import numpy as np

from helpers.engines.framework import FrameworkEngine
from helpers.layers import Conv, Dense, Flatten, Pool, ReLU

BACKENDS = ("tensorflow", "jax", "torch")
LARGEST_EXECUTION = 64  # steps that "best settings" gives to the device at once


class KerasEngine(FrameworkEngine):
    """Trains with Keras: images are normalised and put in order by the host before an epoch; fit feeds them.

    Parameters
    ----------
    network, optimizer, batch_size, seed
        As in `Engine`.
    form : {"fit", "fit, best settings"}
        As users write it; or with steps_per_execution and XLA, which the backend "torch" does not offer.
    backend : {"tensorflow", "jax", "torch"}, optional
        The variable KERAS_BACKEND by default, else "tensorflow".

    Raises
    ------
    ValueError
        For a backend other than the one that this process has imported Keras with, or a layer that Keras lacks.
    """

    name = "keras"
    package = "keras"
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    forms = ("fit", "fit, best settings")

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, form=None, backend=None):
        choose_backend(backend)
        super().__init__(network, optimizer, batch_size, precision, seed, form)
        self.backend = self._framework.config.backend()
        if self.backend == "torch" and self.form != "fit":
            raise ValueError(
                f"form {self.form!r} needs XLA, which Keras's backend 'torch' does not offer; choose 'fit'"
            )
        forbid_tf32(self.backend)
        layers = [layer for stage in network.stages for layer in self._make_layers(stage)]
        self._model = self._framework.Sequential([self._framework.Input(network.input_shape), *layers])
        self._optimizer = None  # made for the number of steps of an epoch, when the data set is known
        self._load_state(self.initial_state())

    @property
    def on_gpu(self):
        framework = import_module(self.backend)
        if self.backend == "tensorflow":
            return bool(framework.config.list_physical_devices("GPU"))
        return framework.default_backend() == "gpu" if self.backend == "jax" else framework.cuda.is_available()

    def _make_layers(self, stage):
        """Keras's layers of one stage: one, and a padding layer before it where the padding is given in cells."""
        layers, layer = self._framework.layers, stage.layer
        if isinstance(layer, ReLU):
            return [layers.ReLU(name=stage.name)]
        if isinstance(layer, Flatten):
            return [layers.Flatten(name=stage.name)]
        if isinstance(layer, Dense):
            return [layers.Dense(layer.units, name=stage.name)]
        rank, padding = f"{len(layer.stride)}D", self._checked_padding(stage)
        options = {"strides": layer.stride, "padding": padding or "valid", "name": stage.name}
        if isinstance(layer, Pool):
            kind = {"max": "MaxPooling", "average": "AveragePooling"}[layer.mode]
            return [getattr(layers, kind + rank)(layer.window, **options)]
        before = [] if padding else [getattr(layers, "ZeroPadding" + rank)(layer.padding)]
        return [*before, getattr(layers, "Conv" + rank)(layer.filters, layer.kernel, **options)]

    def _checked_padding(self, stage):
        """ "same" or "valid" for all axes, or "" for a convolution's padding in cells; ValueError for the rest."""
        layer, reason = stage.layer, None
        padding = set(layer.padding)
        if len(padding) == 1 and isinstance(layer.padding[0], str):
            if self.backend != "torch" or padding != {"same"} or getattr(layer, "mode", "") != "average":
                return layer.padding[0]
            reason = "on backend 'torch' average pooling with padding 'same' counts the padding; choose another backend"
        elif isinstance(layer, Conv) and all(isinstance(cells, int) for cells in padding):
            return ""
        else:
            reason = "it offers 'same' or 'valid' for all axes, and for convolutions numbers of cells"
        raise ValueError(f"Keras cannot run {stage.name} with padding {layer.padding}: {reason}")

    def _load_split(self, images, labels):
        _, velocity = self._read_slots()
        parts, steps = import_module("helpers.engines.keras_parts"), self.steps_per_epoch
        self._optimizer, self._losses = parts.Descent(self.optimizer.momentum, steps), parts.BatchLosses(steps)
        settings = {}
        if self.form == "fit, best settings":
            several = max(n for n in range(1, LARGEST_EXECUTION + 1) if steps % n == 0)
            settings = {"steps_per_execution": several, "jit_compile": True}
        loss = self._framework.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(self._optimizer, loss, metrics=[self._losses], **settings)
        self._optimizer.build(self._model.trainable_variables)
        self._write_velocity(velocity)

    def _to_device(self, order):
        """The epoch's images, normalised, and labels in their order, as NumPy arrays: fit feeds them from the host."""
        images, labels = self.dataset.split("train")
        return self.dataset.normalize(images[order.ravel()], np.float32), labels[order.ravel()].astype(np.int32)

    def _run_steps(self, order, rates):
        samples, every_rate = len(rates) * self.batch_size, np.zeros(self.steps_per_epoch, np.float32)
        every_rate[: len(rates)] = rates
        self._optimizer.rates.assign(every_rate)
        self._optimizer.iterations.assign(0)
        images, labels = (array[:samples] for array in order)
        self._model.fit(images, labels, batch_size=self.batch_size, shuffle=False, verbose=0)
        return self._to_host(self._losses.losses)[: len(rates)]

    def _to_host(self, variable):
        return self._framework.ops.convert_to_numpy(variable)

    def _logits(self, images):
        return self._model.predict_on_batch(self.dataset.normalize(images, np.float32))

    def _variables(self):
        """{documented name: (shape there, variable)}: Keras's layouts are ours but for the depth of flat filters."""
        names = {"weight": "kernel", "bias": "bias"}
        places = {p.name: (p.shape, *p.name.split(".")) for p in self.network.parameters}
        return {
            name: (shape, getattr(self._model.get_layer(layer), names[kind]))
            for name, (shape, layer, kind) in places.items()
        }

    def _read_slots(self):
        variables = self._variables()
        parameters = {name: self._to_host(v).reshape(shape) for name, (shape, v) in variables.items()}
        if self._optimizer is None or not self._optimizer.momentums:
            return parameters, self._velocity
        momentums = zip(variables, self._optimizer.momentums, strict=True)
        return parameters, {name: self._to_host(v).reshape(variables[name][0]) for name, v in momentums}

    def _write_slots(self, parameters, velocity):
        for name, (_, variable) in self._variables().items():
            variable.assign(parameters[name].reshape(variable.shape))
        self._velocity = velocity
        self._write_velocity(velocity)

    def _write_velocity(self, velocity):
        if self._optimizer is not None:
            for name, variable in zip(self._variables(), self._optimizer.momentums):
                variable.assign(velocity[name].reshape(variable.shape))


def choose_backend(backend):
    """Make `backend` the one that Keras will be, or was, imported with: a process keeps its first one."""
    wanted = backend or os.environ.get("KERAS_BACKEND", BACKENDS[0])
    if wanted not in BACKENDS:
        raise ValueError(f"backend is {wanted!r}; expected {', '.join(map(repr, BACKENDS))}")
    imported = sys.modules.get("keras")
    if imported is not None and imported.config.backend() != wanted:
        raise ValueError(
            f"this process has imported Keras with backend {imported.config.backend()!r} and keeps it; "
            f"use a process of its own for backend {wanted!r}"
        )
    os.environ["KERAS_BACKEND"] = wanted


def forbid_tf32(backend):
    """Let the backend multiply float32 in float32."""
    framework = import_module(backend)
    if backend == "tensorflow":
        framework.config.experimental.enable_tensor_float_32_execution(False)
    elif backend == "jax":
        framework.config.update("jax_default_matmul_precision", "highest")
    else:
        framework.backends.cuda.matmul.allow_tf32 = framework.backends.cudnn.allow_tf32 = False
