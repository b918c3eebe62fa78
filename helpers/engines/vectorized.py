"""The vectorized engine: reference.py's operations, a batch shared out over the cores; in float64 the oracle.

Knows reference.py and how to keep the cores busy; must not learn what a layer computes.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np

from helpers import reference
from helpers.engines.host import HostEngine
from helpers.windows import CHUNK_BYTES

# Floating-point operations that make a share of a batch worth a thread of its own.
SHARE_FLOPS = 1e8

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


class VectorizedEngine(HostEngine):
    """NumPy and BLAS on all cores.

    Each thread takes a share of the batch through all operations forward and backward, so that a share stays in its
    core's cache; threadpoolctl, where it is there, keeps BLAS to one thread in each. Shares' gradients are added in
    their order: the result depends on their number only.

    Parameters
    ----------
    threads : int, optional
        Most threads to use; the machine's cores by default, fewer where a batch is too small to share.
    reverse : bool
        Add in the opposite order; a second float32 arithmetic for agreement.py.
    """

    name = "vectorized"

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, threads=None, reverse=False):
        super().__init__(network, optimizer, batch_size, precision, seed)
        self.operations = operations(reverse)
        self._controller = _blas_controller()
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.threads = (threads or available) if self._controller else 1
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def _loss_and_gradient(self, images, labels):
        batch = len(labels)
        worth = round(batch * self.network.training_flops / SHARE_FLOPS)
        edges = np.linspace(0, batch, max(1, min(worth, self.threads, batch)) + 1).astype(int)
        shares = [slice(first, last) for first, last in zip(edges, edges[1:])]
        results = self._map(lambda part: self._backward(images[part], labels[part], batch), shares)
        losses = np.concatenate([loss for loss, _ in results])
        return losses.mean(dtype=np.float64), sum(gradient for _, gradient in results)

    def _map(self, function, shares):
        with self._controller.limit(limits=1, user_api="blas") if self._controller else nullcontext():
            return list(self._pool.map(function, shares)) if self._pool else super()._map(function, shares)

    @property
    def _scratch_bytes(self):
        return self.threads * CHUNK_BYTES


def _blas_controller():
    """threadpoolctl's controller of BLAS threads, or None where the package is absent: then BLAS shares the work."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
