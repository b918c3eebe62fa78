"""The loader against good, damaged, renamed and missing files; Dataset's splits, constants and fingerprint."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import data, sources
from helpers.data import PUBLISHED, load_dataset, synthetic
from helpers.sources import CIFAR_BATCHES, CIFAR_FOLDER, IDX_FILES, DataError, load_pickle, read_idx

FACTS = data.Published("Small", 20, (28, 28, 1), (0.5,), (0.25,), None)


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Data sets of 20 training and 10 test samples, looked for in a folder; returns that folder."""
    cifar = data.Published("CIFAR-10", 20, (32, 32, 3), (0.5,) * 3, (0.25,) * 3, None)
    monkeypatch.setattr(data, "PUBLISHED", {"mnist": FACTS, "fashion_mnist": FACTS, "cifar10": cifar})
    monkeypatch.setattr(data, "TEST_SAMPLES", 10)
    monkeypatch.setattr(sources, "DATA_FOLDER", tmp_path / "data")
    monkeypatch.setenv("CNN_DATA", str(tmp_path))
    return tmp_path


def arrays(train=20, test=10, shape=(28, 28)):
    generator = np.random.default_rng(5)
    return {
        "x_train": generator.integers(0, 256, (train, *shape), np.uint8),
        "y_train": (np.arange(train) % 10).astype(np.uint8),
        "x_test": generator.integers(0, 256, (test, *shape), np.uint8),
        "y_test": (np.arange(test) % 10).astype(np.uint8),
    }


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def write_idx(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(IDX_FILES, arrays().values()):
        (folder / file).write_bytes(gzip.compress(idx_bytes(array)))


def write_cifar(folder, protocol=2):
    folder.mkdir(parents=True, exist_ok=True)
    content = arrays(24, 10, (3, 32, 32))  # 5 batches of 4 and one of 10
    for i, batch in enumerate(CIFAR_BATCHES):
        images = content["x_test"] if batch == "test_batch" else content["x_train"][4 * i : 4 * i + 4]
        labels = list(range(10)) if batch == "test_batch" else [1, 2, 3, 4]
        rows = {b"data": images.reshape(len(images), -1), b"labels": labels}
        (folder / batch).write_bytes(pickle.dumps(rows, protocol))
    return content


def test_embedded_mnist_is_the_published_one(mnist):
    assert mnist.describe() == (
        "MNIST: 60,000 train, 10,000 test; 28 x 28 x 1 uint8; 10 classes; fingerprint 06b0d1f124c4"
    )
    pixels = mnist.train_images / 255
    assert pixels.mean() == pytest.approx(mnist.mean[0], abs=1e-4)
    assert pixels.std() == pytest.approx(mnist.std[0], abs=1e-4)


def test_validation_is_the_end_of_the_training_samples(mnist):
    split = load_dataset("mnist", validation=5000)
    assert np.array_equal(split.split("validation")[0], mnist.train_images[-5000:])
    assert np.array_equal(split.split("train")[1], mnist.train_labels[:-5000])
    assert split.fingerprint == mnist.fingerprint


@pytest.mark.parametrize("validation", [-1, 60_000, True, 0.5, "all"])
def test_wrong_validation(validation):
    with pytest.raises(ValueError, match="validation is .* expected an integer from 0 to 59999"):
        load_dataset("mnist", validation=validation)


def test_wrong_names(mnist):
    with pytest.raises(ValueError, match="data set is 'imagenet'; expected 'mnist', 'fashion_mnist', 'cifar10'"):
        load_dataset("imagenet")
    with pytest.raises(ValueError, match="split is 'valid'; expected 'train', 'validation' or 'test'"):
        mnist.split("valid")
    with pytest.raises(ValueError, match="MNIST has no validation samples"):
        mnist.split("validation")
    with pytest.raises(ValueError, match="train is 60001; MNIST has 60000 train samples"):
        mnist.subset(train=60001)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_scale_is_the_normalisation(channels, seed):
    generator = np.random.default_rng(seed)
    dataset = synthetic((3, 2, channels), seed=seed % 1000)
    mean, std = generator.uniform(0.1, 0.9, (2, channels)).astype(np.float32)
    dataset = data.replace(dataset, mean=mean, std=std)
    wanted = (dataset.train_images / 255 - mean.astype(float)) / std.astype(float)
    assert np.allclose(dataset.normalize(dataset.train_images, np.float64), wanted, rtol=1e-12, atol=1e-12)
    got = dataset.normalize(dataset.train_images)
    assert got.dtype == np.float32 and dataset.scale.dtype == np.float32 and dataset.scale.shape == (2, channels)
    assert np.abs(got - wanted).max() < 4e-7 / std.min()


def test_synthetic_is_seeded_and_of_any_shape():
    one, two, other = (synthetic((3, 4, 5, 2), classes=3, validation=7, seed=s) for s in (1, 1, 2))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.image_shape == (3, 4, 5, 2) and one.classes == 3 and len(one.validation_labels) == 7
    assert one.subset(train=5, test=2).split("train")[0].shape == (5, 3, 4, 5, 2)


@pytest.mark.parametrize("file", ["mnist.npz", "fashion-mnist.npz", "fashion_mnist.npz"])
def test_npz_in_the_folder(small, file):
    np.savez(small / file, **arrays())
    name = file.removesuffix(".npz").replace("-", "_")
    assert load_dataset(name).split("train")[0].shape == (20, 28, 28, 1)


@pytest.mark.parametrize("folder", ["fashion_mnist", "fashion-mnist"])
def test_idx_files_in_the_folder(small, folder, monkeypatch):
    write_idx(small / folder)
    assert np.array_equal(load_dataset("fashion_mnist").test_images[..., 0], arrays()["x_test"])
    monkeypatch.setenv("CNN_DATA", str(small / folder))
    assert np.array_equal(load_dataset("fashion_mnist").train_labels, arrays()["y_train"])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cifar_batches_in_the_folder(small, protocol):
    content = write_cifar(small / CIFAR_FOLDER, protocol)
    dataset = load_dataset("cifar10")
    assert np.array_equal(dataset.train_images, content["x_train"][:20].transpose(0, 2, 3, 1))
    assert dataset.title == "CIFAR-10 (recompressed)"


def test_cifar_with_the_published_hashes_has_the_plain_title(small, monkeypatch):
    write_cifar(small / CIFAR_FOLDER)
    with tarfile.open(small / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(small / CIFAR_FOLDER, CIFAR_FOLDER)
    hashes = {b: hashlib.md5((small / CIFAR_FOLDER / b).read_bytes()).hexdigest() for b in CIFAR_BATCHES}
    monkeypatch.setattr(sources, "CIFAR_BATCHES", hashes)
    assert load_dataset("cifar10").title == "CIFAR-10"
    (small / CIFAR_FOLDER).rename(small / "elsewhere")
    assert load_dataset("cifar10").title == "CIFAR-10"


DAMAGE = {
    "x_train has shape": lambda a: a | {"x_train": a["x_train"][:-1]},
    "x_test has shape": lambda a: a | {"x_test": a["x_test"][:, :, 1:]},
    "x_train has dtype float32, expected uint8": lambda a: a | {"x_train": a["x_train"].astype(np.float32)},
    "y_train has shape .* and dtype float64": lambda a: a | {"y_train": a["y_train"].astype(float)},
    r"y_test\[3\] is 10, expected 0 to 9": lambda a: a | {"y_test": np.where(np.arange(10) == 3, 10, 0)},
    r"y_train\[0\] is -1, expected 0 to 9": lambda a: a | {"y_train": a["y_train"].astype(int) - 1},
    "lacks y_test: expected the arrays": lambda a: {k: a[k] for k in a if k != "y_test"},
    "damaged": lambda a: a | {"x_test": np.array([{}])},
}


@pytest.mark.parametrize("message", DAMAGE)
def test_wrong_content(small, message):
    np.savez(small / "mnist.npz", **DAMAGE[message](arrays()))
    with pytest.raises(DataError, match=f"^mnist.npz.*{message}") as caught:
        load_dataset("mnist")
    assert "\n" not in str(caught.value) and str(small) not in str(caught.value)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 0.99), st.integers(1, 255))
def test_truncated_or_altered_npz(fraction, flip):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays())
    whole = buffer.getvalue()
    position = int(fraction * len(whole))
    altered = whole[:position] + bytes([whole[position] ^ flip]) + whole[position + 1 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "PUBLISHED", {"mnist": FACTS})
        patch.setattr(data, "TEST_SAMPLES", 10)
        for content in (whole[:position], altered):
            _load_bytes(content, patch)


def _load_bytes(content, patch):
    """Loading `content` as mnist.npz gives a DataError or, where no value was touched, the arrays that were stored."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        patch.setenv("CNN_DATA", folder)
        with open(os.path.join(folder, "mnist.npz"), "wb") as file:
            file.write(content)
        try:
            dataset = load_dataset("mnist")
        except DataError:
            return
        assert np.array_equal(dataset.train_images[..., 0], arrays()["x_train"])
        assert np.array_equal(dataset.test_labels, arrays()["y_test"])


def test_renamed_file_is_recognised(monkeypatch, tmp_path, mnist):
    content = {f"x_{s}": mnist.split(s)[0][..., 0] for s in ("train", "test")}
    content |= {f"y_{s}": mnist.split(s)[1] for s in ("train", "test")}
    np.savez(tmp_path / "fashion_mnist.npz", **content)
    monkeypatch.setenv("CNN_DATA", str(tmp_path))
    with pytest.raises(DataError, match="fashion_mnist.npz holds MNIST instead of the published Fashion-MNIST"):
        load_dataset("fashion_mnist")


# Named, for a compressed file holds its second of writing: ids that show it would differ between the processes that
# collect the tests.
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x1f\x8b", id="cut after gzip's mark"),
        pytest.param(gzip.compress(b"abc"), id="no idx inside"),
        pytest.param(gzip.compress(idx_bytes(np.zeros((3, 2), np.uint8))[:-1]), id="a byte short"),
    ],
)
def test_damaged_idx(small, content):
    write_idx(small / "mnist")
    (small / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError):
        load_dataset("mnist")


def test_missing_idx_file(small):
    write_idx(small / "mnist")
    (small / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz is missing in mnist"):
        load_dataset("mnist")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_as_idx_or_pickle(content):
    for reader in (read_idx, load_pickle):
        try:
            reader(content)
        except (DataError, *sources.BROKEN):
            continue


def test_pickle_cannot_run_code(small):
    write_cifar(small / CIFAR_FOLDER)
    (small / CIFAR_FOLDER / "data_batch_3").write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(DataError, match="asks for posix.getcwd, which no published one does"):
        load_dataset("cifar10")


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: pickle.dumps([1, 2])])
def test_damaged_cifar(small, damage):
    write_cifar(small / CIFAR_FOLDER)
    path = small / CIFAR_FOLDER / "data_batch_2"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="cifar-10-batches-py .*damaged"):
        load_dataset("cifar10")


def test_folder_that_does_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="CNN_DATA names a folder that does not exist"):
        load_dataset("mnist")


@pytest.fixture
def server(tmp_path):
    """A web server of this machine; yields its folder and address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{web.server_port}/"
        web.shutdown()


def test_fetched_once_and_verified(small, server, monkeypatch):
    folder, address = server
    write_idx(folder)
    hashes = {f: "md5:" + hashlib.md5((folder / f).read_bytes()).hexdigest() for f in IDX_FILES}
    monkeypatch.setattr(sources, "STORAGE", address)
    monkeypatch.setattr(sources, "IDX_FILES", hashes)
    first = load_dataset("fashion_mnist")
    for file in folder.iterdir():
        file.unlink()
    assert load_dataset("fashion_mnist").fingerprint == first.fingerprint


def test_wrong_hash_leaves_nothing(small, server, monkeypatch):
    folder, address = server
    write_idx(folder)
    monkeypatch.setattr(sources, "STORAGE", address)
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz .*another hash than the published one"):
        load_dataset("fashion_mnist")
    assert not [path for path in (small / "data").rglob("*") if path.is_file()]


def test_no_network(small, monkeypatch):
    monkeypatch.setattr(sources, "CIFAR_URL", "http://127.0.0.1:9/")
    with pytest.raises(DataError, match="'cifar10' could not be fetched .*: connect to the network, or put the"):
        load_dataset("cifar10")
    assert not [path for path in (small / "data").rglob("*") if path.is_file()]


def test_every_published_set_has_constants_for_its_channels():
    for facts in PUBLISHED.values():
        assert len(facts.mean) == len(facts.std) == facts.image_shape[-1]
