"""Docstrings of the package as reStructuredText: they are plain text with Markdown's backticks.

Sphinx reads docstrings as reStructuredText, where indented lines, asterisks and single backticks
mean something else than in the package.
"""

import re

# A list goes on until a line that is not indented.
_LISTED = re.compile(r"\n *- [^\n]*(?:\n +[^\n]*)*\Z")
_CODE = re.compile(r"(``[^`]+``|(?<!`)`[^`]+`(?!`))")
# Sections that sphinx.ext.napoleon turns into lists of fields.
_SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:", "Attributes:")


def process(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Changes the lines of a docstring in place, before sphinx.ext.napoleon reads them."""
    lines[:] = restructured(lines)


def restructured(lines: list[str]) -> list[str]:
    """The lines as reStructuredText."""
    changed, prose, section = [], [], False

    def finish() -> None:
        changed.extend(escaped("\n".join(prose)).split("\n") if prose else [])
        prose.clear()

    block, item = False, 0
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() and not indent:
            section, item = line.strip() in _SECTIONS, 0
            if block or (prose and prose[-1].startswith(" ")):
                (changed if block else prose).append("")
            block = False
        elif line.strip() and section:
            # What goes on about an item stands below it, however deep it is indented.
            item = item or indent
            line = " " * min(indent, item + 2) + line.lstrip()
        elif line.strip() and not block:
            listed = line.lstrip().startswith("- ") or _LISTED.search("\n".join(prose))
            if not listed:
                # What is indented outside of a section is shown as it stands.
                finish()
                changed += ["", "::", ""]
                block = True
        (changed if block else prose).append(line)
    finish()
    return changed


def escaped(text: str) -> str:
    """Prose whose code is marked, and whose other signs mean nothing."""
    marked = ""
    for part in _CODE.split(text):
        code = bool(_CODE.fullmatch(part))
        if marked.endswith("``") and part[:1].isalnum():
            # A letter may stand directly behind code, as in `pack`ed.
            marked += "\\ "
        marked += f"``{part.strip('`')}``" if code else _plain(part)
    return marked


def _plain(text: str) -> str:
    return re.sub(r"(\*|\||(?<=\w)_(?!\w))", r"\\\1", text)
