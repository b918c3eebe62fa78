"""Digests of code: what a function's behaviour depends on, and whether a measurement's code is today's.

Knows Python functions and modules only.
"""

import ast
import hashlib
import inspect
import textwrap
import types


def source_digest(function):
    """Hexadecimal digest of the source of `function` and of everything it reaches.

    Followed are closure cells and the globals it names: functions by their source, recursively; other values by
    `repr`; modules by name. Decorated functions are followed through `py_func`.
    """
    parts, seen = [], set()
    _collect(function, parts, seen)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _collect(value, parts, seen):
    function = getattr(value, "py_func", value)
    if not isinstance(function, types.FunctionType):
        parts.append(value.__name__ if isinstance(value, types.ModuleType) else repr(value))
        return
    if function in seen:
        return
    seen.add(function)
    parts.append(canonical_source(inspect.getsource(function)))
    closed = inspect.getclosurevars(function)
    for scope in (closed.nonlocals, closed.globals):
        for name in sorted(scope):
            parts.append(name)
            _collect(scope[name], parts, seen)


def canonical_source(text):
    """The syntax tree of Python source, without docstrings, comments and layout, as text."""
    tree = ast.parse(textwrap.dedent(text))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def code_digest(paths):
    """Hexadecimal digest of the syntax trees of Python files, docstrings and comments apart."""
    texts = [canonical_source(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
