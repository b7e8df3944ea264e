"""How the dataclasses of `textsr_jax.config.settings` declare their fields, and what a part is.

A field is declared once: its type, what a file without it gets, what it may be, what it does.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self, TypeVar

from textsr_jax.config.kinds import Kind, Refused
from textsr_jax.errors import UserError

Role = Literal["network", "recipe", "machine"]
# A field's type is that of its value, as with `dataclasses.field`.
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Field:
    """What is known of a field of a config.

    Attributes:
      role: "network": the field changes what a network computes, so a file without it is refused.
        "recipe": it changes how models are trained, quantised, read or scored.
        "machine": it is a place or a setting of one machine. Files that travel leave it out, and
        it is ignored in them.
      missing: the value for a file that is older than the field. For a field of a network it is the
        published size, which a file gets only for a network that it does not use.
      kind: the values that it accepts.
      about: what it does, in at most 80 characters; `--help` shows it.
    """

    role: Role
    missing: object
    kind: Kind
    about: str


class Part(Mapping[str, Any]):
    """A part of a config: a frozen dataclass that can also be read as a mapping of its fields.

    A value that a field does not accept raises `UserError` when a part is made.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            kind = field.metadata.get("kind")
            if kind is None:
                continue
            try:
                accepted = kind.accept(getattr(self, field.name))
            except Refused as error:
                value = getattr(self, field.name)
                raise UserError(
                    f"{type(self).__name__}.{field.name}={value!r}: must be {error}"
                ) from error
            object.__setattr__(self, field.name, accepted)

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:  # type: ignore[attr-defined]
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dataclass_fields__)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """The fields as nested dicts, sorted by name."""
        return {
            name: value.to_dict() if isinstance(value, Part) else value
            for name, value in sorted(self.items())
        }

    def replace(self, **changes: Any) -> Self:
        """The same part with other values in some fields.

        A mapping changes fields of the part inside: `config.replace(data={"root": folder})`.
        """
        values = {
            name: self[name].replace(**value) if isinstance(self[name], Part) else value
            for name, value in changes.items()
        }
        return dataclasses.replace(self, **values)  # type: ignore[type-var]


def network(missing: Value, kind: Kind, about: str) -> Value:
    """A field of the role "network"; see `Field`."""
    return _declared("network", missing, kind, about)


def recipe(missing: Value, kind: Kind, about: str) -> Value:
    """A field of the role "recipe"; see `Field`."""
    return _declared("recipe", missing, kind, about)


def machine(missing: Value, kind: Kind, about: str) -> Value:
    """A field of the role "machine"; see `Field`."""
    return _declared("machine", missing, kind, about)


def table(part: Part, prefix: str = "") -> dict[str, Field]:
    """The fields of a part and of the parts in it, by names such as "sr.edsr.blocks".

    Args:
      part: is made without arguments, so that it holds what older files get.
      prefix: the name of the part and a dot.
    """
    found: dict[str, Field] = {}
    for field in dataclasses.fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        if isinstance(value, Part):
            found |= table(value, f"{prefix}{field.name}.")
        else:
            about = field.metadata
            found[prefix + field.name] = Field(about["role"], value, about["kind"], about["about"])
    return found


def _declared(role: Role, missing: Value, kind: Kind, about: str) -> Value:
    return dataclasses.field(default=missing, metadata={"role": role, "kind": kind, "about": about})
