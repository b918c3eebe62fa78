"""Networks with every activation beside ReLU, which the tests of several engines share."""

import numpy as np
from toy_data import ToyDataset

from helpers.engines import make_engine
from helpers.layers import ELU, AvgPool2D, Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, Sigmoid, Tanh
from helpers.network import Network
from helpers.optimizers import SGD

# one of each, with constants other than the layers' own
EVERY_ACTIVATION = (LeakyReLU(0.25), ELU(0.75), Sigmoid(), Tanh())
ACTIVATED = {
    "tanh": Network(
        (9, 8, 2), [Conv2D(3, 3), Tanh(), AvgPool2D(2), Conv2D(4, 2), AvgPool2D(2), Tanh(), Flatten(), Dense(3)]
    ),
    "leaky relu, elu and sigmoid": Network(
        (7, 6, 2),
        [
            *(Conv2D(3, 3, padding="same"), LeakyReLU(0.25), MaxPool2D(2), Conv2D(4, 2), ELU(0.75)),
            *(Flatten(), LeakyReLU(), Dense(6), Sigmoid(), Dense(5), ELU(), Dense(3)),
        ],
    ),
}


def check_derivative_at_zero(name, **options):
    """One step from where every input of an activation is exactly 0; parameters as float64 NumPy leaves them."""
    for function in (*EVERY_ACTIVATION, LeakyReLU(0.0)):
        network = Network((4, 3, 1), [Conv2D(2, 2), function, Flatten(), Dense(3)])
        data, states = ToyDataset(network.input_shape, samples=8), []
        for engine, precision, settings in (("vectorized", "fp64", {}), (name, "fp32", options)):
            made = make_engine(engine, network, SGD(0.5), 4, precision, 3, **settings)
            made.load(data)
            state = made.state()
            convolution = slice(0, sum(p.size for p in network.parameters if p.name.startswith("conv")))
            state["parameters"][convolution] = 0
            made.load_state(state)
            made.train(0, 1, 1)
            states.append(made.state()["parameters"][convolution])
        assert np.any(states[0] != 0) or function == LeakyReLU(0.0)
        np.testing.assert_allclose(states[1], states[0], rtol=1e-4, atol=1e-7, err_msg=repr(function))
