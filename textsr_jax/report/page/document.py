"""Writes the page of a workdir: one HTML file that asks nothing of a network or a server."""

import pathlib
import string
from html import escape

from textsr_jax.report.page import folder, sections
from textsr_jax.runtime import atomic, paths

NAME = "page.html"
_HERE = pathlib.Path(__file__).parent


def write(workdir: str | pathlib.Path, out: str | pathlib.Path | None = None) -> pathlib.Path:
    """Writes the page of what a workdir holds. The same files give the same bytes.

    Args:
      workdir: a workdir of train.py, or a folder in which evaluate.py or quantize.py wrote.
      out: the file; None for page.html in the workdir.

    Returns:
      The file.

    Raises:
      UserError: the folder is missing or holds nothing to show, or the file cannot be written.
    """
    run = folder.read(workdir)
    path = paths.named(workdir) / NAME if out is None else paths.named(out)
    atomic.write_text(path, html(run), parents=True, fix="name another --out")
    return path


def html(run: folder.Run) -> str:
    """Returns the page of a run as HTML."""
    shown, notes = sections.sections(run)
    links = "".join(f'<a href="#{one.name}">{escape(one.title)}</a>' for one in shown)
    body = "".join(
        f'<section id="{one.name}"><h2>{escape(one.title)}</h2>{one.content}</section>'
        for one in shown
    )
    told = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return _template("page.html").substitute(
        title=escape(run.name),
        style=(_HERE / "page.css").read_text(),
        script=(_HERE / "page.js").read_text(),
        links=links,
        notes=told,
        sections=body,
    )


def _template(name: str) -> string.Template:
    return string.Template((_HERE / name).read_text())
