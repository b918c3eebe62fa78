"""The sequential engine: textbook loops on one core, compiled by numba.njit or run as plain Python. THE baseline.

Knows loops_kernels.py and allocates what its loops fill; must not learn what they compute.
"""

from dataclasses import astuple
from functools import cache

import numba
import numpy as np

from helpers import loops_kernels
from helpers.activation_loops import LOOPS
from helpers.engines.host import HostEngine, poisoned

# Without fast-math: the compiler keeps the order of every sum, so both forms do the same arithmetic.
compiled_kernel = cache(numba.njit)


class LoopOperations:
    """Operations with the signatures of reference.py, computed by the loops; outputs are poisoned before they run.

    Parameters
    ----------
    compiled : bool
        Compile each kernel at its first use; otherwise the interpreter runs it.
    """

    def __init__(self, compiled=True):
        self.compiled = compiled

    def _kernel(self, name):
        function = getattr(loops_kernels, name)
        return compiled_kernel(function) if self.compiled else function

    def conv_forward(self, x, w, b, geometry):
        y = poisoned((len(x), *geometry.out_shape), x.dtype)
        self._kernel("conv_forward")(y, x, w, b, geometry.stride, geometry.padding)
        return y

    def conv_input_gradient(self, dy, w, geometry):
        dx = poisoned((len(dy), *geometry.in_shape), dy.dtype)
        turned = poisoned((*geometry.kernel, geometry.out_channels, geometry.in_channels), w.dtype)
        self._kernel("conv_input_gradient")(dx, turned, dy, w, geometry.stride, geometry.padding)
        return dx

    def conv_weight_gradient(self, x, dy, geometry):
        dw, db = poisoned(geometry.weight_shape, x.dtype), poisoned((geometry.out_channels,), x.dtype)
        self._kernel("conv_weight_gradient")(dw, db, x, dy, geometry.stride, geometry.padding)
        return dw, db

    def pool_forward(self, x, geometry):
        y, largest = poisoned((len(x), *geometry.out_shape), x.dtype), geometry.mode == "max"
        winner = np.full(y.shape, 0xAA, np.uint8)
        self._kernel("pool_forward")(y, winner, x, geometry.window, geometry.stride, geometry.padding, largest)
        return y, winner if largest else None

    def pool_input_gradient(self, dy, winner, geometry):
        dx = poisoned((len(dy), *geometry.in_shape), dy.dtype)
        place = geometry.window, geometry.stride, geometry.padding
        if winner is None:
            self._kernel("average_pool_input_gradient")(dx, dy, *place)
        else:
            self._kernel("max_pool_input_gradient")(dx, dy, winner, *place)
        return dx

    def dense_forward(self, x, w, b, geometry=None):
        y = poisoned((len(x), len(b)), x.dtype)
        self._kernel("dense_forward")(y, x.reshape(len(x), -1), w, b)
        return y

    def dense_input_gradient(self, dy, w, geometry=None):
        dx, turned = poisoned((len(dy), len(w)), dy.dtype), poisoned(w.shape[::-1], w.dtype)
        self._kernel("dense_input_gradient")(dx, turned, dy, w)
        return dx

    def dense_weight_gradient(self, x, dy, geometry=None):
        x = x.reshape(len(x), -1)
        dw, db = poisoned((x.shape[1], dy.shape[1]), x.dtype), poisoned((dy.shape[1],), x.dtype)
        self._kernel("dense_weight_gradient")(dw, db, x, dy)
        return dw, db

    def relu_forward(self, x):
        y = poisoned(x.shape, x.dtype)
        self._kernel("relu_forward")(y.reshape(-1), x.reshape(-1))
        return y

    def relu_input_gradient(self, dy, y):
        dx = poisoned(dy.shape, dy.dtype)
        self._kernel("relu_input_gradient")(dx.reshape(-1), dy.reshape(-1), y.reshape(-1))
        return dx

    def activation_forward(self, x, geometry):
        y = poisoned(x.shape, x.dtype)
        self._run_activation(LOOPS[type(geometry.function)].forward, geometry.function, y, x)
        return y

    def activation_input_gradient(self, dy, y, geometry):
        dx = poisoned(dy.shape, dy.dtype)
        self._run_activation(LOOPS[type(geometry.function)].input_gradient, geometry.function, dx, dy, y)
        return dx

    def _run_activation(self, loop, function, *arrays):
        """Run `loop` on arrays, read as flat ones, and the constants of `function`, in the arrays' type."""
        constants = map(arrays[0].dtype.type, astuple(function))
        (compiled_kernel(loop) if self.compiled else loop)(*(a.reshape(-1) for a in arrays), *constants)

    def softmax_cross_entropy(self, logits, labels, batch=None):
        loss, d_logits = poisoned((len(logits),), logits.dtype), poisoned(logits.shape, logits.dtype)
        correct = np.full(len(logits), -1, np.int32)
        kernel = self._kernel("softmax_cross_entropy")
        kernel(loss, correct, d_logits, logits, labels, logits.dtype.type(batch or len(logits)))
        return loss, correct, d_logits

    def sgd_update(self, parameters, velocity, gradient, learning_rate, momentum):
        scalar = parameters.dtype.type
        self._kernel("sgd_update")(parameters, velocity, gradient, scalar(learning_rate), scalar(momentum))


class LoopsEngine(HostEngine):
    """Sequential training on one core.

    Parameters
    ----------
    compiled : bool
        True: numba.njit compiles the loops (a few seconds at the first step). False: plain Python runs them, some
        thousand times slower; for networks of a few hundred operations.
    """

    name = "loops"

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, compiled=True):
        super().__init__(network, optimizer, batch_size, precision, seed)
        self.operations = LoopOperations(compiled)
