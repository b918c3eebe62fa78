"""Shared set-up of the tests: no GPU means the simulator, and no test reads a data folder of the machine."""

import os

import pytest

from helpers.startup import choose_target

CARD = choose_target()  # before anything imports numba


def pytest_collection_modifyitems(items):
    """Skip what needs a card where there is none, and what needs the compiler where the simulator stands for it."""
    no_gpu = pytest.mark.skip(reason="needs a CUDA device")
    no_compiler = pytest.mark.skip(reason="needs NUMBA_ENABLE_CUDASIM=0")
    for item in items:
        if CARD is None and "gpu" in item.keywords:
            item.add_marker(no_gpu)
        if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" and "assemble" in item.keywords:
            item.add_marker(no_compiler)


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("CNN_DATA", raising=False)


@pytest.fixture
def torch():
    """PyTorch, or a skip where it is not installed."""
    return pytest.importorskip("torch")


@pytest.fixture
def records(tmp_path):
    """What is read back of a file with two engines' epochs."""
    from measured import ENVIRONMENT, LOOPS, RECORD

    from helpers.results import read_results, write_results

    path = write_results("epoch", [LOOPS, RECORD], ENVIRONMENT, tmp_path)
    assert path.name == "t4-epoch.json" and [p.name for p in tmp_path.iterdir()] == [path.name]
    return read_results(tmp_path)
