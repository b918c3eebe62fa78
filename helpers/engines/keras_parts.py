"""What fit lacks for a comparison step by step: each batch's loss, a rate for every step, the project's SGD.

Imports keras: read this module only when the engine `keras` is made. Must not learn about networks or data.
"""

import keras
from keras import ops


class BatchLosses(keras.metrics.Metric):
    """The mean cross-entropy of every batch of an epoch; its value is that of the last one.

    It stands where users put accuracy and costs as little; fit's own loss is a running mean.

    Parameters
    ----------
    steps : int
        Most batches of an epoch.
    """

    def __init__(self, steps):
        super().__init__(name="batch_losses")
        self.losses = self.add_variable((steps,), "zeros", name="losses")
        self.count = self.add_variable((), "zeros", dtype="int32", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        loss = ops.mean(keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True))
        place = ops.reshape(self.count, (1, 1))
        self.losses.assign(ops.scatter_update(self.losses, place, ops.reshape(loss, (1,))))
        self.count.assign_add(1)

    def result(self):
        return ops.take(self.losses, ops.maximum(self.count - 1, 0))


class Descent(keras.optimizers.SGD):
    """v = momentum * v + g, w = w - rate * v, with a rate for every step of an epoch.

    Keras's own keeps the rate inside of v, which differs where the rate changes.

    Parameters
    ----------
    momentum : float
    steps : int
        Most steps of an epoch; `iterations` counts them.
    """

    def __init__(self, momentum, steps):
        super().__init__(learning_rate=1.0, momentum=float(momentum), name="descent")
        self._steps = steps

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.rates = self.add_variable((self._steps,), initializer="zeros", name="rates")

    def update_step(self, gradient, variable, learning_rate):
        rate = ops.take(self.rates, self.iterations)
        if self.momentum:
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, self.momentum * velocity + gradient)
            gradient = velocity
        self.assign_sub(variable, rate * gradient)
