"""What the assembler makes of a kernel without a GPU: registers, stack, spills and shared memory.

Knows compiler.py's PTX and the toolkit's ptxas; used by tests and by notebooks that show a kernel's cost.
"""

import re
import shutil
import site
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from helpers.compiler import CompileError, compile_ptx


@dataclass(frozen=True)
class Resources:
    """One kernel's use of the machine: registers a thread, and bytes."""

    registers: int
    stack_bytes: int
    spill_bytes: int
    static_shared_bytes: int
    dynamic_shared_bytes: int

    @property
    def shared_bytes(self):
        return self.static_shared_bytes + self.dynamic_shared_bytes


def find_ptxas():
    """Path of ptxas: the toolkit wheels' first, then PATH; None without one."""
    for folder in site.getsitepackages():
        for place in ("nvidia/cu13/bin", "nvidia/cuda_nvcc/bin"):
            if (path := Path(folder) / place / "ptxas").is_file():
                return str(path)
    return shutil.which("ptxas")


def resources(kernel, capability):
    """`Resources` of `kernel` assembled for `capability`, e.g. (7, 5).

    Raises
    ------
    CompileError
        If there is no ptxas, or it refuses the kernel.
    """
    ptxas = find_ptxas()
    if ptxas is None:
        raise CompileError("ptxas was not found; install the toolkit wheels: ./run_all.sh test does")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(compile_ptx(kernel, capability))
        target = f"-arch=sm_{capability[0]}{capability[1]}"
        done = subprocess.run(
            [ptxas, "-v", target, str(source), "-o", str(source.with_suffix(".cubin"))], capture_output=True, text=True
        )
    if done.returncode:
        raise CompileError(f"ptxas refuses {kernel.operation} for {target[6:]}: {done.stderr.strip()}")

    def number(pattern):
        found = re.search(pattern, done.stderr)
        return int(found[1]) if found else 0

    return Resources(
        registers=number(r"Used (\d+) registers"),
        stack_bytes=number(r"(\d+) bytes stack frame"),
        spill_bytes=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        static_shared_bytes=number(r"(\d+) bytes smem"),
        dynamic_shared_bytes=kernel.shared_bytes,
    )
