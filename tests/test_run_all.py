"""run_all.sh on a folder of two tiny notebooks: order, failures, continuing, the report; and the shared cells."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import installation
from helpers.publishing import cells
from helpers.publishing.canonical import clean, without_paths

ROOT = Path(__file__).resolve().parents[1]


def write_notebook(path, *sources):
    title = new_markdown_cell(f"# What is {path.stem}?\n\nIt is $x_i^2$ and not `$y$`.\n\n$$\\frac{{a}}{{b}}$$")
    nbformat.write(new_notebook(cells=[title, *map(new_code_cell, sources)]), path)


@pytest.fixture
def project(tmp_path):
    """Folder with two notebooks and a function that runs run_all.sh on them."""
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    figure = (
        "import os; os.makedirs(os.environ['CNN_FIGURES']); open(os.environ['CNN_FIGURES'] + '/a.png', 'w').close()"
    )
    counter = f"open({str(tmp_path / 'count')!r}, 'a').write('1')"
    write_notebook(notebooks / "01_first.ipynb", counter, "import sys; print('no' 'ise', file=sys.stderr); 1 + 1")
    write_notebook(
        notebooks / "02_second.ipynb", "from pathlib import Path; print(Path.home() / 'x', sum([3, 4]))", figure
    )
    variables = {"CNN_NOTEBOOKS": notebooks, "CNN_OUTPUT": tmp_path / "output", "SKIP_INSTALL": 1}
    variables |= {"PYTHON": sys.executable, "NUMBA_ENABLE_CUDASIM": 1}
    environment = os.environ | {name: str(value) for name, value in variables.items()}

    def run(*arguments):
        command = ["bash", str(ROOT / "run_all.sh"), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )

    return tmp_path, notebooks, run


def test_whole_run_then_nothing_to_do_then_update(project):
    folder, notebooks, run = project
    first = run()
    assert first.returncode == 0, first.stderr
    assert "No GPU: the quick profile runs" in first.stdout
    assert first.stdout.index("[1/2] 01_first.ipynb: done in") < first.stdout.index("[2/2] 02_second.ipynb: running")
    page = (folder / "output/cpu/report.html").read_text()
    assert page.index("What is 01_first?") < page.index("What is 02_second?") and "<math" in page
    assert "<script" not in page and not re.search(r'(src|href)="https?:', page)
    assert "$y$" in page and "noise" not in page and "~/x 7" in page
    again = run("--update")
    assert again.stdout.count("unchanged since it was executed") == 2
    assert (folder / "count").read_text() == "1"
    assert (folder / "figures" / "a.png").exists()
    committed = nbformat.read(notebooks / "02_second.ipynb", 4)
    assert committed.cells[1].outputs[0].text == "~/x 7\n" and committed.cells[1].execution_count == 1
    assert "papermill" not in (notebooks / "01_first.ipynb").read_text()


def test_failing_notebook_names_itself_and_its_cell_and_the_rest_continues_later(project):
    folder, notebooks, run = project
    write_notebook(notebooks / "02_second.ipynb", "x = 1", "assert x == 2, f'x is {x}'")
    failed = run()
    assert failed.returncode == 1
    assert failed.stderr.strip().endswith("02_second.ipynb failed in cell 3 (In [2]): AssertionError: x is 1")
    assert not (folder / "output/cpu/report.html").exists()
    write_notebook(notebooks / "02_second.ipynb", "x = 2", "assert x == 2")
    assert run().returncode == 0
    assert (folder / "count").read_text() == "1"


def test_kernel_that_dies(project):
    _, notebooks, run = project
    write_notebook(notebooks / "02_second.ipynb", "1", "import os; os._exit(3)")
    died = run()
    assert died.returncode == 1
    assert "02_second.ipynb failed in cell 3: DeadKernelError" in died.stderr


def test_empty_folder(project):
    _, notebooks, run = project
    for path in notebooks.iterdir():
        path.unlink()
    assert run().returncode == 1
    assert "no notebook named like 01_name.ipynb is in the folder notebooks" in run().stderr


def test_setup_cell_finds_helpers_upwards_or_says_what_to_do(tmp_path):
    """Run as a notebook in a folder below the project does, and far from it."""
    script = cells.SETUP + "\nprint(root.samefile(sys.argv[1]))"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(folder):
        command = [sys.executable, "-c", script, str(ROOT)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    assert run(ROOT / "helpers" / "engines").stdout == "True\n"
    assert "helpers/ was not found: upload the project's folder to Colab or Drive" in run(tmp_path).stderr


def test_setup_cell_clones_the_repository(tmp_path):
    origin = tmp_path / "origin"
    (origin / "helpers").mkdir(parents=True)
    for name in ("network.py", "startup.py", "__init__.py"):
        (origin / "helpers" / name).write_text((ROOT / "helpers" / name).read_text())
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    script = cells.SETUP.replace('REPOSITORY = ""', f'REPOSITORY = "{origin.as_uri()}"') + "\nprint(root.name)"
    (tmp_path / "elsewhere").mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True
    )
    assert ran.stdout == "cnn-from-scratch\n", ran.stderr


def test_shared_cells_are_put_in_once_and_keep_the_address(tmp_path):
    path, readme = tmp_path / "01_a.ipynb", tmp_path / "README.md"
    link = "https://colab.research.google.com/github/OWNER/REPOSITORY/blob/main/notebooks/01_a.ipynb"
    write_notebook(path, "print(1)")
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source += f"\n[Open in Colab]({link})"
    nbformat.write(notebook, path)
    readme.write_text(f"git clone https://github.com/OWNER/REPOSITORY there\n[open]({link})")
    cells.write_cells([path])
    cells.set_repository("https://github.com/ada/cnn.git", [path], readme)
    cells.write_cells([path])
    notebook = nbformat.read(path, 4)
    assert [cell.id for cell in notebook.cells[1:4]] == ["setup", "preflight", "parameters"]
    assert len(notebook.cells) == 5 and notebook.cells[3].metadata.tags == ["parameters"]
    assert 'REPOSITORY = "https://github.com/ada/cnn"' in notebook.cells[1].source
    assert "/github/ada/cnn/blob/main" in notebook.cells[0].source
    assert readme.read_text().startswith("git clone https://github.com/ada/cnn there\n")
    assert "/github/ada/cnn/blob/main" in readme.read_text()


@pytest.mark.parametrize("url", ["", "github.com/a/b", "https://github.com/a", 'https://github.com/a/b"\nx'])
def test_wrong_address(tmp_path, url):
    with pytest.raises(ValueError, match="expected https://host/owner/name"):
        cells.set_repository(url, [], tmp_path / "README.md")


def test_clean_removes_what_only_this_run_and_this_machine_have():
    cell = new_code_cell("x", metadata={"tags": ["a"], "papermill": {"status": "completed"}, "execution": {}})
    streams = [("stdout", f"{ROOT}/data "), ("stderr", "warning"), ("stdout", f"{sys.prefix}/bin")]
    cell.outputs = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in streams]
    cleaned = clean(new_notebook(cells=[cell], metadata={"papermill": {}, "widgets": {}}))
    assert [output.text for output in cleaned.cells[0].outputs] == ["./data python/bin"]
    assert cleaned.cells[0].metadata == {"tags": ["a"]} and set(cleaned.metadata) == set(cells.METADATA)
    assert without_paths(f"{Path.home()}stead") == f"{Path.home()}stead"


@pytest.mark.parametrize(
    "cuda, wanted",
    [
        (None, []),
        ((12, 4), ["numba-cuda[cu12]", "cuda-toolkit[cudart,nvrtc,cccl,nvcc]==12.4.*"]),
        ((12, 9), ["numba-cuda[cu12]", "cuda-toolkit[cudart,nvrtc,cccl,nvcc]==12.8.*"]),
        ((13, 2), ["numba-cuda[cu13]", "cuda-toolkit[cudart,nvvm,nvrtc,cccl,nvcc]==13.0.*"]),
    ],
)
def test_toolkit_fits_the_driver(cuda, wanted):
    assert installation.gpu_requirements(cuda) == wanted
    assert installation.toolkit_requirements(cuda) == (wanted or installation.gpu_requirements((13, 0)))


def test_old_driver():
    with pytest.raises(ValueError, match="the driver runs CUDA 11.4; update it to one of CUDA 12 or newer"):
        installation.gpu_requirements((11, 4))
