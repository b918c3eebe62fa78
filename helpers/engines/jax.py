"""Engine `jax`: the same network, data order and update in JAX, a compiled step at a time or a scan over the epoch.

Knows JAX and the lowered program's forward operations; must not learn about files, clocks or other engines.
"""

from dataclasses import astuple
from functools import partial

import numpy as np

from helpers.engines.framework import FrameworkEngine, spatial_rank, window_padding
from helpers.layers import ELU, LeakyReLU, Sigmoid, Tanh
from helpers.reference import window_counts

# JAX's names of what the arithmetic of a convolution or product may round to; bf16 rounds the operands before
MATMUL_PRECISION = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "default"}

# type of a layer's description: JAX's function, which takes the description's constants
ACTIVATIONS = {ELU: "elu", Sigmoid: "sigmoid", Tanh: "tanh"}

UNROLL = 6  # steps in one trip of the loop of a scan: the host walks from trip to trip


class JaxEngine(FrameworkEngine):
    """Trains with JAX, on the device that it finds first.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`. "bf16" keeps activations in 16 bits and multiplies so; weights, sums and update are fp32.
    form : {"jit", "scan"}
        One compiled function a step, called from Python; or one for all steps of an epoch.

    Raises
    ------
    ValueError
        For TF32 without a GPU.
    """

    name = "jax"
    package = "jax"
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # rivals share the card
    precisions = ("fp32", "tf32", "bf16")
    forms = ("jit", "scan")

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, form=None):
        super().__init__(network, optimizer, batch_size, precision, seed, form)
        jax = self._framework
        if precision == "tf32" and not self.on_gpu:
            raise ValueError("precision 'tf32' needs a GPU that JAX finds; choose 'fp32'")
        self._rank = spatial_rank(network)
        self._step_once = jax.jit(self._step, donate_argnums=0)
        self._scan_steps = jax.jit(self._scan, donate_argnums=0)
        self._forward_once = jax.jit(self._forward)
        self._load_state(self.initial_state())

    @property
    def on_gpu(self):
        return self._framework.default_backend() == "gpu"

    def _load_split(self, images, labels):
        put = self._framework.device_put
        self._data = put(images), put(labels.astype(np.int32)), put(self.dataset.scale)

    def _to_device(self, order):
        return self._framework.device_put(order.astype(np.int32))

    def _forward(self, parameters, images, scale):
        """Logits, float32, of uint8 images (N, [D,] H, W, C)."""
        jnp = self._framework.numpy
        tensors = {"input": images.astype(jnp.float32) * scale[0] + scale[1]}
        for op in self._program.forward[1:]:  # behind load_batch
            weights = [parameters[p.name] for p in op.parameters]
            compute = getattr(self, f"_{op.kind}")
            tensors[op.outputs[0]] = compute(tensors[op.inputs[0]], *weights, geometry=op.geometry)
        return tensors[self._program.logits].astype(jnp.float32)

    def _rounded(self, *operands):
        """Operands of a convolution or product, and what keeps its arithmetic to the engine's precision."""
        if self.precision == "bf16":
            operands = [operand.astype(self._framework.numpy.bfloat16) for operand in operands]
        options = {"precision": MATMUL_PRECISION[self.precision]}
        return operands, options

    def _conv_forward(self, x, w, b, geometry):
        (x, w), options = self._rounded(x, w.reshape(*geometry.kernel[-self._rank :], *w.shape[-2:]))
        axes = "DHW"[-self._rank :]
        y = self._framework.lax.conv_general_dilated(
            x, w, geometry.stride[-self._rank :], window_padding(geometry)[-self._rank :],
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"), **options)  # fmt: skip
        return y + b.astype(y.dtype)

    def _dense_forward(self, x, w, b, geometry):
        (x, w), options = self._rounded(x.reshape(len(x), -1), w)
        y = self._framework.numpy.matmul(x, w, **options)
        return y + b.astype(y.dtype)

    def _relu_forward(self, x, geometry):
        return self._framework.nn.relu(x)

    def _activation_forward(self, x, geometry):
        function = geometry.function
        if isinstance(function, LeakyReLU):  # JAX's own has the derivative 1 at 0
            return self._framework.numpy.where(x > 0, x, function.slope * x)
        return getattr(self._framework.nn, ACTIVATIONS[type(function)])(x, *astuple(function))

    def _pool_forward(self, x, geometry):
        if geometry.mode == "max" and self.precision == "bf16":
            return max_of_cells(x, geometry, self._rank)
        lax = self._framework.lax
        reduce = partial(
            lax.reduce_window,
            window_dimensions=(1, *geometry.window[-self._rank :], 1),
            window_strides=(1, *geometry.stride[-self._rank :], 1),
            padding=((0, 0), *window_padding(geometry)[-self._rank :], (0, 0)),
        )
        if geometry.mode == "max":
            return reduce(x, -np.inf, lax.max)
        counts = window_counts(geometry, np.float32)
        return reduce(x, 0.0, lax.add) / counts.reshape(counts.shape[3 - self._rank :])

    def _step(self, slots, samples, rate, data):
        """(parameters, velocity) after one step, and the loss before it."""
        jax, (images, labels, scale) = self._framework, data

        def mean_loss(parameters):
            logits = self._forward(parameters, images[samples], scale)
            losses = jax.nn.log_softmax(logits)[np.arange(self.batch_size), labels[samples]]
            return -losses.mean()

        parameters, velocity = slots
        loss, gradient = jax.value_and_grad(mean_loss)(parameters)
        velocity = jax.tree.map(lambda v, g: self.optimizer.momentum * v + g, velocity, gradient)
        return (jax.tree.map(lambda w, v: w - rate * v, parameters, velocity), velocity), loss

    def _scan(self, slots, order, rates, data):
        steps = (order, rates)
        return self._framework.lax.scan(lambda slots, step: self._step(slots, *step, data), slots, steps, unroll=UNROLL)

    def _run_steps(self, order, rates):
        rates = self._framework.device_put(rates)
        if self.form == "scan":
            self._slots, losses = self._scan_steps(self._slots, order[: len(rates)], rates, self._data)
            return losses
        losses = []
        for samples, rate in zip(order[: len(rates)], rates):
            self._slots, loss = self._step_once(self._slots, samples, rate, self._data)
            losses.append(loss)
        return self._framework.numpy.stack(losses)

    def _logits(self, images):
        return self._forward_once(self._slots[0], images, self._data[2])

    def _read_slots(self):
        return [{name: np.asarray(array) for name, array in slot.items()} for slot in self._slots]

    def _write_slots(self, parameters, velocity):
        self._slots = self._framework.tree.map(self._framework.numpy.asarray, (parameters, velocity))


def max_of_cells(x, geometry, rank):
    """Max-pooling of (N, [D,] H, W, C), one cell of all windows after the other; the first of equal ones is the winner.

    XLA merges it and its gradient with their neighbours, where the gradient of reduce_window is a kernel of its own:
    in bf16 this is faster, in fp32 that one.
    """
    from jax import numpy as jnp

    x = jnp.pad(x, ((0, 0), *window_padding(geometry)[-rank:], (0, 0)), constant_values=-np.inf)
    axes = list(zip(geometry.out_shape[:3], geometry.stride))[-rank:]
    best = None
    for cell in np.ndindex(geometry.window[-rank:]):
        spans = [slice(at, at + (outputs - 1) * stride + 1, stride) for at, (outputs, stride) in zip(cell, axes)]
        values = x[:, *spans]
        best = values if best is None else jnp.where(values > best, values, best)
    return best
