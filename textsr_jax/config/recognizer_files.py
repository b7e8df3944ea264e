"""The value of `config.init.external`: ONNX files of recognisers, and where their characters are.

`small.onnx,tiny.onnx:tiny.txt` names two; the first holds its characters itself.
"""

import dataclasses
from collections.abc import Callable

from textsr_jax.config.kinds import Refused, Text


@dataclasses.dataclass(frozen=True)
class RecognizerFiles:
    """Paths with commas between them, each perhaps with a colon and a second path; or nothing."""

    wanted = "MODEL.onnx or MODEL.onnx:CHARACTERS.txt, with commas between several"

    def accept(self, value: object) -> str:
        try:
            given = split(Text().accept(value))
        except Refused as error:
            raise Refused(self.wanted) from error
        if not all(model for model, _ in given):
            raise Refused(self.wanted)
        return str(value)


def split(value: str) -> list[tuple[str, str]]:
    """The models in a value, and their files of characters; "" for those that hold them."""
    if not value.strip():
        return []
    pairs = (item.strip().partition(":") for item in value.split(","))
    return [(model, characters) for model, _, characters in pairs]


def with_paths(value: str, change: Callable[[str], str]) -> str:
    """The value with other paths."""
    return ",".join(
        change(model) + (characters and f":{change(characters)}")
        for model, characters in split(value)
    )
