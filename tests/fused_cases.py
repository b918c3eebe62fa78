"""Networks and arguments that several tests of the fused engine share; random small networks."""

from unittest.mock import patch

import numpy as np
from activated import ACTIVATED, EVERY_ACTIVATION
from hypothesis import strategies as st
from toy_data import ToyDataset

from helpers.architectures import tiny
from helpers.initialization import initial_parameters
from helpers.kernels.fused import input_gradients, placing
from helpers.kernels.fused.barrier import PATIENCE, STATE_WORDS, counters
from helpers.kernels.fused.layout import blank_factors, pack
from helpers.kernels.fused.parts import ARGUMENTS, PER_EPOCH, STEPS
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.profile import MOST_PHASES
from helpers.kernels.state import EPOCH, SAMPLES, SEED
from helpers.layers import ELU, AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Tanh
from helpers.network import Network

H100, CONSUMER, T4 = Card(132, 232448, (9, 0)), Card(46, 101376, (8, 6)), Card(40, 65536, (7, 5))

POOLED = Network(
    (10, 10, 1),
    [
        *(Conv2D(4, 3), ReLU(), MaxPool2D(2), Conv2D(6, 2), ReLU(), MaxPool2D(2)),
        *(Flatten(), Dense(7), ReLU(), Dense(3)),
    ],
    name="pooled",
)
SMALL = Network((7, 6, 2), [Conv2D(3, 2), ReLU(), MaxPool2D(2), Conv2D(5, 2), ReLU(), Flatten(), Dense(3)], "small")
# three dense layers, and a card for each way to keep their weights: groups of 4 share three or two of them, groups of 2
# share one, and two stream
DENSE = Network(
    (6, 6, 2),
    [
        *(Conv2D(4, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten()),
        *(Dense(18), ReLU(), Dense(11), ReLU(), Dense(3)),
    ],
    name="dense",
)
# where groups share small layers, too (`share_small_layers`)
SHARING = {(4, 3): 6600, (4, 2): 7000, (2, 1): 8200, (1, 0): 5400}  # (members, layers shared): bytes


def share_small_layers():
    """Context in which groups of blocks share layers of any size; as they are, only large ones are worth it."""
    return patch.object(placing, "WORTH_SHARING", 1)


def _named(name, shape, *layers):
    return Network(shape, [*layers, Dense(3)], name=name)


# a thread scatters the gradients of three channels at once
THREE_CHANNELS = _named(
    "three channels", (9, 8, 1), Conv2D(3, 2), ELU(), Conv2D(2, (3, 2)), Tanh(), MaxPool2D(2), Flatten()
)
NETWORKS = [
    tiny(),  # overlapping max-pooling, a stride, padding
    POOLED,
    _named("strided", (9, 8, 1), Conv2D(3, 3, stride=2, padding=1), ReLU(), Conv2D(4, 3, stride=(1, 2)), Flatten()),
    _named("average", (8, 7, 3), Conv2D(4, 3, padding="same"), ReLU(), AvgPool2D(2), Conv2D(3, 2), Flatten()),
    _named("one dense layer", (5, 4, 3), Flatten()),
    _named(
        *("no pooling", (7, 6, 1), Conv2D(4, (3, 2)), ReLU(), Conv2D(3, 2, padding=1), ReLU(), Flatten()),
        *(Dense(5), ReLU()),
    ),
    _named("relu behind a pooling", (6, 5, 2), Conv2D(3, 2), AvgPool2D(2, 1, "same"), ReLU(), Conv2D(2, 2), Flatten()),
    _named("rectangles", (11, 6, 2), Conv2D(5, (1, 4)), ReLU(), MaxPool2D((3, 1)), Conv2D(3, (2, 1)), Flatten()),
    _named(
        *("padded max-pooling", (7, 7, 1), Conv2D(3, 2), MaxPool2D(3, 2, 1), ReLU(), Conv2D(4, 2), MaxPool2D(2)),
        *(ReLU(), Flatten()),
    ),
    # the last windows hang over the edge: such a pooling is not joined with the convolution before it
    _named("overhang", (5, 4, 2), Conv2D(3, 1), ReLU(), MaxPool2D(2, 2, "same"), Flatten(), Dense(4), ReLU()),
    THREE_CHANNELS,
    *ACTIVATED.values(),
    _named("relus in a row", (6, 5, 1), ReLU(), MaxPool2D(2), Flatten(), Dense(7), ReLU(), ReLU(), Dense(6), ReLU()),
]


ACTIVATED_ONCE = [[function] for function in EVERY_ACTIVATION]


def scatter_many_channels():
    """Context in which a thread scatters the gradients of several channels on small images, too."""
    return patch.object(input_gradients, "ENOUGH_THREADS", 1)


@st.composite
def networks(draw):
    """A Network of up to two convolutions and three dense layers on a small image; poolings of any kind between."""
    shape = draw(st.integers(5, 8)), draw(st.integers(5, 8)), draw(st.integers(1, 3))
    layers = []
    for _ in range(draw(st.integers(0, 2))):
        kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        padding = draw(st.sampled_from(["valid", "same", (kernel[0] // 2, kernel[1] // 2)]))
        stride = draw(st.integers(1, 2)), draw(st.integers(1, 2))
        layers.append(Conv2D(draw(st.integers(1, 5)), kernel, stride, padding))
        layers += draw(st.sampled_from([[], [ReLU()], *ACTIVATED_ONCE, [ReLU(), ReLU()], [Tanh(), ReLU()]]))
        pool = draw(st.sampled_from([None, MaxPool2D, AvgPool2D]))
        layers += [pool(2, draw(st.integers(1, 2)), draw(st.sampled_from(["valid", "same"])))] if pool else []
        layers += draw(st.sampled_from([[], [ReLU()], *ACTIVATED_ONCE]))
    layers.append(Flatten())
    for _ in range(draw(st.integers(0, 2))):
        layers += [Dense(draw(st.integers(1, 9))), *draw(st.sampled_from([[], [ReLU()], *ACTIVATED_ONCE]))]
    layers.append(Dense(3))
    try:
        return Network(shape, layers)
    except ValueError:  # the image has become too small for the next window
        return Network(shape, [Flatten(), *layers[layers.index(Flatten()) + 1 :]])


def arguments(plan, optimizer, steps=1, seed=0, samples=None, patience=1 << 10):
    """{name: NumPy array}: what the kernels of `plan` take to train `steps` steps of a toy data set from its start.

    What the kernels must write is poisoned: factors but for their ones and padding, partial sums, losses, the order.
    """
    network, batch = plan.network, plan.batch
    samples = samples or steps * batch + 3
    data = ToyDataset(network.input_shape, classes=3, samples=samples)
    state = np.zeros(STATE_WORDS, np.int32)
    state[[EPOCH, SEED, SAMPLES, STEPS, PER_EPOCH, PATIENCE]] = 0, seed, samples, steps, steps, patience
    values = {
        "parameters": pack(plan, initial_parameters(network, seed)),
        "slots": np.zeros(len(optimizer.slots) * plan.parameter_cells, np.float32),
        "partials": np.full(max(plan.image_blocks * plan.exchange, 1), np.nan, np.float32),
        "factors": poisoned_factors(plan),
        "images": data.train_images.reshape(-1),
        "labels": data.train_labels,
        "scale": data.scale.reshape(-1),
        "rates": optimizer.step_factors(0, steps).reshape(-1),
        "order": np.full(steps * batch, -1, np.int32),
        "sample_losses": np.full(steps * batch, np.nan, np.float32),
        "sample_hits": np.full(steps * batch, -1, np.int32),
        "losses": np.full(steps, np.nan, np.float32),
        "hits": np.full(steps, -1, np.int32),
        "counter": np.zeros(counters(plan), np.int32),
        "state": state,
        "cycles": np.full(plan.blocks * MOST_PHASES, -1, np.int32),
    }
    return {name: values[name] for name, _ in ARGUMENTS}


def poisoned_factors(plan):
    """`blank_factors`, but NaN wherever an image must publish an input or a gradient, or a group exchanges sums."""
    factors = blank_factors(plan)
    for layer in plan.dense:
        if layer.shard:
            members, gradients = layer.shard.members, layer.shard.gradients
            factors[:, layer.shard.sums : layer.shard.sums + members * layer.pitch_used] = np.nan
            factors[:, gradients : gradients + (layer.inputs if layer.input_gradient is not None else 0)] = np.nan
        factors[:, layer.x_factors : layer.x_factors + layer.inputs] = np.nan
        factors[:, layer.d_factors : layer.d_factors + layer.outputs] = np.nan
    return factors.reshape(-1)
