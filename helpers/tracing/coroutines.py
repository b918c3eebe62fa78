"""Rebuilds a kernel's Python functions around stand-ins, so that a block's threads can take turns at barriers.

A copy of each function gets other values for the names it reads; where it reaches a barrier or a shuffle (a generator
function), every call on the way becomes `yield from`. Nothing global is patched. Must not learn what a stand-in does.
"""

import ast
import inspect
import textwrap
from types import CodeType, FunctionType


class Rebinder:
    """Copies functions with the names of `stand_ins` bound to other values, wherever they are reached.

    Parameters
    ----------
    stand_ins : dict of str to object
        What a global, a closure cell or a device function of that name becomes. A generator function marks a
        collective: its callers turn into generator functions as well.
    """

    def __init__(self, stand_ins):
        self.stand_ins = stand_ins
        self._copies = {}

    def rebind(self, function):
        """Copy of `function`, a generator function if it reaches a collective; itself if it reaches no stand-in."""
        function = plain(function)
        if function not in self._copies:
            self._copies[function] = function  # recursion ends here
            self._copies[function] = self._copy(function)
        return self._copies[function]

    def _replace(self, name, value):
        """What `value`, read under `name`, becomes; itself where nothing stands in for it."""
        if name in self.stand_ins:
            return self.stand_ins[name]
        if isinstance(plain(value), FunctionType):
            own_name = plain(value).__name__.lstrip("_")
            return self.stand_ins[own_name] if own_name in self.stand_ins else self.rebind(value)
        return value

    def _copy(self, function):
        scope = {name: function.__globals__[name] for name in _names(function.__code__) & function.__globals__.keys()}
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        scope |= {name: cell.cell_contents for name, cell in cells.items() if _is_filled(cell)}
        replaced = {name: self._replace(name, value) for name, value in scope.items()}
        if all(replaced[name] is scope[name] for name in scope):
            return function
        code = function.__code__
        if _reaches_collective(code, [replaced[name] for name in scope]):
            code = _Yielder(replaced.keys() - set(code.co_varnames), replaced).compile(function)
        code = code.replace()  # its own identity: copies of one closure with other constants are other functions
        closure = tuple(_cell(replaced[name]) if name in replaced else cells[name] for name in code.co_freevars)
        copy = FunctionType(
            code, {**function.__globals__, **replaced}, function.__name__, function.__defaults__, closure
        )
        copy.__kwdefaults__ = function.__kwdefaults__
        return copy


def plain(function):
    """The Python function below decorators that keep it as `py_func` (device functions, unrolled kernels)."""
    while getattr(function, "py_func", function) is not function:
        function = function.py_func
    return function


class _Yielder(ast.NodeTransformer):
    """Puts `yield from` before each call of a generator function."""

    def __init__(self, names, scope):
        self.names, self.scope = names, scope

    def compile(self, function):
        """Code of `function` rewritten; its lines and file stay, so that errors point at the reader's text."""
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError):
            tree = ast.Module([], [])
        # text that was executed shares its file's name, "<string>", with other such text: look for the function itself
        found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function.__code__.co_name]
        if not found:
            raise ValueError(f"the source of {function.__name__} is not found; define it in a file or a notebook cell")
        definition = found[0]
        definition.decorator_list = []
        definition = self.generic_visit(definition)
        # a surrounding function makes the free variables free again
        outer = ast.parse(f"def outer({', '.join(function.__code__.co_freevars)}): pass")
        outer.body[0].body = [definition]
        ast.increment_lineno(definition, function.__code__.co_firstlineno - 1)
        module = compile(ast.fix_missing_locations(outer), function.__code__.co_filename, "exec")
        return _find_code(_find_code(module, "outer"), definition.name)

    def visit_Call(self, node):
        self.generic_visit(node)
        waits = inspect.isgeneratorfunction(self._resolve(node.func))
        return ast.copy_location(ast.YieldFrom(node), node) if waits else node

    def _resolve(self, node):
        """Value of a name or a dotted name; None for anything else."""
        if isinstance(node, ast.Name):
            return self.scope[node.id] if node.id in self.names else None
        if isinstance(node, ast.Attribute):
            return getattr(self._resolve(node.value), node.attr, None)
        return None


def _names(code):
    """Names that `code`, or a function defined inside it, reads from outside its local variables."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)


def _reaches_collective(code, values):
    """Whether one of `values` is a generator function, or `code` names one among its methods (cuda.syncthreads)."""
    attributes = _names(code)
    return any(
        inspect.isgeneratorfunction(value)
        or any(inspect.isgeneratorfunction(getattr(type(value), name, None)) for name in attributes)
        for value in values
    )


def _find_code(code, name):
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def _cell(value):
    return (lambda: value).__closure__[0]


def _is_filled(cell):
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
