"""The form in which executed notebooks are kept: no run's traces, no machine's paths, no library's chatter.

Knows the notebook format; must not learn who executed the notebook or why.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import nbformat

from helpers.publishing.cells import METADATA
from helpers.results import ROOT


def clean(notebook):
    """`notebook` without stderr streams, execution times and widget state; machine paths are shortened.

    Neighbouring pieces of the same stream become one output, so that two runs of the same cells give equal files.
    """
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.cells = [cell for cell in notebook.cells if "papermill-error-cell-tag" not in _tags(cell)]
    for cell in notebook.cells:
        tags = _tags(cell)
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = _joined([o for o in cell.outputs if o.get("name") != "stderr"])
    return notebook


def _tags(cell):
    return list(cell.metadata.get("tags", []))


def _joined(outputs):
    """Outputs without machine paths, neighbouring stream pieces joined."""
    joined = []
    for output in outputs:
        output = nbformat.from_dict(json.loads(without_paths(json.dumps(output))))
        output.pop("transient", None)
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def without_paths(text):
    """`text` with the folders of the project, of Python, of temporary files and of the user replaced by short names."""
    folders = {str(ROOT): ".", sys.prefix: "python", tempfile.gettempdir(): "tmp", str(Path.home()): "~"}
    for folder, short in sorted(folders.items(), key=lambda item: -len(item[0])):  # a folder before the one around it
        if len(folder) > 1:
            text = re.sub(rf"(?<![\w.~-]){re.escape(folder)}(?![\w.-])", short, text)
    return text
