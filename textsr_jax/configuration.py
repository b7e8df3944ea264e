"""Configs: the `--config` flag, and the config that a workdir was made with.

A workdir belongs to one config; fields that change no result may differ from run to run.
"""

import difflib
import json
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from textsr_jax.errors import UserError
from textsr_jax.storage import atomic

FILE = "config.json"

# These say what to do and where to keep things, not what comes out.
_FREE = (
    "stages",
    "data.data_dir",
    "data.synthetic.workers",
    "quantization.",
    "decoding.language_weight",
    "decoding.second_look",
    "decoding.temperature",
)

# Fields that name a file or a folder, and those that came later: older files have none of them.
_PLACES = (("data", "root"), ("init", "sr"), ("init", "ocr"), ("init", "focus"))
_LATER_PLACES = (
    ("photographs", "train"),
    ("photographs", "validation"),
    ("init", "resampler"),
    ("init", "pretrain"),
)

# Beams and steps of decoding that no packed file asks for more of: both are allocated.
_MAX_DECODING = 1000


def define_flag() -> flags.FlagHolder:
    """Defines `--config=FILE` and its overrides, `--config.FIELD=VALUE`."""
    return config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.")


def from_flag(flag: flags.FlagHolder, source: str | None = None) -> ConfigDict:
    """The config that the flag names, or else that of `source`, a workdir or a packed file.

    Raises:
      UserError: neither is named, or the file is not there or does not run.
    """
    try:
        config = flag.value
        if config is not None:
            # A file that could not be loaded gives an object that fails when it is used.
            config = ConfigDict(config).lock()
    except Exception as error:  # whatever the user's file raises
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise UserError(f"--config: cannot load it: {reason.strip()}") from error
    if config is None and source is not None:
        return load(source)
    if config is None:
        raise UserError("--config is missing; name a file, for example --config=configs/tiny.py")
    return config


def fill_in(argv: list[str]) -> list[str]:
    """Completes `--workdir=W --config.FIELD=VALUE`: the field is one of W's own config.

    So it is with `--model=FILE` and the config of a packed file.

    Raises:
      UserError: W is not a workdir, or the file not a packed one.
    """
    names = [argument.lstrip("-").split("=")[0] for argument in argv]
    changes = [name for name in names if name.startswith("config.")]
    workdir = None
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if found := re.fullmatch("--?(?:workdir|model)(?:=(.*))?", argument):
            workdir = following if found[1] is None else found[1]
    if not changes or "config" in names or workdir is None:
        return argv
    load(workdir)
    return [argv[0], f"--config={__file__}:{workdir}", *argv[1:]]


def get_config(source: str) -> ConfigDict:
    """What makes this file one that --config can name, as `fill_in` does."""
    return load(source)


def explain(error: Exception) -> str:
    """Says where a field is named that is not there, and which one is nearest.

    Args:
      error: what ml_collections raised for an override or for a line of the config's file.
    """
    found = re.search(r"""(?:Key "|')(\w+)\\*["']""", str(error))
    field = found.group(1) if found else ""
    place = next((arg.split("=")[0] for arg in sys.argv if re.search(rf"\.{field}\b", arg)), "")
    nearest = re.search(r'Did you mean "(\w+)"', str(error))
    if not place and found and nearest:
        nearest = nearest.group(1)
        return f"--config: the file sets {field!r}, which is no field; did you mean {nearest!r}?"
    if not place:
        return f"--config: {error}"
    if not nearest:
        return f"{place.lstrip('-')}: there is no field {field!r}; the file of --config lists them"
    return f"{place.lstrip('-')}: there is no field {field!r}; did you mean {nearest.group(1)!r}?"


def save(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the config into a new workdir, or checks that it is the one of an old workdir.

    Raises:
      UserError: the workdir was made with another config, and names the first field that differs;
        or it cannot be written.
    """
    path = workdir / FILE
    if not path.exists():
        content = json.dumps(plain(config), indent=2) + "\n"
        atomic.write_text(path, content, parents=True, fix="name another --workdir")
        return
    old, new = dict(_fields(_read(path))), dict(_fields(plain(config)))
    for name in sorted(old.keys() | new.keys()):
        if not name.startswith(_FREE) and old.get(name) != new.get(name):
            raise UserError(
                f"{workdir} was made with another config: {name} is {old.get(name)!r} there and "
                f"{new.get(name)!r} here; take another --workdir or the same config"
            )


def load(source: str | pathlib.Path) -> ConfigDict:
    """The config that a workdir was made with, or that a packed file holds.

    Raises:
      UserError: `source` is neither, or its config cannot be read.
    """
    workdir = pathlib.Path(source)
    if workdir.is_file():
        # Brings JAX along, which `--help` does without.
        from textsr_jax import packed_files

        return packed_files.load(workdir).experiment(workdir)
    path = workdir / FILE
    if not workdir.is_dir():
        raise UserError(f"{workdir}: no such workdir; make one with train.py --workdir={workdir}")
    if not path.exists():
        raise UserError(f"{workdir} holds no {FILE}, so it is not a workdir of train.py")
    return ConfigDict(_with_tuples(_read(path))).lock()


def without_places(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON-able dicts for a file that travels: no paths of this machine.

    Of the data's folder its name stays; what the models were trained from is left out.
    """
    content = plain(config)
    content["data"].update(root=pathlib.Path(content["data"]["root"]).name, data_dir="")
    content.get("photographs", {}).update(train="", validation="")
    content["init"] = dict.fromkeys(content["init"], "")
    return content


def from_packed(plain: Mapping[str, Any], leaves: int, place: str) -> ConfigDict:
    """The config that a packed file holds, checked before networks are built from it.

    Args:
      plain: its nested dicts.
      leaves: how many arrays the file fills networks with; no network has more blocks.
      place: the file, for messages.

    Raises:
      UserError: a part is missing, or a network is larger than any that the file could fill.
    """
    mend = "quantise the pair again"
    for part in ("data", "sr", "ocr", "decoding", "evaluation", "init", "quantization"):
        if not isinstance(plain.get(part), dict):
            raise UserError(f"{place}: its config has no part {part!r}; {mend}")
    for part, name in _PLACES:
        if not isinstance(plain[part].get(name), str):
            raise UserError(f"{place}: its config.{part}.{name} is not a text; {mend}")
    try:
        config = ConfigDict(_with_tuples(plain)).lock()
        fields = list(_fields({part: plain[part] for part in ("sr", "ocr", "decoding")}))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{place}: its config cannot be read ({reason}); {mend}") from error
    for name, value in fields:
        limit = leaves if re.search("blocks|layers|depths", name) else 2**16
        if name.startswith("decoding."):
            limit = _MAX_DECODING
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > limit:
                raise UserError(
                    f"{place}: its config has {number} as {name!r}, more than the file can fill; "
                    f"{mend}"
                )
    return config


def same_start(config: ConfigDict, other: ConfigDict, part: str) -> bool:
    """Whether both start a model of `config.init` at the same file or workdir, or at none."""
    return plain(config)["init"][part] == plain(other)["init"][part]


def same_network(config: ConfigDict, other: ConfigDict, part: str) -> bool:
    """Whether "sr" or "ocr" has the same tree in both: its name and its sizes."""

    def tree(config: ConfigDict) -> tuple[Any, ...]:
        settings = plain(config)[part]
        stn = settings.get("apply_stn") != "never" and settings.get("stn")
        return settings["name"], settings.get(settings["name"]), stn

    return tree(config) == tree(other)


def nearest(name: str, names: list[str]) -> str:
    """A hint for a name that is not one of `names`: the nearest one, or all of them."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"take one of {', '.join(names)}"


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would give it back, paths made absolute: tuples become lists."""
    plain = json.loads(json.dumps(config.to_dict()))
    for part, name in (*_PLACES, *_LATER_PLACES):
        place = plain.get(part, {}).get(name)
        # `tfds:` names a prepared data set.
        if place and not place.startswith("tfds:"):
            plain[part][name] = str(pathlib.Path(place).expanduser().resolve())
    return plain


def _with_tuples(plain: Any) -> Any:
    """What JSON gave back, its lists as the tuples they were: flags can only change tuples."""
    if isinstance(plain, Mapping):
        return {name: _with_tuples(value) for name, value in plain.items()}
    return tuple(map(_with_tuples, plain)) if isinstance(plain, list) else plain


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read the config ({error}); restore the file") from error


def _fields(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
