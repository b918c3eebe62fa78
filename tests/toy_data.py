"""A small random data set with the interface of helpers/data.py's Dataset."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ToyDataset:
    """Images that a small network can learn: class k is brighter in its own part of the image."""

    image_shape: tuple
    classes: int = 3
    samples: int = 96
    name: str = "toy"
    seed: int = 0

    def __post_init__(self):
        generator = np.random.default_rng(self.seed)
        for split, count in (("train", self.samples), ("validation", 20), ("test", 37)):
            labels = generator.integers(0, self.classes, count).astype(np.uint8)
            images = generator.integers(0, 200, (count, *self.image_shape))
            rows = np.arange(self.image_shape[0]) * self.classes // self.image_shape[0]
            bright = (rows == labels[:, None]).reshape(count, -1, *(1,) * (len(self.image_shape) - 1))
            object.__setattr__(self, f"{split}_images", (images + 55 * bright).astype(np.uint8))
            object.__setattr__(self, f"{split}_labels", labels)

    @property
    def scale(self):
        return np.stack([np.full(self.image_shape[-1], 1 / 64), np.full(self.image_shape[-1], -2.0)]).astype(np.float32)

    def normalize(self, images, dtype=np.float32):
        return images.astype(dtype) * self.scale[0].astype(dtype) + self.scale[1].astype(dtype)

    def split(self, name):
        return getattr(self, f"{name}_images"), getattr(self, f"{name}_labels")
