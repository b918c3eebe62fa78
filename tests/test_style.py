"""The form of the code: sizes, docstrings, imports, and the direction in which modules know each other."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HELPERS = sorted((ROOT / "helpers").rglob("*.py"))
MODULES = [*HELPERS, *sorted((ROOT / "tests").rglob("*.py"))]
MODULE_LINES, FUNCTION_LINES = 300, 40

# what a module must not import, at any depth of the folder it names
FORBIDDEN = {
    "helpers/layers.py": ("helpers",),
    "helpers/geometry.py": ("helpers",),
    "helpers/startup.py": ("helpers", "numba", "numpy"),
    "helpers/installation.py": ("helpers", "numba", "numpy"),
    "helpers/network.py": ("helpers.engines", "helpers.kernels", "helpers.device", "helpers.lowering"),
    "helpers/lowering.py": ("helpers.engines", "helpers.kernels", "helpers.device", "helpers.training"),
    "helpers/memory.py": ("helpers.engines", "helpers.kernels", "helpers.device", "helpers.training"),
    "helpers/device.py": ("helpers.engines", "helpers.network", "helpers.lowering", "helpers.training"),
    "helpers/compiler.py": ("helpers.engines", "helpers.network", "helpers.lowering", "helpers.training"),
    "helpers/kernels/": ("helpers.engines", "helpers.training", "helpers.network", "helpers.benchmark"),
    "helpers/engines/": ("helpers.training", "helpers.benchmark", "helpers.plotting", "helpers.report"),
    "helpers/training.py": ("helpers.kernels", "helpers.compiler", "helpers.benchmark", "helpers.plotting"),
    "helpers/data.py": ("helpers.network", "helpers.engines", "helpers.device", "helpers.training"),
}  # fmt: skip


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree):
    """Full names of what a syntax tree imports: module.name for `from module import name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_modules_are_short():
    long = {name_of(p): n for p in HELPERS if (n := len(p.read_text(encoding="utf-8").splitlines())) > MODULE_LINES}
    assert not long, f"longer than {MODULE_LINES} lines: {long}"


def test_functions_are_short():
    """A function made inside another one, as a factory makes a kernel's body, counts by itself."""
    functions = [
        (f"{name_of(path)}:{node.name}", lines_of(node) - docstring_lines(node) - inner_lines(node))
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef)
    ]
    long = {name: lines for name, lines in functions if lines > FUNCTION_LINES}
    assert not long, f"longer than {FUNCTION_LINES} lines without their docstring: {long}"


def lines_of(node):
    return node.end_lineno - node.lineno + 1


def inner_lines(node):
    return sum(lines_of(child) for child in node.body if isinstance(child, ast.FunctionDef))


def docstring_lines(node):
    first = node.body[0]
    has_docstring = ast.get_docstring(node, clean=False) is not None
    return first.end_lineno - first.lineno + 1 if has_docstring else 0


@pytest.mark.parametrize("path", HELPERS, ids=name_of)
def test_docstrings(path):
    tree = tree_of(path)
    assert ast.get_docstring(tree), "the module says neither what it is for nor what it must not learn"
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if not ast.get_docstring(node)
    ]
    assert not bare, f"public names without a docstring: {bare}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_star_imports(path):
    assert not [name for name in imported(tree_of(path)) if name.endswith(".*")]


def test_only_device_imports_numba_cuda_at_module_level():
    """compiler.py and the two intrinsics.py may reach into its internals; nobody else at all."""
    intrinsics = ("helpers/kernels/intrinsics.py", "helpers/kernels/fused/intrinsics.py")
    internals = ("helpers/device.py", "helpers/compiler.py", *intrinsics)
    for path in HELPERS:
        names = list(imported(tree_of(path)))
        reached = [name for name in names if name.startswith("numba.cuda")]
        assert not reached or name_of(path) in internals, f"{name_of(path)} imports {reached}"


@pytest.mark.parametrize("place", FORBIDDEN)
def test_arrows_point_one_way(place):
    for path in HELPERS:
        if name_of(path) == place or (place.endswith("/") and name_of(path).startswith(place)):
            wrong = [
                name
                for name in imported(tree_of(path))
                if any(name == other or name.startswith(other + ".") for other in FORBIDDEN[place])
            ]
            assert not wrong, f"{name_of(path)} imports {wrong}"


def test_no_helper_knows_a_notebook_by_name():
    for path in HELPERS:
        for notebook in (ROOT / "notebooks").glob("*.ipynb"):
            assert notebook.stem not in path.read_text(encoding="utf-8"), f"{name_of(path)} names {notebook.name}"
