"""The pages of the documentation, and the blocks of code in them."""

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BUILT = ("_build", "generated")
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(
        page
        for page in DOCS.rglob("*.md")
        if not any(part in _BUILT for part in page.relative_to(DOCS).parts)
    ),
]

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# The options of a code cell stand above its code.
_CELL_OPTIONS = re.compile(r"\A(?::.*\n)+\n?")


class Block(NamedTuple):
    """A block of code: its language ("" is a shell), its text, and the line where it begins."""

    language: str
    text: str
    line: int


def blocks(page: pathlib.Path) -> list[Block]:
    """The blocks of a page, in order; code cells are Python."""
    content = page.read_text()
    found = []
    for match in _FENCE.finditer(content):
        language, text = match[1].strip(), match[2]
        if language.startswith("{code-cell}"):
            language, text = "python", _CELL_OPTIONS.sub("", text)
        found.append(Block(language, text, content[: match.start(2)].count("\n") + 1))
    return found


def name(page: pathlib.Path) -> str:
    """A page's place in the repository, to name a test by."""
    return page.relative_to(ROOT).as_posix()


def prose(page: pathlib.Path) -> list[tuple[int, str]]:
    """The lines of a page outside of code, with their numbers."""
    lines, inside = [], False
    for number, line in enumerate(page.read_text().split("\n"), start=1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            lines.append((number, line))
    return lines
