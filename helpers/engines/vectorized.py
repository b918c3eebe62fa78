"""The vectorized engine: reference.py's operations, a batch shared out over the cores; in float64 the oracle.

Knows reference.py and how to keep the cores busy; must not learn what a layer computes.
"""

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np

from helpers import reference
from helpers.engines.forked import FORKS, ForkedWorkers, available_cores, shared_array
from helpers.engines.host import HostEngine
from helpers.windows import CHUNK_BYTES

# Floating-point operations that make a share of a batch worth a process of its own.
SHARE_FLOPS = 2e7

CONTRACTIONS = [
    f"{layer}_{pass_}" for layer in ("conv", "dense") for pass_ in ("forward", "input_gradient", "weight_gradient")
]


def operations(reverse=False):
    """reference.py's functions by name; `reverse` binds the opposite summation order to those that sum."""
    table = {name: getattr(reference, name) for name in dir(reference) if callable(getattr(reference, name))}
    if reverse:
        for name in (*CONTRACTIONS, "softmax_cross_entropy"):
            table[name] = partial(table[name], reverse=True)
    return SimpleNamespace(**table)


def batch_shares(batch, flops, processes):
    """Slices of a batch, one a process: fewer than `processes` where each would have less than `SHARE_FLOPS` to do.

    `flops` are those of training one sample.
    """
    count = max(1, min(round(batch * flops / SHARE_FLOPS), processes, batch))
    edges = np.linspace(0, batch, count + 1).astype(int)
    return [slice(first, last) for first, last in zip(edges, edges[1:])]


class VectorizedEngine(HostEngine):
    """NumPy and BLAS on all cores.

    Each process takes a share of the batch through all operations forward and backward, so that a share stays in its
    core's cache; threadpoolctl, where it is there, keeps BLAS to one thread in each. Shares' gradients are added in
    their order: the result depends on their number only. The processes are forked at the first step after `load` and
    keep `operations` as they are then.

    Parameters
    ----------
    processes : int, optional
        Most processes to use; the machine's cores by default, fewer where a batch is too small to share. With one,
        everything is computed in this process.
    reverse : bool
        Add in the opposite order; a second float32 arithmetic for agreement.py.
    """

    name = "vectorized"

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, processes=None, reverse=False):
        super().__init__(network, optimizer, batch_size, precision, seed)
        self.operations = operations(reverse)
        self._controller = _blas_controller() if FORKS else None
        self.processes = (processes or available_cores()) if self._controller else 1
        self._shares = batch_shares(self.batch_size, network.training_flops, self.processes)
        self._workers = None

    def _make_parameters(self):
        return shared_array(self.network.parameter_count, self.dtype)

    def _load(self, dataset):
        if self._workers:  # they know the data set that was there before
            self._workers.close()

    def _loss_and_gradient(self, batch):
        if len(self._shares) == 1:
            with self._one_blas_thread():
                return super()._loss_and_gradient(batch)
        parts = [(row, batch[part]) for row, part in enumerate(self._shares)]
        losses = np.concatenate(self._map("_share_of_gradient", parts))
        return losses.mean(dtype=np.float64), self._gradients.sum(axis=0)

    def _share_of_gradient(self, row, samples):
        """Losses of `samples`; their part of the gradient goes to a row of the shared gradients."""
        losses, self._gradients[row] = self._backward(samples, self.batch_size)
        return losses

    def _map(self, method, shares):
        if len(self._shares) == 1:
            with self._one_blas_thread():
                return super()._map(method, shares)
        if self._workers is None or not self._workers.alive:
            self._gradients = shared_array((len(self._shares), len(self._parameters)), self.dtype)
            self._workers = ForkedWorkers(len(self._shares), self._one_blas_thread, self._answer)
        return self._workers.map((method, arguments) for arguments in shares)

    def _answer(self, request):
        """What a forked process does with a request (method, arguments)."""
        method, arguments = request
        return getattr(self, method)(*arguments)

    def _one_blas_thread(self):
        return self._controller.limit(limits=1, user_api="blas") if self._controller else nullcontext()

    @property
    def _scratch_bytes(self):
        return len(self._shares) * CHUNK_BYTES


def _blas_controller():
    """threadpoolctl's controller of BLAS threads, or None where the package is absent: then BLAS shares the work."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
