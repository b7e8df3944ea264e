"""Configs are checked at the door: a file's, a flag's and one made in Python alike.

What passes has every field of the schema and no other, each of its kind, in sizes that can be held.
"""

import difflib
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from textsr_jax.config import sizes
from textsr_jax.config.kinds import Refused
from textsr_jax.config.parts import Field
from textsr_jax.config.settings import FIELDS
from textsr_jax.errors import UserError

# The nodes of a config, such as "sr" and "sr.edsr", and what each holds.
_PARTS: dict[str, list[str]] = {"": []}
for _name in FIELDS:
    *_nodes, _ = _name.split(".")
    for _depth in range(len(_nodes) + 1):
        _node, _child = ".".join(_nodes[:_depth]), _name.split(".")[_depth]
        _PARTS.setdefault(_node, [])
        if _child not in _PARTS[_node]:
            _PARTS[_node].append(_child)

# Beams and tokens of decoding are allocated together.
_MOST_DECODING = 20_000
# The first configs had the fields of one network in the part itself.
_FIRST_NETWORKS = {"sr": "sr.edsr", "ocr": "ocr.cdistnet"}
_FIRST_STAGES = ("pretrain.ocr", "pretrain.focus", "stage1", "stage2")

Refuse = Callable[[str], UserError]

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


def checked(
    content: object, place: str = "", *, travels: bool = False, fix: str = ""
) -> dict[str, Any]:
    """A config as it is used: complete, every value as its kind keeps it.

    Fields that are missing get what `Field.missing` says, and those of networks that the config
    does not use the published sizes. A field that changes a network in use has to be there.

    Args:
      content: nested mappings.
      place: what the config is of, for messages, such as "runs/small/config.json: ".
      travels: whether it comes from a file that travels: machine fields in it are passed over.
      fix: what to do about it, for messages, such as "quantise the pair again".

    Returns:
      Nested dicts; lists are tuples.

    Raises:
      UserError: a field is unknown, missing, or has a value that it cannot have; or sizes are too
        large together. Names the field.
    """

    def refuse(what: str) -> UserError:
        return UserError(f"{place}{what}{fix and f'; {fix}'}")

    if not isinstance(content, Mapping):
        raise refuse(f"the config is {_short(content)}: must be a mapping of fields")
    found = _modernized(dict(_fields(content)))
    for name, value in found.items():
        if name not in FIELDS:
            raise refuse(_unknown(name, value))
    if travels:
        found = {name: value for name, value in found.items() if FIELDS[name].role != "machine"}
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name in found:
            values[name] = _accepted(name, field, found[name], refuse)
        elif field.role == "network" and _in_use(name, values, found):
            raise refuse(f"config.{name} is missing, and it changes the network")
        else:
            values[name] = field.missing
    _check_together(values, refuse)
    return nested(values)


def checked_part(content: object, part: str, place: str = "") -> dict[str, Any]:
    """The fields of one part that are in `content`, such as those of "decoding" or of "sr".

    Raises:
      UserError: one is unknown, or has a value that it cannot have; or sizes are too large.
    """

    def refuse(what: str) -> UserError:
        return UserError(f"{place}{what}")

    if not isinstance(content, Mapping):
        raise refuse(f"config.{part}={_short(content)}: must be a mapping of fields")
    values = {}
    for name, value in _fields(content, part):
        if name not in FIELDS:
            raise refuse(_unknown(name, value))
        values[name] = _accepted(name, FIELDS[name], value, refuse)
    _check_together({name: field.missing for name, field in FIELDS.items()} | values, refuse)
    return nested(values).get(part, {})


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of their fields, such as "sr.name", as nested dicts."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        *nodes, last = name.split(".")
        node = made
        for part in nodes:
            node = node.setdefault(part, {})
        node[last] = value
    return made


def without_machine(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checked config without the fields of one machine, for a file that travels."""
    kept = {name: value for name, value in _fields(content) if FIELDS[name].role != "machine"}
    return nested(kept)


def network_fields(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The fields of a checked config that say which tree the network of a part has.

    Args:
      content: nested mappings.
      part: "sr" or "ocr".
    """
    fields = dict(_fields(content))
    same_tree = (f"{part}.dtype", f"{part}.apply_stn")
    found = {
        name: value
        for name, value in fields.items()
        if name.startswith(f"{part}.")
        and FIELDS[name].role == "network"
        and name not in same_tree
        and _in_use(name, fields, fields)
    }
    return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}


def _fields(content: Mapping[str, Any], part: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a config by their names; a mapping where there is no part is a leaf."""
    for key, value in content.items():
        name = f"{part}.{key}" if part else key
        # A key with a dot in it would pass for a field of another part.
        proper = isinstance(key, str) and "." not in key
        if proper and name in _PARTS and isinstance(value, Mapping):
            yield from _fields(value, name)
        else:
            yield (name if proper else f"{part}.{_short(key)}"), value


def _accepted(name: str, field: Field, value: object, refuse: Refuse) -> Any:
    try:
        return field.kind.accept(value)
    except Refused as error:
        raise refuse(f"config.{name}={_short(value)}: must be {error}") from error


def _in_use(name: str, values: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a network's field counts in a config, by the fields that come before it."""
    part, _, rest = name.partition(".")
    network = rest.partition(".")[0] if "." in rest else ""
    if network == "stn":
        # The mode comes later in the schema, so it may not be checked yet.
        return found.get("sr.apply_stn") != "never"
    if part == "resampler":
        # The first configs had no stage 0.
        return any(other.startswith("resampler.") for other in found)
    return not network or network == values.get(f"{part}.name")


def _check_together(values: Mapping[str, Any], refuse: Refuse) -> None:
    for place in sizes.NETWORKS:
        fields = {
            name.removeprefix(f"{place}."): value
            for name, value in values.items()
            if name.startswith(f"{place}.")
        }
        count = sizes.parameters(place, fields)
        if count > sizes.MOST_PARAMETERS:
            raise refuse(
                f"config.{place} is a network of some {count:.0e} parameters, more than "
                f"{sizes.MOST_PARAMETERS:.0e}; make it smaller"
            )
    width, heads, embedding = (values[f"focus.{name}"] for name in ("width", "heads", "embedding"))
    if width % heads or not width - embedding > 0 or (width - embedding) % 2:
        raise refuse(
            f"config.focus.width={width}: must be a multiple of config.focus.heads={heads}, and by "
            f"an even number more than config.focus.embedding={embedding}"
        )
    beam, steps = values["decoding.beam"], values["decoding.steps"]
    if beam * steps > _MOST_DECODING:
        raise refuse(
            f"config.decoding.beam={beam} times config.decoding.steps={steps}: must be at most "
            f"{_MOST_DECODING}"
        )
    for name in ("decoding.language_weight", "decoding.second_look"):
        if values[name] and values["ocr.name"] == "crnn":
            raise refuse(
                f"config.{name}={values[name]}: crnn reads without beams to choose from; set it to "
                "0"
            )


def _modernized(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config in today's form; in the first configs two things were otherwise."""
    values, there = {}, {name.rpartition(".")[0] for name in found}
    for name, value in found.items():
        part, _, field = name.partition(".")
        network = _FIRST_NETWORKS.get(part)
        if network and f"{network}.{field}" in FIELDS and network not in there:
            name = f"{network}.{field}"
        values[name] = value
    if "stage2.warmup" in values and "stage2.synthetic" not in values:
        # `warmup` was a number of steps.
        for stage in _FIRST_STAGES:
            warmup, steps = (values.get(f"{stage}.{name}") for name in ("warmup", "steps"))
            if type(warmup) is type(steps) is int and 1 <= warmup < steps:
                values[f"{stage}.warmup"] = warmup / steps
    return values


def _unknown(name: str, value: object) -> str:
    """What to say of a field that is none."""
    if name in _PARTS:
        return f"config.{name}={_short(value)}: must be a mapping of fields"
    part = max((part for part in _PARTS if name.startswith(f"{part}.")), key=len, default="")
    last, siblings = name.removeprefix(f"{part}."), _PARTS[part]
    close = difflib.get_close_matches(last[:100], siblings, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"take some of {', '.join(siblings)}"
    where = f"config.{part}" if part else "the config"
    # Names come from files: they may hold line feeds.
    return f"{where} has {_short(last)}, which is no field; {hint}"


def _short(value: object) -> str:
    try:
        return _repr.repr(value)
    except ValueError:
        # A whole number of more digits than Python writes.
        return f"a {type(value).__name__}"
