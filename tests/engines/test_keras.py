"""The engine `keras` does the same work as the oracle on every backend: one a process, as Keras wants it."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from framework_cases import (
    NETWORKS,
    OPTIMIZER,
    PADDED,
    TINY,
    check_evaluation,
    check_losses,
    check_schedule,
    check_state,
)

from helpers.engines import make_engine
from helpers.engines.keras import BACKENDS, choose_backend
from helpers.layers import Conv, Dense, Flatten, MaxPool2D, Pool, Sigmoid
from helpers.network import Network

AVERAGES, UNEVEN = "averages over real cells", "three axes"
VALID = ("valid",) * 3
# as many filters as let no activation take the other branch within the steps: TensorFlow meets that at 3
CUBES = Network((4, 6, 5, 2), [Conv(4, (2, 3, 2), (1, 1, 1), VALID), Pool("max", (1, 2, 2), (1, 2, 2), VALID),
                               Flatten(), Dense(3)])  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(backend):
    """`check_backend` in a process of its own."""
    for module in ("keras", backend):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith(f"{backend} passed\n")


def check_backend(backend):
    for form in ("fit",) if backend == "torch" else ("fit", "fit, best settings"):
        check_losses("keras", form=form)
        check_schedule("keras", form=form)
        check_state("keras", form=form)
    for name, network in {**NETWORKS, "padding 1": PADDED, "cubes": CUBES}.items():
        if name != UNEVEN and (name, backend) != (AVERAGES, "torch"):
            check_losses("keras", network)
    check_evaluation("keras")
    check_compiled(backend)
    check_refusals(backend)
    print(f"{backend} passed")


def check_compiled(backend):
    if backend != "torch":
        with pytest.raises(ValueError, match=f"with backend '{backend}' and .* of its own for backend 'torch'"):
            make_engine("keras_compiled", TINY, OPTIMIZER, 16)
        return
    from torch._dynamo.utils import counters

    counters.clear()
    check_losses("keras_compiled")
    assert counters["stats"]["unique_graphs"] > 0  # torch did compile


def check_refusals(backend):
    padded_pool = Network((6, 6, 1), [MaxPool2D(3, padding=1), Flatten(), Dense(3)])
    with pytest.raises(ValueError, match=r"Keras cannot run pool1 with padding \(1, 1\): it offers 'same' or 'valid'"):
        make_engine("keras", padded_pool, OPTIMIZER, 16)
    with pytest.raises(ValueError, match="Keras cannot run conv1 with padding .'valid', 'same', 'same'.: it offers"):
        make_engine("keras", NETWORKS[UNEVEN], OPTIMIZER, 16)
    other = next(name for name in BACKENDS if name != backend)
    with pytest.raises(ValueError, match=f"imported Keras with backend '{backend}' and keeps it; use a process of its"):
        make_engine("keras", TINY, OPTIMIZER, 16, backend=other)
    if backend == "torch":
        with pytest.raises(ValueError, match="on backend 'torch' average pooling with padding 'same' counts"):
            make_engine("keras", NETWORKS[AVERAGES], OPTIMIZER, 16)
        with pytest.raises(ValueError, match="form 'fit, best settings' needs XLA"):
            make_engine("keras", TINY, OPTIMIZER, 16, form="fit, best settings")


@pytest.mark.parametrize("name", ["keras", "keras_compiled"])
def test_an_activation_that_the_engine_lacks_is_named(name):
    network = Network((4, 4, 1), [Flatten(), Dense(4), Sigmoid(), Dense(3)])
    with pytest.raises(ValueError, match=f"^engine '{name}' cannot run sigmoid1: .* ReLU only, no Sigmoid; ch"):
        make_engine(name, network, OPTIMIZER, 16)


def test_an_unknown_backend_and_a_missing_keras_are_named(monkeypatch):
    with pytest.raises(ValueError, match="backend is 'theano'; expected 'tensorflow', 'jax', 'torch'"):
        choose_backend("theano")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match="engine 'keras' needs keras, which cannot be imported here .*pip install"):
        make_engine("keras", TINY, OPTIMIZER, 16)


def test_a_missing_backend_is_named_and_not_keras(monkeypatch, tmp_path):
    (tmp_path / "keras.py").write_text("import a_backend.that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ImportError, match="engine 'keras' needs a_backend, which .*; install it with: pip install a_b"):
        make_engine("keras", TINY, OPTIMIZER, 16)


if __name__ == "__main__":
    check_backend(os.environ["KERAS_BACKEND"])
