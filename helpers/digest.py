"""Digests of functions: what a function's behaviour depends on, whatever its source looks like.

Knows Python functions and syntax trees only.
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
    """The syntax tree of Python source, without docstrings, comments and layout, as text.

    The same for every version of Python that reads the source alike: what a version adds to each node stays empty,
    and empty fields are left out.
    """
    return tree_text(parse_bare(textwrap.dedent(text)))


def parse_bare(text):
    """The syntax tree of Python source without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def tree_text(node):
    """A syntax tree as text: class names and the fields that hold something."""
    if isinstance(node, list):
        return f"[{', '.join(map(tree_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (f"{name}={tree_text(value)}" for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({', '.join(fields)})"
