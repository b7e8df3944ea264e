"""The check of every config, whether it comes from a file, from a flag or from Python.

A checked config has all fields of `settings.FIELDS` and no other. Each value is of its kind, and
the networks are of a size that memory can hold.
"""

import reprlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from textsr_jax.config import sizes
from textsr_jax.config.kinds import Refused
from textsr_jax.config.names import nearest
from textsr_jax.config.network_settings import GUIDED
from textsr_jax.config.parts import Field
from textsr_jax.config.settings import FIELDS, Experiment
from textsr_jax.errors import UserError


def _parts(fields: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The parts of a config, such as "sr" and "sr.edsr", and the names in each, in their order."""
    parts: dict[str, dict[str, None]] = {}
    for field in fields:
        names = field.split(".")
        for depth, name in enumerate(names):
            parts.setdefault(".".join(names[:depth]), {})[name] = None
    return types.MappingProxyType({part: tuple(names) for part, names in parts.items()})


# Read-only, and made once: every config that is checked asks for it many times.
_PARTS = _parts(FIELDS)

# Decoding allocates memory for the product of beams and tokens.
_MOST_DECODING = 20_000
# In the first configs the fields of these networks stood in the part itself.
_FIRST_NETWORKS = {"sr": "sr.edsr", "ocr": "ocr.cdistnet"}
_FIRST_STAGES = ("pretrain.ocr", "pretrain.focus", "stage1", "stage2")

Refuse = Callable[[str], UserError]

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60


def checked(
    content: object, place: str = "", *, travels: bool = False, fix: str = ""
) -> Experiment:
    """The typed settings of a config, complete and checked.

    A missing field gets the value of `Field.missing`. A network that the config does not use gets
    the published sizes. A field that changes a network in use must not be missing.

    Args:
      content: a ConfigDict, nested mappings, or settings.
      place: where the config is from, for messages, such as "runs/small/config.json: ".
      travels: whether it is from a file that travels. Machine fields in it are ignored.
      fix: what the user can do, for messages, such as "quantise the models again".

    Raises:
      UserError: a field is unknown or missing, or has a value that it cannot have; or values do not
        go together. Names the field.
    """

    def refuse(what: str) -> UserError:
        return UserError(f"{place}{what}{fix and f'; {fix}'}")

    if isinstance(content, ConfigDict):
        content = content.to_dict()
    if not isinstance(content, Mapping):
        raise refuse(f"the config is {_short(content)}: must be a mapping of fields")
    found = _modernized(dict(leaves(content)))
    for name, value in found.items():
        if name not in FIELDS:
            raise refuse(_unknown(name, value))
    if travels:
        found = {name: value for name, value in found.items() if FIELDS[name].role != "machine"}
    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        if name in found:
            values[name] = _accepted(name, field, found[name], refuse)
        elif field.role == "network" and in_use(name, values, found):
            raise refuse(f"config.{name} is missing, and it changes the network")
        else:
            values[name] = field.missing
    _check_together(values, refuse)
    return Experiment().replace(**nested(values))


def checked_part(content: object, part: str, place: str = "") -> dict[str, Any]:
    """The fields of one part, such as "decoding" or "sr", that `content` has.

    Returns:
      Nested dicts of values as configs keep them.

    Raises:
      UserError: a field is unknown, or has a value that it cannot have; or values do not go
        together.
    """

    def refuse(what: str) -> UserError:
        return UserError(f"{place}{what}")

    if not isinstance(content, Mapping):
        raise refuse(f"config.{part}={_short(content)}: must be a mapping of fields")
    values = {}
    for name, value in leaves(content, part):
        if name not in FIELDS:
            raise refuse(_unknown(name, value))
        values[name] = _accepted(name, FIELDS[name], value, refuse)
    _check_together({name: field.missing for name, field in FIELDS.items()} | values, refuse)
    return nested(values).get(part, {})


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts of values that are given by the names of their fields, such as "sr.name"."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        *nodes, last = name.split(".")
        node = made
        for part in nodes:
            node = node.setdefault(part, {})
        node[last] = value
    return made


def without_machine(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a checked config that are not of the role "machine", as nested dicts."""
    kept = {name: value for name, value in leaves(content) if FIELDS[name].role != "machine"}
    return nested(kept)


def network_fields(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The fields of a checked config that decide the parameter tree of a network.

    Args:
      content: settings or nested mappings.
      part: "sr" or "ocr".

    Returns:
      Values by the names of the fields.
    """
    fields = dict(leaves(content))
    same_tree = (f"{part}.dtype", f"{part}.apply_stn")
    found = {"alphabet": fields["alphabet"]} if part == "ocr" else {}
    found |= {
        name: value
        for name, value in fields.items()
        if name.startswith(f"{part}.")
        and FIELDS[name].role == "network"
        and name not in same_tree
        and in_use(name, fields, fields)
    }
    return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}


def leaves(content: Mapping[str, Any], part: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a config with their names, such as "sr.name".

    A mapping that is not a part of configs is a leaf.
    """
    for key, value in content.items():
        name = f"{part}.{key}" if part else key
        # A key with a dot in it could be taken for a field of another part.
        proper = isinstance(key, str) and "." not in key
        if proper and name in _PARTS and isinstance(value, Mapping):
            yield from leaves(value, name)
        else:
            yield (name if proper else f"{part}.{_short(key)}"), value


def _accepted(name: str, field: Field, value: object, refuse: Refuse) -> Any:
    try:
        return field.kind.accept(value)
    except Refused as error:
        raise refuse(f"config.{name}={_short(value)}: must be {error}") from error


def in_use(name: str, values: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a config uses the network that a field is of.

    Args:
      name: the field.
      values: at least the fields before it.
      found: those that the file of the config has.
    """
    part, _, rest = name.partition(".")
    network = rest.partition(".")[0] if "." in rest else ""
    if network == "stn":
        # This mode is checked later.
        return found.get("sr.apply_stn") != "never"
    if network == "prior":
        return values.get("sr.name") in GUIDED
    if network == "abinet":
        return values.get("sr.name") == "lemma"
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
    if values["parallel.pmap"] and values["parallel.fsdp"] > 1:
        raise refuse(
            f"config.parallel.fsdp={values['parallel.fsdp']}: must be 1 with "
            "config.parallel.pmap=True, by which every device holds all parameters"
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
    """The fields in today's form. The first configs had other places and other units."""
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
    """The message about a name that is not a field."""
    if name in _PARTS:
        return f"config.{name}={_short(value)}: must be a mapping of fields"
    part = max((part for part in _PARTS if name.startswith(f"{part}.")), key=len, default="")
    last, siblings = name.removeprefix(f"{part}."), _PARTS[part]
    where = f"config.{part}" if part else "the config"
    # Names come from files, so they may contain line feeds.
    return f"{where} has {_short(last)}, which is no field; {nearest(last[:100], siblings)}"


def _short(value: object) -> str:
    try:
        return _repr.repr(value)
    except ValueError:
        # An integer with more digits than Python prints.
        return f"a {type(value).__name__}"
