"""Every operation's kernel, on one tiny launch: Numba's simulator and the tracer give the same bits."""

import numpy as np
import pytest
from simulator import needs_simulator, simulate
from toy_data import ToyDataset

from helpers.architectures import tiny
from helpers.compiler import launch
from helpers.engines import make_engine
from helpers.geometry import PointwiseGeometry
from helpers.kernels import state as words
from helpers.kernels.activation import activation_forward, activation_input_gradient
from helpers.kernels.base import ARGUMENTS, OUTPUTS
from helpers.kernels.probe import probe
from helpers.kernels.relu import relu_forward, relu_input_gradient
from helpers.kernels.update import collect_metrics
from helpers.layers import ELU
from helpers.lowering import Op
from helpers.optimizers import SGD
from helpers.tracing.memory import poison

pytestmark = needs_simulator


@pytest.fixture(scope="module")
def launches():
    """{operation: (kernel, arrays)}: the step of a tiny network after two steps, and what no step of it runs."""
    engine = make_engine("layerwise", tiny(), SGD(0.05, momentum=0.9), 2, seed=5)
    engine.load(ToyDataset(tiny().input_shape, samples=9))
    engine.train(0, steps=2)
    found = {op.kind: (kernel, arrays) for op, kernel, _, arrays in engine.kernels}
    a, b = np.random.default_rng(0).normal(size=(2, 66)).astype(np.float32)
    empty = np.full(66, np.nan, np.float32)
    forward, gradient = Op("relu_forward", "relu1", (), ()), Op("relu_input_gradient", "relu1", (), ())
    found["relu_forward"] = relu_forward(forward, 2, (3, 11, 1), threads=32), (empty, a)
    found["relu_input_gradient"] = relu_input_gradient(gradient, 2, (3, 11, 1), threads=32), (empty, a, b)
    elu = [Op(kind, "elu1", (), (), PointwiseGeometry(ELU(), (3, 11, 1))) for kind in ARGUMENTS if "activation" in kind]
    found["activation_forward"] = activation_forward(elu[0], 2, threads=32), (empty, a)
    found["activation_input_gradient"] = activation_input_gradient(elu[1], 2, threads=32), (empty, a, b)
    found["probe"] = probe(66), (empty, a)
    state, hits, correct = np.zeros(words.WORDS, np.int32), np.full(2, -1, np.int32), np.ones(5, np.int32)
    state[words.SAMPLES] = 4
    metrics = collect_metrics(Op("collect_metrics", "metrics", (), ()), 5, threads=32)
    found["collect_metrics"] = metrics, (np.full(2, np.nan, np.float32), hits, np.abs(a[:5]), correct, state)
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("operation", ARGUMENTS)
def test_both_executors_give_the_same_bits(operation, launches):
    kernel, arrays = launches[operation]
    names = [name for name, _ in kernel.arguments]
    outputs = OUTPUTS.get(operation, ())
    before = [poison(array.copy()) if name in outputs else array.copy() for name, array in zip(names, arrays)]
    traced, simulated = [array.copy() for array in before], [array.copy() for array in before]
    launch(kernel, *traced)
    simulate(kernel, *simulated)
    changed = {name for name, old, new in zip(names, before, traced) if old.tobytes() != new.tobytes()}
    assert changed and changed >= set(outputs)
    for name, one, other in zip(names, traced, simulated):
        if name != "scratch":
            np.testing.assert_array_equal(one, other, err_msg=name)
