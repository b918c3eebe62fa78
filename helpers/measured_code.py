"""The code that measurements stand for: by engine the definitions it runs, kept beside the measurements of them.

A measurement names each engine's digest; data/results/code/<engine>-<digest>.json holds the definitions behind it. It
is current as long as nothing that it ran has changed since: what was only added cannot have been measured. Must not
learn what a measurement says.
"""

import functools
import hashlib
import json
from pathlib import Path

from helpers.atomic import write_atomically
from helpers.definitions import definitions, differences, short_hash
from helpers.measured_programs import program_texts

HELPERS = Path(__file__).resolve().parent
CODE = "code"  # folder of the definitions, beside the measurement files
PROGRAMS = "lowered programs"  # stands for a module whose definitions are the programs that engines are given
# by engine, the modules whose change makes its measurements stale; what every engine runs on comes first
SHARED_CODE = ("engines/base.py", "order.py")
KERNEL_CODE = ("kernels/*.py", "unroll.py", "graphs.py")
VECTORIZED_CODE = (*SHARED_CODE, "engines/host.py", "engines/forked.py", "engines/vectorized.py", "reference.py",
                   "activations.py", "windows.py")  # fmt: skip
FRAMEWORK_CODE = (*SHARED_CODE, "engines/framework.py")
KERAS_CODE = ("engines/keras.py", "engines/keras_parts.py")
FUSED_CODE = (*SHARED_CODE, "engines/fused.py", "optimizers.py", "unroll.py", "kernels/fused/*.py",
              *(f"kernels/{name}.py" for name in ("base", "intrinsics", "order", "pointwise", "state")))  # fmt: skip
MEASURED_CODE = {
    "loops": (*SHARED_CODE, "engines/host.py", "engines/loops.py", "loops_kernels.py", "activation_loops.py"),
    "vectorized": VECTORIZED_CODE,
    "vectorized_optimizers": (*VECTORIZED_CODE, "engines/vectorized_optimizers.py", "optimizers.py"),
    "layerwise": (*SHARED_CODE, "engines/layerwise.py", "engines/step.py", *KERNEL_CODE),
    "tensor": (*SHARED_CODE, "engines/layerwise.py", "engines/step.py", "engines/tensor.py", "engines/tensor_step.py",
               "tensor_program.py", *KERNEL_CODE, "kernels/tensor/*.py", "kernels/fused/intrinsics.py"),
    "fused": FUSED_CODE,
    "fused_rung": (*FUSED_CODE, "engines/fused_rung.py"),
    "kernel": (*KERNEL_CODE, "kernels/tensor/*.py"),
    "pytorch": (*FRAMEWORK_CODE, "engines/pytorch.py", "engines/pytorch_layers.py"),
    "jax": (*FRAMEWORK_CODE, "engines/jax.py"),
    "keras": (*FRAMEWORK_CODE, *KERAS_CODE),
    "keras_compiled": (*FRAMEWORK_CODE, *KERAS_CODE, "engines/keras_compiled.py"),
    "tensorflow": (*FRAMEWORK_CODE, "engines/tensorflow.py"),
}  # fmt: skip
WITHOUT_PROGRAM = ("kernel",)  # a rung of a ladder runs alone
_definitions = functools.cache(definitions)  # engines share modules


def measured_code():
    """{engine: {module, relative to helpers: {definition: short hash}}}, as the code is now."""
    programs = {PROGRAMS: {name: short_hash(text) for name, text in program_texts().items()}}
    found = {}
    for engine, patterns in MEASURED_CODE.items():
        modules = {} if engine in WITHOUT_PROGRAM else dict(programs)
        for path in {path for pattern in patterns for path in HELPERS.glob(pattern)}:
            modules[path.relative_to(HELPERS).as_posix()] = _definitions(path.read_text(encoding="utf-8"))
        found[engine] = modules
    return found


def measured_digests():
    """{engine: digest of the definitions that it runs, as they are now}."""
    return {engine: digest_of(modules) for engine, modules in measured_code().items()}


def digest_of(modules):
    """16 hexadecimal digits that stand for {module: {definition: short hash}}."""
    return hashlib.sha256(_as_text(modules).encode()).hexdigest()[:16]


def _as_text(modules):
    return json.dumps(modules, indent=1, sort_keys=True) + "\n"


def code_file(folder, engine, digest):
    """Path of the definitions that an engine's digest stands for, beside the measurements in `folder`."""
    return Path(folder) / CODE / f"{engine}-{digest}.json"


def keep_code(folder, digests):
    """Write the definitions behind {engine: digest}; not where they are kept already or the code is another by now."""
    today = measured_code()
    for engine, digest in digests.items():
        path = code_file(folder, engine, digest)
        if digest_of(today.get(engine, {})) == digest and _kept(path, digest) is None:
            write_atomically(path, _as_text(today[engine]))


def drop_unnamed_code(folder, engines):
    """Remove kept definitions of `engines` whose digest no measurement file in `folder` names."""
    texts = [path.read_text(encoding="utf-8") for path in Path(folder).glob("*.json")]
    for path in sorted((Path(folder) / CODE).glob("*.json")):
        engine, _, digest = path.stem.rpartition("-")
        if engine in engines and not any(f'"{digest}"' in text for text in texts):
            path.unlink()


def _kept(path, digest):
    """The definitions kept in a file; None where there are none of this digest."""
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return modules if digest_of(modules) == digest else None


def changes(digests, folder, today=None):
    """What of the code that {engine: digest} stands for is different today.

    Parameters
    ----------
    digests : dict
        As a measurement file in `folder` names them.
    folder : path
    today : dict, optional
        `measured_code()`, for whoever asks more than once.

    Returns
    -------
    list of str
        "engine: module: definition changed" and the like; [] where code was only added or nothing happened.
    """
    today, lines = today or measured_code(), []
    for engine, digest in digests.items():
        if digest_of(today.get(engine, {})) == digest:
            continue
        path = code_file(folder, engine, digest)
        before = _kept(path, digest)
        if engine not in today:
            lines.append(f"{engine}: is no engine any more")
        elif before is None:
            lines.append(f"{engine}: the code is another one, and {CODE}/{path.name} does not tell which it was")
        else:
            lines += [f"{engine}: {line}" for line in differences(before, today[engine])]
    return lines
