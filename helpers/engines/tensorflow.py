"""Engine `tensorflow`: the same network, data order and update in TensorFlow, from eager steps to a compiled epoch.

Knows TensorFlow and the lowered program's forward operations; must not learn about Keras, files or other engines.
"""

import numpy as np

from helpers.engines.framework import FrameworkEngine, spatial_rank, window_padding
from helpers.layers import ELU, LeakyReLU, Sigmoid
from helpers.reference import window_counts


class TensorFlowEngine(FrameworkEngine):
    """Trains with TensorFlow, on its GPU where it finds one.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`. "fp32" forbids TF32; "bf16" rounds the operands of convolutions and dense layers.
    form : {"eager", "function", "XLA", "epoch function"}
        A training loop op by op; a step as a graph function; the step compiled by XLA; all steps of an epoch in one
        function compiled by XLA.

    Raises
    ------
    ValueError
        For TF32 without a GPU.
    """

    name = "tensorflow"
    package = "tensorflow"
    environment = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "TF_CPP_MIN_LOG_LEVEL": "2"}  # rivals share the card
    precisions = ("fp32", "tf32", "bf16")
    forms = ("eager", "function", "XLA", "epoch function")

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, form=None):
        super().__init__(network, optimizer, batch_size, precision, seed, form)
        tf = self._framework
        if precision == "tf32" and not self.on_gpu:
            raise ValueError("precision 'tf32' needs a GPU that TensorFlow finds; choose 'fp32'")
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        self._rank = spatial_rank(network)
        shapes = {p.name: p.shape for p in network.parameters}
        self._weights, self._velocity = (
            {name: tf.Variable(tf.zeros(shape), name=name) for name, shape in shapes.items()} for _ in range(2)
        )
        self._train_step, self._train_steps = self._step, None
        if self.form in ("function", "XLA"):
            self._train_step = tf.function(self._step, jit_compile=self.form == "XLA")
        if self.form == "epoch function":
            self._train_steps = tf.function(self._loop, jit_compile=True)
        self._forward_once = tf.function(self._forward)
        self._load_state(self.initial_state())

    @property
    def on_gpu(self):
        return bool(self._framework.config.list_physical_devices("GPU"))

    def _load_split(self, images, labels):
        tf = self._framework
        self._images, self._labels = tf.constant(images), tf.constant(labels.astype(np.int32))
        self._scale = tf.constant(self.dataset.scale)

    def _to_device(self, order):
        return self._framework.constant(order.astype(np.int32))

    def _forward(self, images, scale):
        """Logits, float32, of uint8 images (N, [D,] H, W, C)."""
        tensors = {"input": self._framework.cast(images, self._framework.float32) * scale[0] + scale[1]}
        for op in self._program.forward[1:]:  # behind load_batch
            weights = [self._weights[p.name] for p in op.parameters]
            compute = getattr(self, f"_{op.kind}")
            tensors[op.outputs[0]] = compute(tensors[op.inputs[0]], *weights, geometry=op.geometry)
        return tensors[self._program.logits]

    def _rounded(self, *operands):
        if self.precision != "bf16":
            return operands
        return [self._framework.cast(operand, self._framework.bfloat16) for operand in operands]

    def _padded(self, x, geometry, value=0.0):
        pads = window_padding(geometry)[-self._rank :]
        if not any(sum(pads, ())):
            return x
        return self._framework.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)

    def _conv_forward(self, x, w, b, geometry):
        tf, kernel = self._framework, geometry.kernel[-self._rank :]
        x, w = self._rounded(self._padded(x, geometry), tf.reshape(w, (*kernel, *w.shape[-2:])))
        y = tf.nn.convolution(x, w, strides=geometry.stride[-self._rank :], padding="VALID")
        return tf.cast(y, b.dtype) + b

    def _dense_forward(self, x, w, b, geometry):
        x, w = self._rounded(self._framework.reshape(x, (-1, geometry.inputs)), w)
        return self._framework.cast(self._framework.matmul(x, w), b.dtype) + b

    def _relu_forward(self, x, geometry):
        return self._framework.nn.relu(x)

    def _activation_forward(self, x, geometry):
        tf, function = self._framework, geometry.function
        if isinstance(function, LeakyReLU):
            return tf.nn.leaky_relu(x, function.slope)
        if isinstance(function, ELU):  # TensorFlow's own has no alpha
            return tf.where(x > 0, x, function.alpha * tf.nn.elu(x))
        return tf.nn.sigmoid(x) if isinstance(function, Sigmoid) else tf.nn.tanh(x)

    def _pool_forward(self, x, geometry):
        window, stride = geometry.window[-self._rank :], geometry.stride[-self._rank :]
        if geometry.mode == "max":
            x = self._padded(x, geometry, -np.inf)
            return self._framework.nn.pool(x, window, "MAX", strides=stride, padding="VALID")
        means = self._framework.nn.pool(self._padded(x, geometry), window, "AVG", strides=stride, padding="VALID")
        counts = window_counts(geometry, np.float32)
        return means * (np.prod(window, dtype=np.float32) / counts.reshape(counts.shape[3 - self._rank :]))

    def _step(self, samples, rate, images, labels, scale):
        """Update weights and velocity in place; the loss before that."""
        tf = self._framework
        batch, wanted = tf.gather(images, samples), tf.gather(labels, samples)
        with tf.GradientTape() as tape:
            logits = self._forward(batch, scale)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits))
        gradients = tape.gradient(loss, self._weights)
        for name, gradient in gradients.items():
            velocity = self._velocity[name].assign(self.optimizer.momentum * self._velocity[name] + gradient)
            self._weights[name].assign_sub(rate * velocity)
        return loss

    def _loop(self, order, rates, images, labels, scale):
        tf = self._framework
        losses = tf.TensorArray(tf.float32, size=order.shape[0])
        for step in tf.range(order.shape[0]):
            losses = losses.write(step, self._step(order[step], rates[step], images, labels, scale))
        return losses.stack()

    def _run_steps(self, order, rates):
        data, order = (self._images, self._labels, self._scale), order[: len(rates)]
        rates = self._framework.constant(rates)
        if self._train_steps:
            return self._train_steps(order, rates, *data).numpy()
        losses = [self._train_step(order[step], rates[step], *data) for step in range(len(rates))]
        return self._framework.stack(losses).numpy()

    def _logits(self, images):
        return self._forward_once(self._framework.constant(images), self._scale).numpy()

    def _read_slots(self):
        return [{name: v.numpy() for name, v in slot.items()} for slot in (self._weights, self._velocity)]

    def _write_slots(self, parameters, velocity):
        for variables, arrays in ((self._weights, parameters), (self._velocity, velocity)):
            for name, variable in variables.items():
                variable.assign(arrays[name])
