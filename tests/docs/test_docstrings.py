"""Docstrings become reStructuredText."""

import importlib.util

from tests.docs import pages

_spec = importlib.util.spec_from_file_location("docstrings", pages.DOCS / "docstrings.py")
docstrings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docstrings)


def test_code_is_marked_and_other_signs_mean_nothing():
    assert docstrings.restructured(["A `tree`, 2 * x of a_ and `pack`ed."]) == [
        r"A ``tree``, 2 \* x of a\_ and ``pack``\ ed."
    ]


def test_code_may_go_over_two_lines():
    assert docstrings.restructured(["Takes `a", "b` alone."]) == ["Takes ``a", "b`` alone."]


def test_what_is_indented_is_shown_as_it_stands():
    lines = ["Use:", "", "    x = `1` * 2", "", "Then go on."]
    assert docstrings.restructured(lines) == [
        *("Use:", "", "", "::", "", "    x = `1` * 2", "", "", "Then go on.")
    ]


def test_sections_stay():
    lines = ["Says.", "", "Args:", "  x: a `b`."]
    assert docstrings.restructured(lines) == ["Says.", "", "Args:", "  x: a ``b``."]


def test_lists_stay_lists():
    lines = ["Holds:", "  - `a` is b,", "    and c;", "  - d.", "", "More."]
    assert docstrings.restructured(lines) == [
        *("Holds:", "  - ``a`` is b,", "    and c;", "  - d.", "", "More.")
    ]


def test_items_of_sections_are_indented_alike():
    lines = ["Args:", "  config: the fields", "    root: a", "      folder.", "  b: c."]
    assert docstrings.restructured(lines) == [
        *("Args:", "  config: the fields", "    root: a", "    folder.", "  b: c.")
    ]


def test_a_list_ends_with_a_blank_line():
    assert docstrings.restructured(["A:", "  - b.", "C."]) == ["A:", "  - b.", "", "C."]
