"""Networks with every activation beside ReLU, which the tests of several engines share."""

from helpers.layers import ELU, AvgPool2D, Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, Sigmoid, Tanh
from helpers.network import Network

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
