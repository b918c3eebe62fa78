"""Every notebook: shared cells, committed executed, short cells, its end; and its execution in the quick profile."""

import json
import os
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

from helpers.chain import execute
from helpers.publishing.cells import METADATA, SHARED, notebook_paths, repository_of, share_cells

PATHS = notebook_paths()
CELL_LINES, KERNEL_LINES, BYTES = 25, 35, 1_500_000


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, 4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def lines(cell):
    return len(cell.source.splitlines())


def test_title_is_a_question(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and re.match(r"# .*\?", first.source)


def test_shared_cells_and_metadata(path, notebook):
    fresh = share_cells(nbformat.read(path, 4), repository_of(PATHS))
    assert len(fresh.cells) == len(notebook.cells), "run python -m helpers.chain cells"
    for index, name, _, tags in SHARED:
        assert notebook.cells[index].source == fresh.cells[index].source, "run python -m helpers.chain cells"
        assert notebook.cells[index].id == name and notebook.cells[index].metadata.get("tags", []) == tags
    assert notebook.metadata == METADATA


def test_committed_executed_without_errors(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run ./run_all.sh --update"
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def test_no_machine_paths(path):
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"/(?:root|home|work|Users|tmp)/[\w./-]*", text)
    assert not re.findall(r"site-packages|ipykernel_\d+", text)


def test_cells_are_short(notebook):
    own = [cell for cell in code_cells(notebook) if cell.id not in [shared[1] for shared in SHARED]]
    long = [cell.source.splitlines()[0] for cell in own if lines(cell) > KERNEL_LINES]
    assert not long, f"longer than {KERNEL_LINES} lines: {long}"
    long = [cell.source.splitlines()[0] for cell in own if lines(cell) > CELL_LINES and "cuda" not in cell.source]
    assert not long, f"longer than {CELL_LINES} lines and no kernel: {long}"
    assert median(map(lines, own)) <= 8


def test_bans(notebook):
    for cell in notebook.cells:
        assert not re.search(r"import \*|^%%writefile|data:image", cell.source, re.MULTILINE)


def test_size(path):
    assert path.stat().st_size < BYTES


def test_ends_with_exercises_and_a_next_link(path, notebook):
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert any(re.search(r"(?m)^#+ Exercises", text) for text in prose)
    targets = re.findall(r"\]\(([^)#]+\.(?:ipynb|md))\)", prose[-1])
    assert targets, "the last cell leads on to no notebook and not to README"
    assert all((path.parent / target).exists() for target in targets)


@pytest.mark.notebooks
def test_executes_in_the_quick_profile(path, tmp_path, monkeypatch):
    monkeypatch.setenv("CNN_PROFILE", "quick")
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    monkeypatch.setenv("CNN_FIGURES", str(tmp_path / "figures"))
    execute(path, tmp_path / path.name)


BLOCKED = ("torch", "jax", "keras", "tensorflow")


@pytest.mark.notebooks
def test_missing_frameworks_leave_marked_rows(tmp_path, monkeypatch):
    """As where none is installed: no process that the notebook starts can import one."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules |= dict.fromkeys({BLOCKED})\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("CNN_PROFILE", "quick")
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    (path,) = [path for path in PATHS if path.stem.startswith("05")]
    execute(path, tmp_path / path.name)
    cells = json.loads((tmp_path / path.name).read_text(encoding="utf-8"))["cells"]
    said = [output.get("text", "") for cell in cells for output in cell.get("outputs", ())]
    outputs = " ".join("".join(text) for text in said).replace("\n", " ")  # a sentence goes over several lines
    for engine, package in (("pytorch", "torch"), ("jax", "jax"), ("tensorflow", "tensorflow")):
        assert re.search(rf"ngine '{engine}' needs {package}, which cannot be", outputs)


def test_links_in_prose_lead_somewhere():
    root = Path(__file__).resolve().parents[1]
    for document in [*PATHS, root / "README.md"]:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([\w./-]+)\)", text):
            if target.startswith("notebooks/") and not PATHS:
                continue
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
