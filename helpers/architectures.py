"""The networks that notebooks, tests and benchmarks share, each a function of the image shape."""

from helpers.layers import ELU, AvgPool2D, Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, ReLU, Sigmoid, Tanh
from helpers.network import Network


def lenet5(input_shape=(28, 28, 1), classes=10):
    """LeNet-5 with ReLU and max-pooling: two 5x5 convolutions without padding, three dense layers."""
    return Network(
        input_shape,
        [
            *(Conv2D(6, 5), ReLU(), MaxPool2D(2)),
            *(Conv2D(16, 5), ReLU(), MaxPool2D(2)),
            Flatten(),
            *(Dense(120), ReLU(), Dense(84), ReLU(), Dense(classes)),
        ],
        name="lenet5",
    )


def vgg_small(input_shape=(32, 32, 3), classes=10):
    """Six 3x3 convolutions with padding in pairs of 32, 64 and 128 channels, each pair pooled; one dense layer."""
    layers = []
    for channels in (32, 64, 128):
        layers += [Conv2D(channels, 3, padding="same"), ReLU()] * 2 + [MaxPool2D(2)]
    return Network(input_shape, [*layers, Flatten(), Dense(classes)], name="vgg_small")


def small_cnn(input_shape=(28, 28, 1), classes=10):
    """Two 3x3 convolutions with padding, 16 and 32 filters, each pooled; dense layers of 128 units and the classes."""
    layers = []
    for filters in (16, 32):
        layers += [Conv2D(filters, 3, padding="same"), ReLU(), MaxPool2D(2)]
    return Network(input_shape, [*layers, Flatten(), Dense(128), ReLU(), Dense(classes)], name="small_cnn")


def plain_blocks(input_shape=(32, 32, 3), classes=10, channels=32, depth=4):
    """`depth` 3x3 convolutions with padding, `channels` filters each, pooled once behind the first; one dense layer.

    For measurements of growth: one number says how large it is.
    """
    convolutions = [layer for _ in range(depth) for layer in (Conv2D(channels, 3, padding="same"), ReLU())]
    layers = [*convolutions[:2], MaxPool2D(2), *convolutions[2:], Flatten(), Dense(classes)]
    return Network(input_shape, layers, name="plain_blocks")


def tiny(input_shape=(10, 9, 2), classes=3):
    """A network of every layer kind, small enough for the simulator and for interpreted loops."""
    return Network(
        input_shape,
        [
            *(Conv2D(3, 3, padding="same"), ReLU(), MaxPool2D(2)),
            *(Conv2D(5, (2, 3), stride=(2, 1), padding=1), ReLU(), MaxPool2D(2, stride=1)),
            Flatten(),
            *(Dense(7), ReLU(), Dense(classes)),
        ],
        name="tiny",
    )


def small_plans():
    """{name: network} so small that a program which watches every access gets to the end of a few steps.

    By the layers that make them differ: convolutions of two sizes, dense layers of a few units, one of many, and the
    activations beside ReLU.
    """
    return {
        "two convolutions": _one_channel("two convolutions", 10, ((4, 3), (6, 2)), 7),
        "dense layers": _one_channel("dense layers", 8, ((4, 3),), 18, 11),
        "a large dense layer": _one_channel("a large dense layer", 16, ((4, 3),), 256),
        "every activation": _smooth(),
    }


def _smooth(classes=3):
    """Every activation but ReLU: behind convolutions that pool and that do not, a pooling, and a dense layer."""
    layers = [Conv2D(4, 3, padding="same"), LeakyReLU(), MaxPool2D(2), Conv2D(3, 2), ELU(), AvgPool2D(2), Sigmoid()]
    return Network((8, 8, 1), [*layers, Flatten(), Dense(7), Tanh(), Dense(classes)], name="every activation")


def _one_channel(name, side, convolutions, *units, classes=3):
    """Pooled convolutions of (filters, side of the window), then dense layers of `units` and of the classes."""
    layers = [x for f, window in convolutions for x in (Conv2D(f, window, padding="same"), ReLU(), MaxPool2D(2))]
    dense = [layer for count in units for layer in (Dense(count), ReLU())]
    return Network((side, side, 1), [*layers, Flatten(), *dense, Dense(classes)], name=name)
