"""Where data sets come from: reads the published file layouts, fetches what is missing, trusts no file.

Knows files, hashes and layouts; must not learn about normalisation, splits or what is trained on the arrays.
"""

import codecs
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pooch

DATA_FOLDER = Path(__file__).resolve().parents[1] / "data"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
STORAGE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
MNIST_FILE = ("mnist.npz", "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1")
IDX_FILES = {  # the order of ARRAYS, with the md5 published beside the Fashion-MNIST files
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_ARCHIVE = ("cifar-10-python.tar.gz", "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce")
CIFAR_FOLDER = "cifar-10-batches-py"
CIFAR_BATCHES = {  # md5 of the published batch files, training first
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# what a damaged file raises while it is decoded
BROKEN = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, pickle.UnpicklingError)
BROKEN += (tarfile.TarError, zlib.error, zipfile.BadZipFile, MemoryError, OverflowError)


class DataError(ValueError):
    """A data set that cannot be read, found or trusted; the message says what to do."""


def read_arrays(name):
    """The four arrays of data set `name`: from the folder CNN_DATA, else embedded, else fetched.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "cifar10"}

    Returns
    -------
    arrays : dict
        x_train, y_train, x_test, y_test as the files hold them, unchecked; CIFAR-10 as (N, H, W, C).
    published : bool
        Whether a hash says that the files are the published ones byte for byte.
    origin : str
        File or folder name for messages, without the path.

    Raises
    ------
    DataError
        If a file is damaged or nothing can be found or fetched.
    """
    found = _find_local(name)
    if found is None and name == "mnist" and (DATA_FOLDER / "mnist.npz").exists():
        found = DATA_FOLDER / "mnist.npz"
    if found is None:
        found = _fetch(name)
    try:
        return *_read(found), found.name
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{found.name} of data set {name!r} is damaged ({type(error).__name__}): delete it or replace it by the "
            "published file, then load again"
        ) from error


def _find_local(name):
    """Path in the folder CNN_DATA that holds data set `name`, or None."""
    if not os.environ.get("CNN_DATA"):
        return None
    root = Path(os.environ["CNN_DATA"]).expanduser()
    if not root.is_dir():
        raise DataError("CNN_DATA names a folder that does not exist: correct the variable or unset it")
    aliases = (name, name.replace("_", "-"))
    if name == "cifar10":
        candidates = [root / CIFAR_FOLDER, root / CIFAR_ARCHIVE[0]]
        candidates += [root] if root.name == CIFAR_FOLDER else []
    else:  # MNIST and Fashion-MNIST use the same file names, so the folder must carry the data set's name
        folders = [root / alias for alias in aliases] + ([root] if root.name in aliases else [])
        candidates = [folder for folder in folders if any((folder / file).exists() for file in IDX_FILES)]
    candidates += [root / f"{alias}.npz" for alias in aliases]
    return next((path for path in candidates if path.exists()), None)


def _fetch(name):
    """Download data set `name` into data/cache, check its hash, return its path."""
    cache = DATA_FOLDER / "cache"
    if name == "mnist":
        return _retrieve(STORAGE + MNIST_FILE[0], MNIST_FILE[1], cache, name)
    if name == "cifar10":
        return _retrieve(CIFAR_URL + CIFAR_ARCHIVE[0], CIFAR_ARCHIVE[1], cache, name)
    for file, digest in IDX_FILES.items():
        _retrieve(STORAGE + file, digest, cache / name, name)
    return cache / name


def _retrieve(url, digest, folder, name):
    """One verified file; pooch writes to a temporary name and renames, so a broken download leaves nothing."""
    file = url.rsplit("/", 1)[1]
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, known_hash=digest, fname=file, path=folder, progressbar=False))
    except ValueError as error:
        raise DataError(
            f"{file} of data set {name!r} arrived with another hash than the published one and was discarded: "
            "try again, or put the published file into a folder and name it in CNN_DATA"
        ) from error
    except OSError as error:
        raise DataError(
            f"data set {name!r} could not be fetched ({type(error).__name__}): connect to the network, or put the "
            "published files into a folder and name it in the environment variable CNN_DATA"
        ) from error


def _read(path):
    """Arrays and `published` of one file or folder, by its layout."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in ARRAYS if key not in archive]
            if missing:
                raise DataError(f"{path.name} lacks {', '.join(missing)}: expected the arrays {', '.join(ARRAYS)}")
            return {key: archive[key] for key in ARRAYS}, False
    if path.suffix == ".gz":
        with tarfile.open(path) as archive:
            return _read_cifar(lambda batch: archive.extractfile(f"{CIFAR_FOLDER}/{batch}").read())
    if (path / "test_batch").exists() or path.name == CIFAR_FOLDER:
        return _read_cifar(lambda batch: _bytes_of(path / batch))
    digests, arrays = [], {}
    for key, (file, digest) in zip(ARRAYS, IDX_FILES.items()):
        data = _bytes_of(path / file)
        digests.append(hashlib.md5(data, usedforsecurity=False).hexdigest() == digest.removeprefix("md5:"))
        arrays[key] = read_idx(gzip.decompress(data), file)
    return arrays, all(digests)


def _bytes_of(path):
    if not path.exists():
        raise DataError(f"{path.name} is missing in {path.parent.name}: add the published file beside the others")
    return path.read_bytes()


def _read_cifar(read):
    """Arrays and `published` of the six batch files, given a function from a batch's name to its bytes."""
    images, labels, published = [], [], True
    for batch, digest in CIFAR_BATCHES.items():
        data = read(batch)
        published &= hashlib.md5(data, usedforsecurity=False).hexdigest() == digest
        content = load_pickle(data)
        rows = np.asarray(content[b"data"])
        if rows.ndim != 2 or rows.shape[1] != 3072:
            raise DataError(f"{batch} holds an array of shape {rows.shape}: expected (images, 3072), replace the file")
        images.append(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.asarray(content[b"labels"]))
    arrays = (np.concatenate(images[:5]), np.concatenate(labels[:5]), np.ascontiguousarray(images[5]), labels[5])
    return dict(zip(ARRAYS, arrays)), published


def read_idx(data, file="idx file"):
    """Array of an idx file's bytes: two zeros, type 8 (uint8), rank, big-endian sizes, then the values.

    Returns
    -------
    ndarray, uint8
    """
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataError(f"{file} does not start like an idx file of uint8 values: replace it by the published file")
    rank = data[3]
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, 4))
    if len(data) != 4 + 4 * rank + int(np.prod(shape, dtype=object)):
        raise DataError(f"{file} is not as long as its header says {shape}: replace it by the published file")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


# the only globals that a pickled array needs; NumPy renamed its core package, and pickles of both kinds exist
_PICKLE_GLOBALS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}
for _core in ("core", "_core"):
    _PICKLE_GLOBALS[f"numpy.{_core}.multiarray", "_reconstruct"] = np.empty(1).__reduce__()[0]
    _PICKLE_GLOBALS[f"numpy.{_core}.numeric", "_frombuffer"] = np.empty(1).__reduce_ex__(5)[0]


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers, bytes and NumPy arrays; any other global is refused, so that a file cannot run code."""

    def find_class(self, module, name):
        if (module, name) not in _PICKLE_GLOBALS:
            raise DataError(f"a batch file asks for {module}.{name}, which no published one does: replace the file")
        return _PICKLE_GLOBALS[module, name]


def load_pickle(data):
    """Content of a pickle that may hold only containers, strings, numbers and NumPy arrays; keys as bytes."""
    return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
