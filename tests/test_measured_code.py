"""The code that measurements stand for: which edits make them stale, what is kept of it, what is committed."""

import json
from dataclasses import dataclass, make_dataclass, replace

import pytest
from measured import ENVIRONMENT

from helpers import measured_code, measured_programs, results
from helpers.architectures import plain_blocks, tiny
from helpers.lowering import Op, lower
from helpers.measured_programs import measured_networks, program_text, value_text
from helpers.suites.growth import BASE, VALUES
from helpers.suites.rivals import System
from helpers.suites.workloads import NETWORKS

RECORD = {"experiment": "epoch_time", "system": "loops", "unit": "ms", "median": 1.0}
PROGRAMS = {"tiny 10x9x2": "Op(a)"}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder of two engines' modules in place of helpers/; what it returns appends to one of them."""
    root = tmp_path / "helpers"
    (root / "kernels").mkdir(parents=True)
    monkeypatch.setattr(measured_code, "HELPERS", root)
    monkeypatch.setattr(measured_code, "MEASURED_CODE", {"loops": ("loops.py",), "kernel": ("kernels/*.py",)})
    monkeypatch.setattr(measured_code, "program_texts", lambda: PROGRAMS)
    (root / "loops.py").write_text("def run():\n    return 1\n")
    (root / "kernels" / "dense.py").write_text("class Product:\n    def load(self):\n        return 1\n")

    def append(module, text):
        with (root / module).open("a") as file:
            file.write(text)

    return append


@pytest.fixture
def folder(code, tmp_path):
    """Measurements of both engines, each in a file of its own."""
    folder = tmp_path / "results"
    for suite, engine in (("epoch", "loops"), ("kernels", "kernel")):
        environment = {**ENVIRONMENT, "code_digest": measured_code.measured_digests()}
        results.write_results(suite, [{**RECORD, "system": engine}], environment, folder)
    assert results.stale_files(folder) == []
    return folder


def test_the_code_is_kept_beside_the_measurements(folder):
    digests = measured_code.measured_digests()
    kept = {path.name: json.loads(path.read_text()) for path in (folder / "code").iterdir()}
    assert set(kept) == {f"{engine}-{digest}.json" for engine, digest in digests.items()}
    loops = kept[f"loops-{digests['loops']}.json"]
    assert {module: list(names) for module, names in loops.items()} == {
        "loops.py": ["run"],
        "lowered programs": ["tiny 10x9x2"],
    }
    assert "lowered programs" not in kept[f"kernel-{digests['kernel']}.json"]


def test_additions_leave_measurements_current(folder, code):
    before = measured_code.measured_digests()
    code("loops.py", "def walk():\n    return 2\n")
    code("kernels/dense.py", "    def store(self):\n        return 2\n")
    code("kernels/new.py", "class Other:\n    def load(self):\n        return 2\n")
    after = measured_code.measured_digests()
    assert all(before[engine] != after[engine] for engine in before) and results.stale_files(folder) == []


def test_a_file_is_stale_only_where_the_code_of_its_systems_changed(folder, code):
    code("loops.py", "def run():\n    return 2\n")
    assert results.why_stale(folder) == {"t4-epoch.json": ["loops: loops.py: run changed"]}
    code("kernels/dense.py", "class Special(Product):\n    pass\ndef load():\n    return 2\n")
    assert results.why_stale(folder)["t4-kernels.json"] == [
        "kernel: kernels/dense.py: load is new and could take the place of another"
    ]


def test_another_program_makes_stale_and_a_further_one_does_not(folder, monkeypatch):
    monkeypatch.setattr(measured_code, "program_texts", lambda: {**PROGRAMS, "lenet5 28x28x1": "Op(c)"})
    assert results.stale_files(folder) == []
    monkeypatch.setattr(measured_code, "program_texts", lambda: {"tiny 10x9x2": "Op(b)"})
    assert results.why_stale(folder) == {"t4-epoch.json": ["loops: lowered programs: tiny 10x9x2 changed"]}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_without_the_kept_code_another_digest_is_stale(folder, code, damage):
    (path,) = (folder / "code").glob("loops-*.json")
    damage(path)
    assert results.stale_files(folder) == [], "the digest is today's"
    code("loops.py", "def walk():\n    return 2\n")
    (line,) = results.why_stale(folder)["t4-epoch.json"]
    assert line == f"loops: the code is another one, and code/{path.name} does not tell which it was"


def test_an_engine_that_is_gone_makes_stale(folder, monkeypatch):
    monkeypatch.setattr(measured_code, "MEASURED_CODE", {"loops": ("loops.py",)})
    assert results.why_stale(folder) == {"t4-kernels.json": ["kernel: is no engine any more"]}


def test_a_new_measurement_replaces_the_code_that_nothing_names_any_more(folder, code):
    (old,) = (folder / "code").glob("loops-*.json")
    (other,) = (folder / "code").glob("kernel-*.json")
    content, times = other.read_bytes(), other.stat().st_mtime_ns
    code("loops.py", "def walk():\n    return 2\n")
    code("kernels/dense.py", "X = 1\n")
    environment = {**ENVIRONMENT, "code_digest": measured_code.measured_digests()}
    results.write_results("more", [RECORD], environment, folder)
    assert old.exists(), "t4-epoch.json still names it"
    results.write_results("epoch", [RECORD], environment, folder)
    assert [path.name for path in (folder / "code").glob("loops-*.json")] == [
        f"loops-{environment['code_digest']['loops']}.json"
    ]
    assert other.read_bytes() == content and other.stat().st_mtime_ns == times


def test_code_that_changed_while_it_was_measured_is_not_kept(code, tmp_path):
    environment = {**ENVIRONMENT, "code_digest": measured_code.measured_digests()}
    code("loops.py", "def walk():\n    return 2\n")
    results.write_results("epoch", [RECORD], environment, tmp_path)
    assert results.stale_files(tmp_path) == ["t4-epoch.json"] and not (tmp_path / "code").exists()


def test_a_form_that_another_engine_makes_is_stale_with_that_engine(tmp_path, monkeypatch):
    made = System("keras", "fit", made_by="keras_compiled").named
    assert made["system"] == "keras" and "made_by" not in System("keras", "fit").named
    engines = {"keras": {"a.py": {"f": "1"}}, "keras_compiled": {"b.py": {"g": "2"}}}
    monkeypatch.setattr(measured_code, "measured_code", lambda: engines)
    monkeypatch.setattr(results, "measured_code", lambda: engines)
    environment = {**ENVIRONMENT, "code_digest": measured_code.measured_digests()}
    results.write_results("epoch", [{"experiment": "x", **made, "unit": "ms"}], environment, tmp_path)
    engines["keras_compiled"] = {"b.py": {"g": "3"}}
    assert results.why_stale(tmp_path) == {"t4-epoch.json": ["keras_compiled: b.py: g changed"]}


def test_the_command_line_names_what_changed(folder, code, monkeypatch, capsys):
    monkeypatch.setattr(results, "why_stale", lambda why=results.why_stale: why(folder))
    assert results.main() == 0 and capsys.readouterr().out == "every measurement is of today's code\n"
    code("loops.py", "def run():\n    return 2\n" + "".join(f"X[{i}] = {i}\n" for i in range(4)))
    assert results.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "t4-epoch.json: loops: loops.py: run changed" and lines[3] == "t4-epoch.json: and 2 more"
    assert len(lines) == 4


def test_an_operations_field_that_says_nothing_changes_no_program():
    program = lower(tiny())
    text = program_text(program)
    silent = [("slope", float | None, None), ("transposed", bool, False), ("buffers", tuple, ())]
    for name, kind, default in silent:
        wider = make_dataclass("Op", [(name, kind, default)], bases=(Op,), frozen=True)
        ops = tuple(wider(**vars(op)) for op in program.ops)
        assert program_text(replace(program, ops=ops)) == text
        said = replace(ops[0], **{name: (1,)})
        assert program_text(replace(program, ops=(said, *ops[1:]))) != text


@pytest.mark.parametrize("change", [{"activation": "relu"}, {"mask": "relu1"}, {"geometry": None}, {"kind": "other"}])
def test_another_operation_is_another_program(change):
    program = lower(tiny())
    other = replace(program, ops=(program.ops[0], replace(program.ops[1], **change), *program.ops[2:]))
    assert program_text(other) != program_text(program)
    assert program_text(replace(program, ops=program.ops[:-1])) != program_text(program)


def test_another_default_is_another_text():
    @dataclass
    class Tensor:
        name: str
        dtype: str = "float"

    @dataclass
    class Half:
        name: str
        dtype: str = "half"

    Half.__name__ = "Tensor"
    assert value_text(Tensor("x")) == "Tensor(dtype='float', name='x')" != value_text(Half("x"))


def test_the_programs_are_of_the_networks_that_suites_measure():
    networks = list(measured_networks().values())
    assert all(make() in networks for make in NETWORKS.values())
    assert set(VALUES) - {"batch", "samples"} == set(measured_programs.GROWN)
    for by, values in VALUES.items():
        for value in (BASE[by], *values):
            sizes = {**BASE, by: value}
            network = plain_blocks((sizes["size"],) * 2 + (3,), channels=sizes["channels"], depth=sizes["depth"])
            assert network in networks, f"{by} {value}"
    texts = measured_programs.program_texts()
    assert len(texts) == 4 * len(networks)
    smooth = [texts[name] for name in texts if name.startswith("every activation")]
    assert len({*smooth}) == 2, "without a ReLU only fusing every activation changes a program"


def test_a_change_of_the_fusion_that_the_fused_kernel_asks_for_is_seen(monkeypatch):
    name = next(name for name in measured_programs.program_texts() if name.startswith("every") and "fused" in name)
    before = measured_programs.program_texts.__wrapped__()
    monkeypatch.setattr(measured_programs, "fuse_activations", lambda program: program)
    after = measured_programs.program_texts.__wrapped__()
    changed = {key for key in before if before[key] != after[key]}
    assert changed and all(key.endswith("every activation fused") for key in changed) and name not in changed


def test_committed_measurements_are_of_todays_code():
    assert results.why_stale() == {}, "run the suites again: python -m helpers.benchmark SUITE"


def test_the_code_of_every_committed_measurement_is_kept_and_no_other():
    named = set()
    for path in results.RESULTS.glob("*.json"):
        digests = json.loads(path.read_text(encoding="utf-8"))["environment"]["code_digest"]
        named |= {f"{engine}-{digest}.json" for engine, digest in digests.items()}
    kept = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (results.RESULTS / "code").iterdir()}
    assert set(kept) == named, "what a suite writes to data/results/code belongs to its measurements"
    assert all(name.endswith(f"-{measured_code.digest_of(modules)}.json") for name, modules in kept.items())


def test_every_engine_and_kernel_module_makes_some_measurement_stale():
    helpers = results.ROOT / "helpers"
    named = [item for patterns in measured_code.MEASURED_CODE.values() for item in patterns]
    covered = {path for item in named for path in helpers.glob(item)}
    assert covered >= {*helpers.glob("engines/[!_]*.py"), *helpers.glob("kernels/**/*.py")}
    assert all(list(helpers.glob(item)) for item in named)
