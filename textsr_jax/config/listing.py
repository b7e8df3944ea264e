"""What `--help` says of a config's fields: what each does, what it may be, and its value."""

import textwrap
from collections.abc import Mapping
from typing import Any

from textsr_jax.config.kinds import Text
from textsr_jax.config.settings import FIELDS


def lines(content: Mapping[str, Any] | None = None) -> list[str]:
    """The fields in the schema's order, wrapped.

    Args:
      content: the config's nested dicts, whose values are shown; None for none.
    """
    made = []
    for name, field in FIELDS.items():
        value = "" if content is None else f"={_value(content, name)!r}"
        # A text may be any: that is not worth a line.
        wanted = "" if isinstance(field.kind, Text) else f" ({field.kind.wanted})"
        about = f"--config.{name}{value}: {field.about}{wanted}"
        made += textwrap.wrap(
            about, 98, initial_indent="  ", subsequent_indent="      ", break_long_words=False
        )
    return made


def _value(content: Mapping[str, Any], name: str) -> Any:
    for part in name.split("."):
        content = content[part]
    return content
