"""Hints for names that do not exist: the nearest name that does."""

import difflib
from collections.abc import Sequence


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint for a name that is not one of `names`: the nearest one, or all of them."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"take one of {', '.join(names)}"
