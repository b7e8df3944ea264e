"""The fields of a config in `--help`: what each does, what it accepts, and its value."""

import textwrap
from collections.abc import Mapping
from typing import Any

from textsr_jax.config.kinds import Text
from textsr_jax.config.settings import FIELDS


def lines(content: Mapping[str, Any] | None = None) -> list[str]:
    """Returns the lines about all fields, wrapped at 98 columns.

    Args:
      content: the config whose values are shown; None for no values.
    """
    made = []
    for name, field in FIELDS.items():
        value = "" if content is None else f"={_value(content, name)!r}"
        # Texts accept nearly everything, so their kind says nothing.
        wanted = "" if isinstance(field.kind, Text) else f" ({field.kind.wanted})"
        about = f"--config.{name}{value}: {field.about}{wanted}"
        made += textwrap.wrap(
            about, 98, initial_indent="  ", subsequent_indent="      ", break_long_words=False
        )
    return made


def _value(content: Mapping[str, Any], name: str) -> object:
    for part in name.split("."):
        content = content[part]
    return content
