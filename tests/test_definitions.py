"""What a module defines: which edits only add, and which could change what was there."""

from textwrap import dedent

import pytest

from helpers.definitions import definitions, differences

MODULE = '''
    """What it is for."""
    import numpy as np
    from helpers.engines.base import Engine

    WARP = 32
    TABLE = {"forward": forward, Conv: (1, 2)}
    WHOLE = {**TABLE, "a": 1}

    def forward(x):
        """Docstring."""
        return x + WARP

    @registered
    class Runner(Engine):
        field: int = 3

        def load(self):
            return self.field

        def run(self):
            return 1

    class Layer(nn.Module):
        def forward(self):
            return 0
'''
OTHER = "def rows(x): return x\nclass Base:\n    def prepare(self): pass\n"


def changed(*edits, more="", other=OTHER):
    """Differences after `edits` (old, new) of MODULE and `more` at its end."""
    before, after = dedent(MODULE), dedent(MODULE)
    for old, new in edits:
        assert after.count(old) == 1, f"{old!r} is there {after.count(old)} times"
        after = after.replace(old, new)
    parts = ({"m.py": definitions(text), "other.py": definitions(second)} for text, second in
             ((before, OTHER), (after + dedent(more), other)))  # fmt: skip
    return differences(*parts)


def test_names_of_definitions():
    assert sorted(definitions(dedent(MODULE))) == [
        *("Layer", "Runner", "Runner.field", "Runner.load", "Runner.run"),
        *("TABLE", "TABLE['forward']", "TABLE[Conv]", "WARP", "WHOLE", "forward", "import Engine", "import np"),
    ]


def test_layout_comments_docstrings_and_order_do_not_count():
    assert (
        changed(("Docstring.", "Another."), ("WARP = 32", "WARP = (32)  # threads"), ("What it", "What else it")) == []
    )
    one, two = "def f(): return 1\n", "def g(): return 2\n"
    assert definitions(one + two) == definitions(two + one)
    assert definitions('T = {"a": 1, "b": 2}') == definitions('T = {"b": 2, "a": 1}')


@pytest.mark.parametrize(
    "edits, more",
    [
        ([], "def backward(x): return -x"),
        ([("import numpy as np", "import numpy as np\nimport os.path\nfrom helpers.kernels import rows")], ""),
        ([('{"forward": forward,', '{"forward": forward, "backward": backward,')], ""),
        ([("    def run(self)", "    def evaluate(self):\n        return 2\n\n    def run(self)")], ""),
        ([], "class Second(Engine):\n    def load(self): return 2\n    def run(self): return 3"),
        ([], "LIMITS = (1, 2)\nNAMES = {'a': 1}"),
    ],
    ids=["function", "imports", "entry", "method", "class", "assignments"],
)
def test_what_only_adds(edits, more):
    assert changed(*edits, more=more) == []


@pytest.mark.parametrize(
    "edits, more, said",
    [
        ([("x + WARP", "x - WARP")], "", ["forward changed"]),
        ([("WARP = 32", "WARP = 64")], "", ["WARP changed"]),
        ([('"forward": forward', '"forward": other')], "", ["TABLE['forward'] changed"]),
        ([('"forward": forward, ', "")], "", ["TABLE['forward'] is gone"]),
        ([('"a": 1}', '"a": 1, "b": 2}')], "", ["WHOLE changed"]),
        ([("numpy as np", "cupy as np")], "", ["import np changed"]),
        ([("(Engine)", "(Engine, Mixin)")], "", None),
        ([("@registered\n", "")], "", ["Runner changed"]),
        ([("field: int = 3", "field: int = 4")], "", ["Runner changed", "Runner.field changed"]),
        ([("field: int = 3", "field: int = 3\n    other: int = 0")], "", ["Runner changed"]),
        ([("return self.field", "return 0")], "", ["Runner.load changed"]),
        ([("def run(self)", "def start(self)")], "", ["Runner.run is gone"]),
    ],
)
def test_what_changes_or_goes(edits, more, said):
    found = changed(*edits, more=more)
    assert found if said is None else found == [f"m.py: {line}" for line in said]


REPLACING = "is new and could take the place of another"


@pytest.mark.parametrize(
    "edits, more, said",
    [
        ([], "def forward(x): return 0", "forward changed"),
        ([], "forward = faster(forward)", "forward changed"),
        ([], "WARP += 1", "WARP changed"),
        ([], "from elsewhere import forward", "forward changed"),
        ([], "import cupy as np", "import np changed"),
        ([], 'TABLE = {"backward": 1}', "TABLE changed"),
        ([("Conv: (1, 2)}", 'Conv: (1, 2), "forward": other}')], "", "TABLE['forward'] changed"),
        ([("    def run(self)", "    def prepare(self): pass\n    def run(self)")], "", f"Runner.prepare {REPLACING}"),
        ([("    def run(self)", "    def field(self): pass\n    def run(self)")], "", "Runner.field changed"),
        ([("    def run(self)", "    def __eq__(self, x): pass\n    def run(self)")], "", f"Runner.__eq__ {REPLACING}"),
        ([], "class Layer(Other):\n    pass", "Layer changed"),
        ([], "def rows(x): return 2", f"rows {REPLACING}"),
        ([], "def sum(x): return 2", f"sum {REPLACING}"),
        ([], "from fast import max", f"import max {REPLACING}"),
        ([], "def __getattr__(name): return 2", f"__getattr__ {REPLACING}"),
    ],
)
def test_what_could_take_the_place_of_something(edits, more, said):
    assert changed(*edits, more=more) == [f"m.py: {said}"]


def test_a_class_with_a_foreign_base_counts_as_a_whole():
    """What it inherits is not known, so a new method may override it."""
    added = "        return 0\n\n    def train(self, mode):\n        pass\n"
    assert changed(("        return 0\n", added)) == ["m.py: Layer changed"]
    local = "class A(Foreign):\n    pass\nclass B(A):\n    def f(self): pass\n"
    assert sorted(definitions(local)) == ["A", "B"]
    assert "C.f" in definitions("class A:\n    pass\nclass C(A):\n    def f(self): pass\n")


@pytest.mark.parametrize(
    "more", ["TABLE['c'] = 1", "Runner.load = f", "TABLE.update(a=1)", "if X:\n    y = 1", "del WARP"]
)
def test_a_new_statement_could_change_anything(more):
    (line,) = changed(more=more)
    assert line.startswith("m.py: statement ") and line.endswith(REPLACING)


def test_a_statement_binds_names_too():
    text = "try:\n    import fast\nexcept ImportError:\n    fast = None\n"
    names = definitions(text)
    assert "fast" in names and len(names) == 2
    assert differences({"m.py": names}, {"m.py": definitions(text + "fast = other\n")}) == ["m.py: fast changed"]
    assert list(definitions("X = [i for i in range(3)]")) == ["X"]


def test_modules():
    one = definitions("def f(): return 1")
    assert differences({"a.py": one}, {"a.py": one, "b.py": definitions("def f(): return 2")}) == []
    assert differences({"a.py": one, "b.py": one}, {"a.py": one}) == ["b.py is gone"]
