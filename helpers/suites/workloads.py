"""Workloads that measurements share: network, data set and optimizer, made from plain values that fit a request.

Knows names of networks and data sets; must not learn about engines or clocks.
"""

import os
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from helpers.architectures import lenet5, plain_blocks, small_cnn, tiny, vgg_small
from helpers.data import DataError, Dataset, load_dataset, synthetic
from helpers.network import Network
from helpers.optimizers import SGD, cosine

NETWORKS = {"lenet5": lenet5, "vgg_small": vgg_small, "small_cnn": small_cnn, "tiny": tiny}
CIFAR_SHAPES = "CIFAR-10 shapes"


@dataclass(frozen=True)
class Workload:
    """What an engine trains on; `label` names the data set in records."""

    network: Network
    dataset: Dataset
    optimizer: SGD
    label: str


def make_workload(network, dataset, train=None, test=None, validation=0, rate=0.01, momentum=0.9, epochs=0):
    """Workload from plain values.

    Parameters
    ----------
    network : {"lenet5", "vgg_small", "small_cnn", "tiny"} or dict
        A dict holds the sizes of `plain_blocks`: channels, depth.
    dataset : str or dict
        A data set's name, "CIFAR-10 shapes" (synthetic images of that shape and number) or "synthetic" (tiny's shape).
        A dict holds the sizes of a random one with three channels: size (height and width), samples.
    train, test, validation : int
        Samples to keep (None: all) or to split off.
    rate, momentum, epochs : float, float, int
        SGD at a constant rate, or with `epochs` a cosine schedule from peak `rate`, rising over the first of them.

    Returns
    -------
    Workload
    """
    data = _dataset(dataset, validation)
    if train or test:
        data = data.subset(train, test)
    schedule = cosine(rate, epochs, warmup=1.0) if epochs else rate
    label = data.name if data.title in ("MNIST", "CIFAR-10", "Fashion-MNIST") else data.title
    make = partial(plain_blocks, **network) if isinstance(network, dict) else NETWORKS[network]
    made = make(data.image_shape, data.classes)
    return Workload(made, data, SGD(schedule, momentum), label)


def _dataset(name, validation):
    if name == CIFAR_SHAPES:
        few = synthetic((32, 32, 3), train=5_000, test=1_000, classes=10)
        images, labels = (np.concatenate([array] * 10) for array in (few.train_images, few.train_labels))
        return replace(few, name=name, title=CIFAR_SHAPES, train_images=images, train_labels=labels)
    if isinstance(name, dict):
        shape = (name["size"], name["size"], 3)
        return replace(synthetic(shape, train=name["samples"], classes=10), title="random images")
    if name == "synthetic":
        return synthetic((10, 9, 2), train=64, test=32, classes=3)
    return load_dataset(name, validation)


def cifar10_or_shapes():
    """Name of vgg_small's data set: "cifar10" where the folder CNN_DATA holds it, else "CIFAR-10 shapes".

    Nothing is fetched for a measurement of speed.
    """
    if os.environ.get("CNN_DATA"):
        try:
            load_dataset("cifar10")
            return "cifar10"
        except DataError:
            pass
    return CIFAR_SHAPES
