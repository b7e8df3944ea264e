"""The pages hold together: their links lead somewhere, and their figures come from a commit."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: pathlib.Path) -> set[str]:
    """The names that a page's headings have as targets of links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name) if name else page
        assert place.exists(), f"{target} in {page.name}"
        if anchor:
            assert anchor in anchors(place), f"{target} in {page.name}"


@pytest.mark.parametrize("file", sorted((ROOT / "docs").glob("*.json")), ids=lambda file: file.name)
def test_figures_come_from_a_commit(file):
    provenance = json.loads(file.read_text()).get("provenance", {})
    commit = provenance.get("commit", "0" * 40)
    assert re.fullmatch("[0-9a-f]{40}", commit), f"{file.name} was made from {commit}"
