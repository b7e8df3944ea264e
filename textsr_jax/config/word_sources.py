"""The value of `config.data.words`: LMDBs, each with the part of the words that it gives.

`MJ:0.5,ST:0.3` takes a half of the words from one LMDB and three tenths from another; the rest are
the data set's own. LMDBs without a part share what the others leave: `MJ,ST` gives a half each.
"""

import dataclasses
import re
from collections.abc import Callable

from textsr_jax.config.kinds import Refused, Text

_WITH_PART = re.compile(r"(.*):(\d+\.?\d*|\.\d+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class WordSources:
    """Paths with commas between them, each perhaps with a colon and a part; or nothing."""

    wanted = "PATH or PATH:PART, with commas between several; parts above 0, together at most 1"

    def accept(self, value: object) -> str:
        try:
            given = split(Text().accept(value))
        except Refused as error:
            raise Refused(self.wanted) from error
        stated = [float(part) for _, part in given if part]
        # Decimal fractions may add up to a little more than 1.
        total = round(sum(stated), 9)
        fits = total <= 1 if len(stated) == len(given) else total < 1
        if not fits or not all(part > 0 for part in stated) or not all(path for path, _ in given):
            raise Refused(self.wanted)
        return str(value)


def split(value: str) -> list[tuple[str, str]]:
    """The paths in a value, and what stands behind their colons; "" where nothing does."""
    if not value.strip():
        return []
    found = []
    for item in value.split(","):
        part = _WITH_PART.fullmatch(item.strip())
        found.append((part[1], part[2]) if part else (item.strip(), ""))
    return found


def parts(value: str) -> list[tuple[str, float]]:
    """The paths in a value and their parts of all words, above 0; together at most 1."""
    given = split(value)
    rest = 1 - sum(float(part) for _, part in given if part)
    without = sum(not part for _, part in given)
    return [(path, float(part) if part else rest / without) for path, part in given]


def with_paths(value: str, change: Callable[[str], str]) -> str:
    """The value with other paths."""
    return ",".join(change(path) + (part and f":{part}") for path, part in split(value))
