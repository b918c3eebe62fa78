"""Data sets: load, verify, split. One Dataset type: uint8 images, labels, normalisation constants, fingerprint.

Knows arrays and their published content; must not learn about networks, engines or devices.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from helpers.sources import DataError, read_arrays


@dataclass(frozen=True)
class Published:
    """What is known of a data set before it is read.

    `mean` and `std` are the per-channel constants of x / 255 over the training images that the literature uses;
    `fingerprint` is that of the published arrays in their order, None where no copy could be had to take it.
    """

    title: str
    train: int
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str | None


TEST_SAMPLES, CLASSES = 10_000, 10
PUBLISHED = {
    "mnist": Published("MNIST", 60_000, (28, 28, 1), (0.1307,), (0.3081,), "06b0d1f124c4"),
    "fashion_mnist": Published("Fashion-MNIST", 60_000, (28, 28, 1), (0.2860,), (0.3530,), "ca3ab2a37f84"),
    "cifar10": Published("CIFAR-10", 50_000, (32, 32, 3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), None),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of three splits, and how to normalise them.

    Parameters
    ----------
    name : str
        Short name, as in measurement records ("mnist").
    title : str
        Name to show; says "(recompressed)" where the pixels are not the published ones.
    train_images, validation_images, test_images : ndarray, uint8, shape (N, H, W, C) or (N, D, H, W, C)
    train_labels, validation_labels, test_labels : ndarray, uint8, shape (N,)
    mean, std : ndarray, float32, shape (C,)
        Of x / 255, per channel.
    classes : int
        Labels run from 0 to classes - 1.
    """

    name: str
    title: str
    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    classes: int = CLASSES

    @property
    def image_shape(self):
        """Shape of one image, channels last."""
        return self.train_images.shape[1:]

    @property
    def scale(self):
        """float32, shape (2, C): x * scale[0] + scale[1] equals (x / 255 - mean) / std."""
        return self._scale(np.float32)

    def _scale(self, dtype):
        mean, std = self.mean.astype(np.float64), self.std.astype(np.float64)
        return np.stack([1 / (255 * std), -mean / std]).astype(dtype)

    def normalize(self, images, dtype=np.float32):
        """(x / 255 - mean) / std of uint8 `images` (..., C), computed in float type `dtype`."""
        factor, shift = self._scale(dtype)
        return np.asarray(images).astype(dtype) * factor + shift

    def split(self, name):
        """(images, labels) of "train", "validation" or "test".

        Raises
        ------
        ValueError
            For another name, or for "validation" where none was split off.
        """
        if name not in ("train", "validation", "test"):
            raise ValueError(f"split is {name!r}; expected 'train', 'validation' or 'test'")
        images, labels = getattr(self, f"{name}_images"), getattr(self, f"{name}_labels")
        if not len(labels):
            raise ValueError(f"{self.title} has no {name} samples; load it with validation=k or a larger subset")
        return images, labels

    @cached_property
    def fingerprint(self):
        """First 12 hex digits of the SHA-256 of all images and labels; independent of the validation split."""
        digest = hashlib.sha256()
        for arrays in (
            (self.train_images, self.validation_images),
            (self.train_labels, self.validation_labels),
            (self.test_images,),
            (self.test_labels,),
        ):
            for array in arrays:
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:12]

    def describe(self):
        """One line: title, sizes of the splits, image shape, classes, fingerprint."""
        sizes = ", ".join(
            f"{len(getattr(self, f'{split}_labels')):,} {split}"
            for split in ("train", "validation", "test")
            if len(getattr(self, f"{split}_labels"))
        )
        shape = " x ".join(map(str, self.image_shape))
        return f"{self.title}: {sizes}; {shape} uint8; {self.classes} classes; fingerprint {self.fingerprint}"

    def subset(self, train=None, test=None):
        """The first `train` training and `test` test samples (None: all), for tiny profiles."""
        for what, wanted, have in (("train", train, self.train_labels), ("test", test, self.test_labels)):
            if wanted is not None and not 1 <= wanted <= len(have):
                raise ValueError(f"{what} is {wanted}; {self.title} has {len(have)} {what} samples")
        return replace(
            self,
            train_images=self.train_images[:train],
            train_labels=self.train_labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
        )


def load_dataset(name, validation=0):
    """Data set `name`, read, verified and split.

    Looked for in the folder that the environment variable CNN_DATA names (published layouts, or .npz files with
    x_train, y_train, x_test, y_test), then embedded in the project (MNIST), then fetched from its published place.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "cifar10"}
    validation : int
        Number of last training samples to split off; 0: none.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError (a ValueError)
        If nothing can be found or fetched, or the content is not what was published.
    """
    if name not in PUBLISHED:
        raise ValueError(f"data set is {name!r}; expected {', '.join(map(repr, PUBLISHED))}")
    facts = PUBLISHED[name]
    if isinstance(validation, bool) or not isinstance(validation, int) or not 0 <= validation < facts.train:
        raise ValueError(f"validation is {validation!r}; expected an integer from 0 to {facts.train - 1}")
    arrays, published, origin = read_arrays(name)
    images, labels = _checked(arrays, "train", facts.train, facts, origin)
    test_images, test_labels = _checked(arrays, "test", TEST_SAMPLES, facts, origin)
    kept = facts.train - validation
    dataset = Dataset(
        name,
        facts.title if facts.fingerprint or published else f"{facts.title} (recompressed)",
        *(images[:kept], labels[:kept], images[kept:], labels[kept:], test_images, test_labels),
        np.array(facts.mean, np.float32),
        np.array(facts.std, np.float32),
    )
    if facts.fingerprint not in (None, dataset.fingerprint):
        known = {other.fingerprint: other.title for other in PUBLISHED.values()}
        holds = known.get(dataset.fingerprint, "other pixels or another order")
        raise DataError(f"{origin} holds {holds} instead of the published {facts.title}: replace or rename the file")
    return dataset


def _checked(arrays, split, count, facts, origin):
    """Images (N, H, W, C) and labels of one split as uint8; raises DataError where the content is not as published."""
    images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    shape = (count, *facts.image_shape)
    if images.shape not in (shape, shape[:3] if shape[3] == 1 else shape):
        raise DataError(f"{origin}: x_{split} has shape {images.shape}, expected {shape}: replace the file")
    if images.dtype != np.uint8:
        raise DataError(f"{origin}: x_{split} has dtype {images.dtype}, expected uint8: replace the file")
    labels = labels.reshape(-1) if labels.shape == (count, 1) else labels
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{origin}: y_{split} has shape {labels.shape} and dtype {labels.dtype}, expected ({count},) and integers: "
            "replace the file"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if len(wrong):
        raise DataError(
            f"{origin}: y_{split}[{wrong[0]}] is {labels[wrong[0]]}, expected 0 to {CLASSES - 1}: replace the file"
        )
    return np.ascontiguousarray(images).reshape(shape), np.ascontiguousarray(labels, np.uint8)


def synthetic(image_shape=(8, 8, 1), train=64, test=32, classes=4, validation=0, seed=0):
    """A seeded random data set of any shape, for tests: each class brightens its own pixels, so it can be learnt.

    Parameters
    ----------
    image_shape : tuple of int
        (H, W, C) or (D, H, W, C).
    train, test, validation : int
        Samples of each split.

    Returns
    -------
    Dataset
    """
    generator = np.random.default_rng(seed)
    patterns = generator.integers(0, 128, (classes, *image_shape))
    total = train + validation + test
    labels = generator.integers(0, classes, total).astype(np.uint8)
    images = (patterns[labels] + generator.integers(0, 128, (total, *image_shape))).astype(np.uint8)
    ends = np.cumsum([train, validation])
    parts = [part for pair in zip(np.split(images, ends), np.split(labels, ends)) for part in pair]
    channels = image_shape[-1]
    mean, std = np.full(channels, 0.5, np.float32), np.full(channels, 0.2, np.float32)
    return Dataset("synthetic", "Synthetic data", *parts, mean, std, classes)
