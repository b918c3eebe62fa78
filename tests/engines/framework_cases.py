"""What every framework engine must do, as cases that the tests of each engine share."""

from functools import cache

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.agreement import agreement_bound, check_agreement
from helpers.architectures import tiny
from helpers.engines import make_engine
from helpers.layers import AvgPool2D, Conv, Conv2D, Dense, Flatten, MaxPool2D, Pool, ReLU
from helpers.network import Network
from helpers.optimizers import SGD, cosine

BATCH, STEPS = 16, 20
ALLOWED = {"fp32": 1e-4, "bf16": 0.1}  # of the norm of parameters and velocity after the steps
OPTIMIZER = SGD(0.01, momentum=0.9)
TINY = tiny()
NETWORKS = {
    "same, stride 2": Network(
        (9, 8, 3), [Conv2D(4, 3, stride=2, padding="same"), ReLU(), MaxPool2D(2), Flatten(), Dense(3)]
    ),
    "averages over real cells": Network(
        (8, 7, 2), [Conv2D(3, 2), AvgPool2D(3, stride=2, padding="same"), ReLU(), Flatten(), Dense(3)]
    ),
    "overlapping windows": Network((9, 8, 1), [Conv2D(3, 3), ReLU(), MaxPool2D(3, stride=2), Flatten(), Dense(3)]),
    "one dense layer": Network((5, 4, 3), [Flatten(), Dense(3)]),
    "three axes": Network(
        (4, 6, 5, 2),
        [
            Conv(3, (2, 3, 3), (1, 1, 1), ("valid", "same", "same")),
            ReLU(),
            Pool("max", (1, 2, 2), (1, 2, 2), ("valid",) * 3),
            *(Flatten(), Dense(3)),
        ],
    ),
}
PADDED = Network(
    (8, 7, 2), [Conv2D(4, (3, 2), stride=(2, 1), padding=1), ReLU(), Flatten(), Dense(5), ReLU(), Dense(3)]
)


def dataset_for(network, samples=BATCH * STEPS):
    return ToyDataset(network.input_shape, network.classes, samples)


def trained(name, network=TINY, optimizer=OPTIMIZER, precision="fp32", **options):
    """(engine after the first steps, their losses)."""
    engine = make_engine(name, network, optimizer, BATCH, precision, 0, **options)
    engine.load(dataset_for(network))
    return engine, engine.train(0, 1, STEPS)[0]


@cache
def bound_of(network, optimizer, precision):
    """`agreement_bound` of the first steps, once for all forms that train the same."""
    return agreement_bound(network, optimizer, dataset_for(network), BATCH, 0, STEPS, precision, True)


def check_losses(name, network=TINY, optimizer=OPTIMIZER, precision="fp32", **options):
    """Raises where one of the first losses leaves the rounding bound around float64's; also checks the parameters."""
    engine, losses = trained(name, network, optimizer, precision, **options)
    bound = bound_of(network, optimizer, precision)
    check_agreement(losses, *bound, f"{name} {options}")
    oracle = make_engine("vectorized", network, optimizer, BATCH, "fp64", processes=1)
    oracle.load(dataset_for(network))
    oracle.train(0, 1, STEPS)
    for slot in ("parameters", "velocity")[: 2 if optimizer.momentum else 1]:  # without momentum none is kept
        got, wanted = engine.state()[slot], oracle.state()[slot]
        assert np.linalg.norm(got - wanted) <= ALLOWED[precision] * np.linalg.norm(wanted) > 0, slot


def check_bf16(name, **options):
    """Losses within the bound of rounded operands, and outside of float32's: it is no float32 in disguise."""
    check_losses(name, precision="bf16", **options)
    bound = bound_of(TINY, OPTIMIZER, "fp32")
    with pytest.raises(AssertionError, match=f"{name} disagrees at step"):
        check_agreement(trained(name, precision="bf16", **options)[1], *bound, name)


def check_schedule(name, **options):
    """A learning rate that changes at every step, and no momentum."""
    check_losses(name, optimizer=SGD(cosine(0.05, epochs=1, warmup=0.3), momentum=0.9), **options)
    check_losses(name, NETWORKS["one dense layer"], SGD(0.05), **options)


def check_state(name, **options):
    """What `state` gives, another engine takes: it ends where the first one does, bit by bit.

    On a card within rounding: what frameworks run there adds in an order of its own from run to run.
    """
    first, _ = trained(name, **options)
    kept, rounding = first.state(), 1e-5 if first.on_gpu else 0
    assert kept["epoch"] == 1
    second = make_engine(name, TINY, OPTIMIZER, BATCH, "fp32", 0, **options)
    second.load(dataset_for(TINY))
    second.load_state(kept)
    for slot, array in second.state().items():
        np.testing.assert_array_equal(array, kept[slot], slot)
    np.testing.assert_allclose(first.train(1, 1, 5), second.train(1, 1, 5), rounding)
    first.load_state(first.initial_state())
    again = make_engine(name, TINY, OPTIMIZER, BATCH, "fp32", 0, **options)
    again.load(dataset_for(TINY))
    np.testing.assert_allclose(first.train(0, 2), again.train(0, 2), rounding)


def check_evaluation(name, **options):
    """Logits, loss and accuracy of a split that is no multiple of the batch equal those of `vectorized`."""
    engine, _ = trained(name, **options)
    other = make_engine("vectorized", TINY, OPTIMIZER, BATCH, processes=1)
    other.load(dataset_for(TINY))
    other.load_state(engine.state())
    images = engine.dataset.test_images
    assert len(images) % BATCH
    np.testing.assert_allclose(engine.predict(images), other.predict(images), rtol=1e-4, atol=1e-4)
    got, wanted = engine.evaluate("test"), other.evaluate("test")
    assert got["accuracy"] == wanted["accuracy"]
    np.testing.assert_allclose(got["loss"], wanted["loss"], rtol=1e-4)
