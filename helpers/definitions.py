"""What a module defines, name by name with a short hash each, and which of two sets of definitions could differ in use.

Knows Python's syntax only; must not learn which modules anyone measures.

A definition is a top-level function; a class without its methods; a method; a name that an import or an assignment
binds; an entry of a dict literal that is assigned as a whole and whose keys are constants or names; or else a whole
statement. Docstrings, comments, layout and order do not count, but whatever binds a name a second time changes it.
"""

import ast
import builtins
import hashlib

from helpers.digest import parse_bare, tree_text

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # what they bind ends with them
STATEMENT, IMPORT = "statement ", "import "  # how the names of definitions begin that are more than a name
OPEN_BASES = ("object", "ABC")  # bases that have no method which a new one could override, save those with __
HASH_DIGITS = 12


def short_hash(text):
    """The first hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def definitions(source):
    """{name: short hash} of all that a module defines.

    Names are "f", "Class", "Class.method", "Class.field", "TABLE", "TABLE['key']", "import name" and, for what
    nothing else fits, "statement" and its hash.
    """
    found, imports, ours = {}, {}, set()  # `ours`: names that may stand for classes of this project
    for node in parse_bare(source).body:
        if isinstance(node, ast.ClassDef):
            _add_class(found, node, ours)
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", None) != "__future__":
            _add_imports(imports, node, ours)
        elif _is_entrywise(node):
            _add_table(found, node)
        else:
            _add_statement(found, node)
    for name, texts in imports.items():  # a name that something else binds as well is no mere import
        found.setdefault(name if name in found else IMPORT + name, []).extend(texts)
    return {name: short_hash("\n".join(texts)) for name, texts in found.items()}


def _add(found, name, node):
    found.setdefault(name, []).append(tree_text(node))


def _add_imports(imports, node, ours):
    for alias in node.names:
        name = _bound_name(alias)
        _add(imports, name, type(node)(**{**vars(node), "names": [alias]}))
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.split(".")[0] == "helpers"):
            ours.add(name)


def _add_class(found, node, ours):
    """A class: what is no method by its own name, each method and each field by theirs.

    Whole where a base is foreign or the class has keywords: there a new method could override what nobody here names.
    """
    bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
    if node.keywords or not ours.union(OPEN_BASES).issuperset(bases):
        _add(found, node.name, node)
        return
    ours.add(node.name)
    rest = [item for item in node.body if not isinstance(item, (*FUNCTIONS, ast.Pass))]
    for item in node.body:
        for name in _bound(item):  # of a field too: a method could take its place
            _add(found, f"{node.name}.{name}", item)
    _add(found, node.name, ast.ClassDef(**{**vars(node), "body": rest}))


def _add_table(found, node):
    """A dict literal: each entry by its key, and what is assigned to without any."""
    name = _targets(node)[0].id
    for key, value in zip(node.value.keys, node.value.values):
        _add(found, f"{name}[{ast.unparse(key)}]", value)
    _add(found, name, type(node)(**{**vars(node), "value": ast.Dict(keys=[], values=[])}))


def _add_statement(found, node):
    """A statement under each name that it binds; one that is no definition or assignment of names also as a whole."""
    if isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if not isinstance(node, FUNCTIONS) and not _assigns_names(node):
        _add(found, STATEMENT + short_hash(tree_text(node)), node)
    for name in _bound(node):
        _add(found, name, node)


def _bound_name(alias):
    return alias.asname or alias.name.partition(".")[0]


def _bound(node):
    """Names that a statement binds in the scope it stands in."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.alias):
        return [_bound_name(node)]
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    if isinstance(node, SCOPES):
        return []
    return [name for child in ast.iter_child_nodes(node) for name in _bound(child)]


def _targets(node):
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _assigns_names(node):
    """Whether a statement assigns to names only: not to an entry or an attribute of what was there before."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return False
    inner = [part for target in _targets(node) for part in ast.walk(target)]
    return not any(isinstance(part, (ast.Attribute, ast.Subscript)) for part in inner)


def _is_entrywise(node):
    """Whether a statement assigns to one name a dict literal whose entries can be told apart by their keys."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Dict):
        return False
    alone = len(_targets(node)) == 1 and isinstance(_targets(node)[0], ast.Name)
    return alone and all(isinstance(key, (ast.Constant, ast.Name)) for key in node.value.keys)


def differences(before, today):
    """How `today` could do something else than `before` did, in words; [] where only definitions were added.

    Parameters
    ----------
    before, today : dict
        {module: {name: short hash}}.

    Returns
    -------
    list of str
        A line for each definition that is gone, has changed, or is new where it could take the place of another: a
        statement, a name of Python's own, or a name known from `before` in a module or class that was there.
    """
    known = {_last(name) for names in before.values() for name in names}
    lines = []
    for module, old in sorted(before.items()):
        new = today.get(module)
        if new is None:
            lines.append(f"{module} is gone")
            continue
        lines += [f"{module}: {name} is gone" for name in sorted(old.keys() - new.keys())]
        lines += [f"{module}: {name} changed" for name in sorted(old) if name in new and new[name] != old[name]]
        added = sorted(name for name in new.keys() - old.keys() if _may_replace(name, old, known))
        lines += [f"{module}: {name} is new and could take the place of another" for name in added]
    return lines


def _last(name):
    """The bare name of a definition; "" for an entry of a table, which only one of the same key could replace."""
    return "" if "[" in name else name.removeprefix(IMPORT).rpartition(".")[2]


def _may_replace(name, old, known):
    """Whether a new definition in a module that held `old` could be found where another one was."""
    owner, _, last = name.rpartition(".")
    if name.startswith(STATEMENT):
        return True
    if "[" in name or (owner and owner not in old):
        return False
    last = _last(name)
    if last.startswith("__") and last.endswith("__"):
        return True
    if not owner and hasattr(builtins, last):
        return True
    # an imported name was bound by nothing before, or its definition would be another one's change
    return last in known and not name.startswith(IMPORT)
