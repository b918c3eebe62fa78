"""One self-contained HTML page of all executed notebooks: pictures inside, formulas as MathML, nothing fetched.

Knows executed notebooks; must not learn how they came about.
"""

import html
import re

import latex2mathml.converter
import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from traitlets.config import Config

from helpers.atomic import write_atomically

SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)  # the template's, which fetch what no page here needs
CODE = re.compile(r"(<pre.*?</pre>|<code.*?</code>)", re.DOTALL)
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<inline>[^\s$](?:[^$]*[^\s$])?)\$", re.DOTALL)


class _Exporter(HTMLExporter):
    """HTML with formulas as MathML, which browsers draw without a script."""

    @pass_context
    def markdown2html(self, context, source):
        parts = CODE.split(super().markdown2html(context, source))
        return "".join(part if i % 2 else FORMULA.sub(_mathml, part) for i, part in enumerate(parts))


def _mathml(match):
    """MathML of one formula; its LaTeX as code where the converter does not know a command."""
    latex = html.unescape(match["block"] or match["inline"])
    try:
        return latex2mathml.converter.convert(latex, display="block" if match["block"] else "inline")
    except Exception:  # the converter has no common base for its errors
        return f"<code>{html.escape(latex)}</code>"


def write_report(paths, target, title="A CNN from scratch"):
    """Write the notebooks `paths`, in order and behind a table of contents, as one HTML file.

    Parameters
    ----------
    paths : list of Path
        Executed notebooks.
    target : Path
    title : str
    """
    cells, contents = [], []
    for path in paths:
        notebook = nbformat.read(path, 4)
        contents.append(f"1. [{_title(notebook, path)}](#{path.stem})")
        cells.append(nbformat.v4.new_markdown_cell(f'<a id="{path.stem}"></a>\n\n---'))
        cells += notebook.cells
    for cell in cells:  # links between notebooks become links within the page
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](#\1)", cell.source)
            cell.source = re.sub(r"\[([^\]]+)\]\(\.\./[\w./-]+\)", r"\1", cell.source)  # the page has no neighbours
    head = nbformat.v4.new_markdown_cell(f"# {title}\n\n" + "\n".join(contents))
    for number, cell in enumerate([head, *cells]):  # before the notebook is made, which warns of ids that meet
        cell.id = f"cell-{number}"
    book = nbformat.v4.new_notebook(cells=[head, *cells], metadata={"language_info": {"name": "python"}})
    folder = str(paths[0].parent) if paths else "."
    config = Config({"HTMLExporter": {"embed_images": True, "require_js_url": "", "mathjax_url": "", "jquery_url": ""}})
    page, _ = _Exporter(config=config).from_notebook_node(book, {"metadata": {"name": title, "path": folder}})
    write_atomically(target, SCRIPT.sub("", page))


def _title(notebook, path):
    """First heading of a notebook, its file name without one."""
    for cell in notebook.cells:
        found = re.search(r"(?m)^#+ (.+)$", cell.source) if cell.cell_type == "markdown" else None
        if found:
            return found.group(1)
    return path.stem
