"""The chain: executes the notebooks in order, continues where it stopped, writes one report.

    python -m helpers.chain run [--update] [--fresh]     execute; --update also refreshes the committed files
    python -m helpers.chain cells                        rewrite the cells that all notebooks share
    python -m helpers.chain repository URL               set the address of the repository everywhere

Knows notebooks as files; must not learn what they compute. run_all.sh installs what is needed and calls this.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from helpers.atomic import write_atomically
from helpers.measured_code import MEASURED_CODE, drop_unnamed_code
from helpers.publishing.canonical import clean, without_paths
from helpers.publishing.cells import notebook_paths, set_repository, write_cells
from helpers.results import RESULTS, ROOT
from helpers.startup import choose_target, short_name


class NotebookError(RuntimeError):
    """A notebook that did not run to its end; the message names it and its cell."""


def execute(source, target):
    """Execute one notebook and write it, cleaned, to `target`.

    Parameters
    ----------
    source, target : Path

    Raises
    ------
    NotebookError
        If a cell raises or the kernel dies; the notebook up to there is then at `target`.
    """
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / source.name
        failure = _run_papermill(source, partial)
        if partial.exists():
            write_atomically(target, nbformat.writes(clean(nbformat.read(partial, 4))) + "\n")
    if failure:
        raise NotebookError(f"{source.name} failed in {without_paths(failure)}")


def _run_papermill(source, target):
    """Execute `source` into `target`; the cell and error that ended it, None where none did."""
    import papermill

    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar=sys.stderr.isatty(),
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except papermill.exceptions.PapermillExecutionError as error:
        return f"cell {error.cell_index + 1} (In [{error.exec_count}]): {error.ename}: {error.evalue}"
    except Exception as error:
        return f"cell {_last_started_cell(target)}: {type(error).__name__}: {error}"
    return None


def _last_started_cell(path):
    """Number, counted from 1, of the last cell that papermill started."""
    cells = nbformat.read(path, 4).cells if path.exists() else []
    started = [i for i, cell in enumerate(cells, 1) if cell.metadata.get("papermill", {}).get("start_time")]
    return max(started, default=1)


def fingerprint(notebook):
    """Digest of all that a notebook's outputs depend on: its cells, the helpers, the measurements, the profile."""
    digest = hashlib.sha256()
    cells = [(cell.cell_type, cell.source) for cell in nbformat.read(notebook, 4).cells]
    digest.update(repr((cells, os.environ.get("CNN_PROFILE"), platform.python_version())).encode())
    for path in sorted([*(ROOT / "helpers").rglob("*.py"), *RESULTS.glob("*.json")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(update=False, fresh=False):
    """Execute every notebook whose inputs changed since it was last executed, then write the report.

    Parameters
    ----------
    update : bool
        Copy the executed notebooks and figures to their committed places and fill README's numbers.
    fresh : bool
        Execute all of them again.
    """
    folder = Path(os.environ.get("CNN_NOTEBOOKS", ROOT / "notebooks")).resolve()
    card = choose_target()
    output = Path(os.environ.get("CNN_OUTPUT", ROOT / "output")).resolve() / short_name(card)
    os.environ["CNN_FIGURES"], os.environ["CNN_RESULTS"] = str(output / "figures"), str(output / "results")
    paths = notebook_paths(folder)
    if not paths:
        raise NotebookError(f"no notebook named like 01_name.ipynb is in the folder {folder.name}")
    print(f"GPU: {card}" if card else "No GPU: the quick profile runs, in the simulator on tiny shapes.", flush=True)
    _execute_all(paths, output, fresh)
    from helpers.publishing.html import write_report

    executed = [output / "notebooks" / path.name for path in paths]
    write_report(executed, output / "report.html")
    print(f"Report: {os.path.relpath(output / 'report.html')}")
    if update:
        _update(executed, output, folder)


def _execute_all(paths, output, fresh):
    """Execute what is not done, recording each finished notebook so that the next call continues behind it."""
    record = output / "progress.json"
    done = json.loads(record.read_text()) if record.exists() and not fresh else {}
    for number, path in enumerate(paths, 1):
        target, key = output / "notebooks" / path.name, fingerprint(path)
        label = f"[{number}/{len(paths)}] {path.name}"
        if done.get(path.name) == key and target.exists():
            print(f"{label}: unchanged since it was executed", flush=True)
            continue
        print(f"{label}: running", flush=True)
        start = time.perf_counter()
        execute(path, target)
        print(f"{label}: done in {time.perf_counter() - start:.0f} s", flush=True)
        done[path.name] = key
        write_atomically(record, json.dumps(done, indent=1))


def _update(executed, output, folder):
    """Copy executed notebooks, figures and measurements to their committed places; fill README's numbers."""
    for path in executed:
        shutil.copyfile(path, folder / path.name)
    for kind, place in (("figures", folder.parent / "figures"), ("results", folder.parent / "data" / "results")):
        if (output / kind).is_dir():
            shutil.copytree(output / kind, place, dirs_exist_ok=True)
    drop_unnamed_code(folder.parent / "data" / "results", MEASURED_CODE)
    if folder == ROOT / "notebooks":
        from helpers.readme import filled_readme

        readme = ROOT / "README.md"
        write_atomically(readme, filled_readme(readme.read_text(encoding="utf-8")))


def main(arguments=None):
    """Command line; exit status 0 when all notebooks ran, 1 when one failed, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m helpers.chain", description="Execute the notebooks in order.")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="execute the notebooks and write the report")
    running.add_argument("--update", action="store_true", help="refresh the committed notebooks, figures and README")
    running.add_argument("--fresh", action="store_true", help="execute unchanged notebooks too")
    commands.add_parser("cells", help="rewrite the cells that all notebooks share")
    commands.add_parser("repository", help="set the repository's address everywhere").add_argument("url")
    options = parser.parse_args(arguments)
    try:
        if options.command == "run":
            run(options.update, options.fresh)
        elif options.command == "cells":
            write_cells(notebook_paths())
        else:
            set_repository(options.url, notebook_paths(), ROOT / "README.md")
    except (NotebookError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the same command continues with the notebook that was running.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
