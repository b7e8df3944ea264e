"""The pages hold together: links, lengths, names of files, and where figures come from."""

import json
import re

import pytest

from tests.docs import pages

# What other files say in their comments.
SOURCES = [
    path
    for folder in ("textsr_jax", "configs", "benchmarks", "tests")
    for path in sorted((pages.ROOT / folder).rglob("*.py"))
]


def anchors(page) -> set[str]:
    """The names that a page's headings have as targets of links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page):
    text = "\n".join(line for _, line in pages.prose(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name) if name else page
        assert place.exists(), f"{target} in {page.name}"
        if anchor:
            assert anchor in anchors(place), f"{target} in {page.name}"


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_lines_and_cells_are_short(page):
    for number, line in enumerate(page.read_text().split("\n"), start=1):
        place = f"{pages.name(page)}:{number}"
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert max(map(len, cells)) <= 80, f"{place}: a cell is over 80 characters"
        else:
            assert len(line) <= 100, f"{place}: over 100 columns"


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_no_line_is_a_comment(page):
    # MyST leaves out lines that begin with a per cent sign, such as "4 %" that was wrapped.
    for number, line in pages.prose(page):
        assert not line.lstrip().startswith("%"), f"{pages.name(page)}:{number}: is left out"


def test_readme_is_short():
    assert len((pages.ROOT / "README.md").read_text().splitlines()) <= 150


def test_every_page_is_in_the_contents():
    listed = set()
    for page in pages.PAGES:
        for block in pages.blocks(page):
            if block.language == "{toctree}":
                entries = [line for line in block.text.split("\n") if line and line[0] not in ":"]
                listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    below = {page for page in pages.PAGES if pages.DOCS in page.parents}
    assert below - listed == {pages.DOCS / "index.md"}


def test_files_that_code_names_exist():
    for path in SOURCES:
        for name in re.findall(r"docs/[\w/]+\.(?:md|json|png)", path.read_text()):
            assert (pages.ROOT / name).exists(), f"{path.relative_to(pages.ROOT)} names {name}"


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_files_of_the_package_that_pages_name_exist(page):
    # History and changes name what was.
    if page.name in ("history.md", "CHANGELOG.md"):
        return
    text = page.read_text()
    for name in re.findall(r"`((?:textsr_jax|configs|benchmarks|tests|docs)/[\w/.]+)`", text):
        # NAME stands for any name.
        assert "NAME" in name or (pages.ROOT / name).exists(), f"{pages.name(page)} names {name}"
    for name in re.findall(r"`(textsr_jax(?:\.\w+)+)", text):
        parts = name.split(".")
        places = [pages.ROOT.joinpath(*parts[:count]) for count in range(2, len(parts) + 1)]
        found = [place for place in places if place.is_dir() or place.with_suffix(".py").is_file()]
        assert found or len(parts) == 2, f"{pages.name(page)} names {name}"


@pytest.mark.parametrize("file", sorted(pages.DOCS.glob("*.json")), ids=lambda file: file.name)
def test_figures_come_from_a_commit(file):
    provenance = json.loads(file.read_text()).get("provenance", {})
    commit = provenance.get("commit", "0" * 40)
    assert re.fullmatch("[0-9a-f]{40}", commit), f"{file.name} was made from {commit}"
