"""Shared set-up of the tests: no GPU means the simulator, and no test reads a data folder of the machine."""

import importlib.util
import os
import shutil

import pytest

os.environ.setdefault("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "0")
HAS_GPU = shutil.which("nvidia-smi") is not None
if not HAS_GPU:  # read when numba.cuda is first imported
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")


def pytest_collection_modifyitems(items):
    """Skip what this machine lacks, saying so."""
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if "gpu" in item.keywords and not HAS_GPU:
            item.add_marker(no_gpu)


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("CNN_DATA", raising=False)


@pytest.fixture
def torch():
    """PyTorch, or a skip where it is not installed."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    return pytest.importorskip("torch")
