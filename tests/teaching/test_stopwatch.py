"""The stopwatch: it counts every operation, changes no result, and leaves the engine as it was."""

import numpy as np
import pytest
from toy_data import ToyDataset

from helpers.architectures import tiny
from helpers.engines import make_engine
from helpers.optimizers import SGD
from helpers.teaching.stopwatch import TimedOperations, operation_seconds

NETWORK = tiny()
DATASET = ToyDataset(NETWORK.input_shape)


def made():
    engine = make_engine("vectorized", NETWORK, SGD(0.01, momentum=0.9), 16, processes=1)
    engine.load(DATASET)
    return engine


def test_every_operation_of_a_step_is_counted():
    engine = made()
    plain = engine.operations
    seconds = operation_seconds(engine, 2)
    kinds = {"conv_forward", "conv_weight_gradient", "pool_input_gradient", "dense_forward", "sgd_update", "the rest"}
    assert kinds <= set(seconds) and all(value > 0 for value in seconds.values())
    assert engine.operations is plain


def test_results_stay_the_same():
    timed, plain = made(), made()
    timed.operations = TimedOperations(timed.operations)
    assert np.array_equal(timed.train(0), plain.train(0))


def test_the_engine_keeps_its_operations_after_an_error(monkeypatch):
    engine = made()
    plain = engine.operations
    engine.train(0, steps=1)
    monkeypatch.setattr(plain, "sgd_update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        operation_seconds(engine, 1)
    assert engine.operations is plain
