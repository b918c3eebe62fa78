"""Unrolling: kernels are written as loops, and loops marked `unroll(n)` become straight-line code.

`@unrolled` rewrites the function's syntax tree: a `for i in unroll(n)` is repeated with i a constant, and
`acc = registers(4, 8)` becomes 32 scalar variables, which the compiler keeps in registers. An `if` whose test is
then a constant loses its dead branch. A tile named whole is the tuple of its variables: so device functions take and
return tiles, and unpack them by `acc = tile_of(sums, 4, 8)`. Interpreted (simulator, tracer) the marks mean `range` and
a small array.
Knows nothing of CUDA.
"""

import ast
import copy
import inspect
import itertools
import linecache
import textwrap
import types

import numpy as np

unroll = range


def registers(*shape):
    """Interpreted twin of a register tile: a float32 array of `shape`, NaN until written."""
    return np.full(shape, np.nan, np.float32)


def tile_of(values, *shape):
    """Register tile of `shape` that a function was given whole; interpreted, a view of the array itself."""
    return values.reshape(shape)


_counter = itertools.count()


def unrolled(function):
    """Straight-line version of `function`, same name; the original stays as its attribute `py_func`.

    Counts and register shapes may use closure constants, module constants and outer unrolled indices.

    Raises
    ------
    ValueError
        If a count, a shape or a register index is not a constant; the message names the line.
    """
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    definition = tree.body[0]
    definition.decorator_list = []
    scope = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    local = function.__code__.co_varnames  # a local name hides a constant; what a module offers (cuda.blockIdx) is none
    constants = {k: v for k, v in scope.items() if k not in local and not isinstance(v, types.ModuleType)}
    definition.body = _Unroller(constants, function.__name__).block(definition.body)
    ast.fix_missing_locations(tree)
    text = ast.unparse(tree)
    filename = f"<unrolled {function.__module__}.{function.__name__} {next(_counter)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), scope)
    result = scope[function.__name__]
    result.__module__, result.__doc__ = function.__module__, function.__doc__
    result.py_func = function
    return result


class _Unroller(ast.NodeTransformer):
    """Rewrites statements; `scope` holds the constants, `tiles` the shapes of register tiles."""

    def __init__(self, scope, name):
        self.scope, self.name, self.tiles = scope, name, {}

    def block(self, statements):
        """The statements, rewritten; one may become several or none."""
        result = []
        for statement in statements:
            new = self.visit(statement)
            result += new if isinstance(new, list) else [] if new is None else [new]
        return result or [ast.Pass()]

    def constant(self, node, what):
        """Value of an expression of constants."""
        try:
            return eval(compile(ast.fix_missing_locations(ast.Expression(copy.deepcopy(node))), "", "eval"), self.scope)
        except Exception:
            raise ValueError(
                f"{self.name}, line {getattr(node, 'lineno', '?')}: {what} {ast.unparse(node)} is not a constant"
            ) from None

    def visit_For(self, node):
        if _called(node.iter) != "unroll":
            node.iter, node.body = self.visit(node.iter), self.block(node.body)
            return node
        counts = range(*(self.constant(argument, "the count") for argument in node.iter.args))
        result = []
        for value in counts:
            body = [_Substitute(node.target.id, value).visit(copy.deepcopy(s)) for s in node.body]
            result += self.block(body)
        return result or None

    def visit_Assign(self, node):
        if _called(node.value) == "registers":
            shape = tuple(int(self.constant(a, "the shape")) for a in node.value.args)
            self.tiles[node.targets[0].id] = shape
            return None
        if _called(node.value) == "tile_of":
            values, *sizes = node.value.args
            self.tiles[node.targets[0].id] = tuple(int(self.constant(a, "the shape")) for a in sizes)
            return ast.copy_location(ast.Assign([self.visit(node.targets[0])], values), node)
        return self.generic_visit(node)

    def visit_Name(self, node):
        """A tile named whole: the tuple of its variables."""
        if node.id not in self.tiles:
            return node
        indices = itertools.product(*map(range, self.tiles[node.id]))
        names = [ast.Name("_".join(map(str, (node.id, *index))), node.ctx) for index in indices]
        return ast.copy_location(ast.Tuple(names, node.ctx), node)

    def visit_Subscript(self, node):
        if not isinstance(node.value, ast.Name) or node.value.id not in self.tiles:
            return self.generic_visit(node)
        node.slice = self.visit(node.slice)
        index = self.constant(node.slice, "the register index")
        index = index if isinstance(index, tuple) else (index,)
        shape = self.tiles[node.value.id]
        if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape)):
            raise ValueError(f"{self.name}: register index {index} lies outside {node.value.id} of shape {shape}")
        return ast.copy_location(ast.Name("_".join(map(str, (node.value.id, *index))), node.ctx), node)

    def visit_If(self, node):
        node.test = self.visit(node.test)
        try:
            taken = self.constant(node.test, "the test")
        except ValueError:
            node.body = self.block(node.body)
            node.orelse = self.block(node.orelse) if node.orelse else []
            return node
        chosen = node.body if taken else node.orelse
        return self.block(chosen) if chosen else None

    def visit_While(self, node):
        node.test, node.body = self.visit(node.test), self.block(node.body)
        return node


class _Substitute(ast.NodeTransformer):
    """Replaces the name `name` by the constant `value`."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def visit_Name(self, node):
        return ast.copy_location(ast.Constant(self.value), node) if node.id == self.name else node


def _called(node):
    """Name of the function that an expression calls, or None."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
