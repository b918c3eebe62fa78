"""The cells that every notebook shares: setup, preflight and parameters, byte for byte; and the repository's address.

Knows the form of a notebook file; must not learn what any notebook is about.
"""

import re

import nbformat

from helpers.atomic import write_atomically
from helpers.results import ROOT

SETUP = """\
# Setup: find the helpers beside this notebook, in Colab's folders or in Drive, or clone them.
REPOSITORY = ""  # ./run_all.sh repository URL sets it in every notebook

import subprocess
import sys
from pathlib import Path

here, colab, drive = Path.cwd(), Path("/content"), Path("/content/drive/MyDrive")
places = [here, *here.parents, colab, *colab.glob("*"), *drive.glob("*")]
root = next((place for place in places if (place / "helpers" / "network.py").exists()), None)
if root is None and REPOSITORY:
    root = here / "cnn-from-scratch"
    subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, str(root)], check=True)
if root is None:
    raise FileNotFoundError("helpers/ was not found: upload the project's folder to Colab or Drive, or set REPOSITORY")
sys.path.insert(0, str(root))

from helpers.startup import choose_target

card = choose_target()  # before numba is imported: the GPU, or the simulator where there is none"""

PREFLIGHT = """\
# Preflight: run one kernel, show the card and the versions.
from helpers.device import preflight

preflight()"""

PARAMETERS = '''\
# Parameters: "auto" chooses "quick" without a GPU, "t4" on a small card, "full" otherwise.
profile = "auto"'''

# index in the notebook, cell id, source, tags
SHARED = (
    (1, "setup", SETUP, []),
    (2, "preflight", PREFLIGHT, []),
    (3, "parameters", PARAMETERS, ["parameters"]),
)
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ADDRESS = re.compile(r'(?m)^REPOSITORY = "([^"]*)"')
COLAB_LINK = re.compile(r"https://colab\.research\.google\.com/github/[^/)\s]+/[^/)\s]+/blob/")


def notebook_paths(folder=ROOT / "notebooks"):
    """Notebooks of a folder in the order of their numbers."""
    return sorted(path for path in folder.glob("[0-9]*.ipynb"))


def share_cells(notebook, repository=""):
    """Put the shared cells at their places in `notebook`, in front of what stands there unless it is such a cell."""
    for index, name, source, tags in SHARED:
        source = ADDRESS.sub(lambda _: f'REPOSITORY = "{repository}"', source)
        if index < len(notebook.cells) and _is_shared(notebook.cells[index], name):
            cell = notebook.cells[index]
        else:
            cell = nbformat.v4.new_code_cell()
            notebook.cells.insert(index, cell)
        cell.id, cell.source = name, source
        cell.metadata = {"tags": tags} if tags else {}
    notebook.metadata.update(METADATA)
    return notebook


def _is_shared(cell, name):
    return cell.id == name or (cell.cell_type == "code" and cell.source.lower().startswith(f"# {name}"))


def repository_of(paths):
    """Address that the notebooks carry in their setup cell; "" without one."""
    for path in paths:
        found = ADDRESS.search(nbformat.read(path, 4).cells[1].get("source", ""))
        if found:
            return found.group(1)
    return ""


def write_cells(paths, repository=None):
    """Rewrite the shared cells of every notebook in place; `repository` None keeps the address they carry."""
    repository = repository_of(paths) if repository is None else repository
    for path in paths:
        notebook = share_cells(nbformat.read(path, 4), repository)
        for cell in notebook.cells:
            cell.source = _with_address(cell.source, repository)
        write_atomically(path, nbformat.writes(notebook) + "\n")


def set_repository(url, paths, readme):
    """Put the address of the repository into every setup cell, every Colab link and README.

    Raises
    ------
    ValueError
        If `url` is no https address of a repository.
    """
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", url):
        raise ValueError(f"the address is {url!r}; expected https://host/owner/name")
    url = url.removesuffix(".git")
    write_cells(paths, url)
    text = readme.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^git clone \S+", f"git clone {url}", text)
    write_atomically(readme, _with_address(text, url))


def _with_address(text, repository):
    """`text` with its Colab links leading to `repository`, where that is on GitHub."""
    if not repository.startswith("https://github.com/"):
        return text
    owner_and_name = repository.removeprefix("https://github.com/")
    return COLAB_LINK.sub(f"https://colab.research.google.com/github/{owner_and_name}/blob/", text)
