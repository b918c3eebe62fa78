"""The vectorized engine with every optimizer: in float64 the oracle for the rules of optimizers.py.

Knows the vectorized engine and an optimizer's rule by its arguments; must not learn what a rule computes.
"""

import numpy as np

from helpers.engines.vectorized import VectorizedEngine
from helpers.order import sample_order


class VectorizedOptimizersEngine(VectorizedEngine):
    """`vectorized`, but for the update, which is the optimizer's own rule on its own slots.

    Apart from it because measurements of `vectorized` hold for the code that was timed, in which plain SGD works in
    place; a rule makes new arrays. With plain SGD the losses of both are equal to the bit.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed, processes, reverse
        As `vectorized` has them, and any optimizer.
    """

    name = "vectorized_optimizers"

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, processes=None, reverse=False):
        super().__init__(network, optimizer, batch_size, precision, seed, processes, reverse)
        self._rule = optimizer.rule(self.dtype.type, np.sqrt)

    def initial_state(self):
        """State before the first step: parameters, the optimizer's slots by their names, epoch."""
        start = super().initial_state()
        slots = {name: np.zeros_like(start["parameters"]) for name in self.optimizer.slots}
        return {"parameters": start["parameters"], **slots, "epoch": start["epoch"]}

    def state(self):
        """Copies of parameters and slots (float32 or float64, by precision) and the number of epochs done."""
        slots = {name: slot.copy() for name, slot in self._slots.items()}
        return {"parameters": self._parameters.copy(), **slots, "epoch": np.array(self._epoch)}

    def _load_state(self, state):
        self._parameters[:] = state["parameters"]
        self._slots = {name: np.array(state[name], self.dtype) for name in self.optimizer.slots}
        self._epoch = int(state["epoch"])

    def _train_epoch(self, epoch, steps):
        factors = self.optimizer.step_factors(epoch, self.steps_per_epoch)
        samples = len(self.dataset.train_labels)
        order = sample_order(samples, self.seed, epoch, np.arange(steps * self.batch_size))
        losses = np.empty(steps)
        for step, batch in enumerate(order.reshape(steps, self.batch_size)):
            losses[step], gradient = self._loss_and_gradient(batch)
            if not np.isfinite(losses[step]):
                raise FloatingPointError(
                    f"the loss of step {step} of epoch {epoch} is {losses[step]}; choose a lower learning rate"
                )
            self._update(gradient, *factors[step])
        self._epoch = epoch + 1
        return losses

    def _update(self, gradient, scale, correction):
        """One step of the rule; a slot that the optimizer lacks is None."""
        first, second = (*self._slots.values(), None)[:2]
        self._parameters[:], *slots = self._rule(self._parameters, gradient, first, second, scale, correction)
        self._slots = dict(zip(self.optimizer.slots, slots))

    @property
    def memory(self):
        """Bytes by purpose, as `vectorized` has them; "optimizer" counts every slot."""
        return {**super().memory, "optimizer": sum(slot.nbytes for slot in self._slots.values())}
