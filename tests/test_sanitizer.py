"""The verdict on compute-sanitizer's output, with a stand-in for the tool: clean, errors, a crash, the time limit."""

import os

import pytest

from helpers.benchmark import MeasurementError
from helpers.check import CheckError
from helpers.suites import fused_sanitizer, sanitizer

CLEAN = {
    "memcheck": "========= ERROR SUMMARY: 0 errors",
    "synccheck": "========= ERROR SUMMARY: 0 errors",
    "racecheck": "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)",
}
FOUND = {
    "memcheck": """\
========= Invalid __global__ read of size 4 bytes
=========     at body+0x350
=========     by thread (32,0,0) in block (0,0,0)
exercised 7 kernels
========= ERROR SUMMARY: 117 errors
========= ERROR SUMMARY: 17 errors were not printed. Use --print-limit option to adjust the number of printed errors""",
    "racecheck": """\
========= Error: Race reported between Write access at body+0x90
=========     and Read access at body+0xd0 [16 hazards]
exercised 7 kernels
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)""",
}


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Function that puts a compute-sanitizer on PATH which runs the lines of a shell script."""

    def install(*lines):
        program = tmp_path / "bin" / "compute-sanitizer"
        program.parent.mkdir()
        program.write_text("\n".join(["#!/bin/sh", "echo ========= COMPUTE-SANITIZER", *lines]))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        monkeypatch.setattr(sanitizer, "OUTPUT", tmp_path / "output")
        monkeypatch.setattr(sanitizer, "_rehearse", lambda *_: None)
        return tmp_path / "output"

    return install


def prints(text):
    return f"cat <<'END'\n{text}\nEND"


@pytest.mark.parametrize("name", sanitizer.TOOLS)
def test_a_clean_run_is_a_record(tool, name, capsys):
    output = tool(
        'echo "tiny: trained"', 'echo "$@" > "$(dirname "$0")/arguments"', prints(f"exercised 7 kernels\n{CLEAN[name]}")
    )
    record = sanitizer.measure(name)
    assert (record["form"], record["median"], record["kernels"]) == (name, 0, 7)
    assert not list(output.iterdir()), "only failures leave a log"
    arguments = (output.parent / "bin" / "arguments").read_text()
    assert arguments.startswith(f"--tool {name} --") and arguments.endswith("-m helpers.suites.sanitizer\n")
    shown = capsys.readouterr().out
    assert "    tiny: trained\n" in shown and "COMPUTE-SANITIZER" not in shown


def test_another_exercise_names_its_program_and_its_records(tool):
    output = tool('echo "$@" > "$(dirname "$0")/arguments"', prints(f"exercised 5 kernels\n{CLEAN['racecheck']}"))
    record = sanitizer.measure("racecheck", watched=fused_sanitizer.ONE_KERNEL)
    assert (record["experiment"], record["system"], record["kernels"]) == ("small_sanitizer", "fused", 5)
    assert (output.parent / "bin" / "arguments").read_text().endswith("-m helpers.suites.fused_sanitizer\n")


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "memcheck",
            r"memcheck reports errors \(117\), the first: 'Invalid __global__ read of size 4 bytes'; all of its",
        ),
        ("racecheck", r"racecheck reports errors \(1\), the first: 'Error: Race reported between Write access at body"),
    ],
)
def test_errors_are_counted_and_the_first_is_named(tool, name, message):
    output = tool(prints(FOUND[name]))
    with pytest.raises(MeasurementError, match=message):
        sanitizer.measure(name)
    assert FOUND[name] in (output / f"sanitizer-{name}.log").read_text()


def test_errors_that_end_the_program_are_errors_still(tool):
    tool(prints(FOUND["memcheck"].replace("exercised 7 kernels", "DeviceError: cuCtxSynchronize failed")), "exit 1")
    with pytest.raises(MeasurementError, match=r"reports errors \(117\)"):
        sanitizer.measure("memcheck")


@pytest.mark.parametrize(
    "lines, last",
    [
        (
            ["echo ========= Error: Target application terminated before first instrumented API call", "exit 255"],
            "call",
        ),
        (["echo 'CheckError: y is wrong' >&2", prints(CLEAN["memcheck"]), "exit 1"], "0 errors"),
        ([prints(CLEAN["memcheck"])], "0 errors"),
        (["echo exercised 7 kernels", "kill -9 $$"], "exercised 7 kernels"),
    ],
    ids=["never started", "check failed", "nothing ran", "killed"],
)
def test_a_run_without_a_verdict_never_passes(tool, lines, last):
    output = tool(*lines)
    with pytest.raises(MeasurementError, match=rf"memcheck gave no verdict and ended with status -?\d+; .*{last}'"):
        sanitizer.measure("memcheck")
    assert (output / "sanitizer-memcheck.log").is_file()


def test_the_time_limit_ends_the_tool_and_what_it_started(tool, monkeypatch):
    monkeypatch.setattr(sanitizer, "LIMIT_SECONDS", 0.5)
    tool("echo lenet5: trained", "sleep 60 & wait")
    with pytest.raises(MeasurementError, match="racecheck was stopped after 0.5 s, its limit; .*'lenet5: trained'"):
        sanitizer.measure("racecheck")


def test_a_missing_tool_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MeasurementError, match="part of the CUDA toolkit"):
        sanitizer.measure("memcheck")


def test_a_wrong_kernel_stops_the_suite_before_any_tool(tool, monkeypatch):
    def wrong(quick):
        raise CheckError("y of conv_forward")

    rehearse = sanitizer._rehearse
    tool("exit 1")
    monkeypatch.setattr(sanitizer, "_rehearse", rehearse)
    monkeypatch.setattr(sanitizer, "exercise", wrong)
    with pytest.raises(MeasurementError, match="wrong before any tool watches it: y of conv_forward"):
        sanitizer.measure("memcheck")
