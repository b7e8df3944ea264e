"""The models that come with the package: packed files, found by their names."""

import os
import pathlib

_WEIGHTS = pathlib.Path(__file__).parents[1] / "weights"
# Its recogniser writes 0-9 and a-z, as the paper's.
SHIPPED = _WEIGHTS / "shipped.safetensors"
# Its recogniser writes letters with their case, digits, punctuation and spaces.
PRINTABLE = _WEIGHTS / "printable.safetensors"


def find(source: str) -> str:
    """Returns the path of `PRINTABLE` for "printable", unless that is a file; else `source`."""
    named = source == PRINTABLE.stem and not os.path.lexists(source)
    return str(PRINTABLE) if named else source
