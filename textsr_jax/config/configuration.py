"""Configs: the `--config` flag, and the config that a workdir was made with.

A workdir belongs to one config; fields that change no result may differ from run to run.
"""

import difflib
import functools
import json
import os
import pathlib
import re
import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from textsr_jax.config import checks
from textsr_jax.config.kinds import Text
from textsr_jax.config.settings import FIELDS
from textsr_jax.errors import UserError

# The flags below are the flags of the script that defines them, and in its --help.
flags.disclaim_key_flags()

# Fields that name a file or a folder.
_PLACES = tuple(
    name for name, field in FIELDS.items() if field.role == "machine" and field.kind == Text()
)
# `tfds:` names a prepared data set, `elsewhere:` the data that a packed file's pair was trained on.
_ELSEWHERE = "elsewhere:"
_NO_PLACES = ("tfds:", _ELSEWHERE)


def define_flag() -> flags.FlagHolder[ConfigDict]:
    """Defines `--config=FILE`, its overrides `--config.FIELD=VALUE`, and `--print_config`."""
    flags.DEFINE_bool(
        "print_config", False, "Prints the config as JSON, which --config takes, and ends."
    )
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "The experiment: a file of configs/, or a .json of --print_config or a workdir. "
        "--config.FIELD=VALUE changes a field; the fields are below.",
    )


def resolved(config: ConfigDict) -> ConfigDict:
    """The config; with `--print_config` it is printed as JSON and the process ends with status 0.

    To be called with the config as it will be used, before anything is done.
    """
    if flags.FLAGS.print_config:
        print(json.dumps(plain(config), indent=2))
        sys.exit()
    return config


def from_flag(
    flag: flags.FlagHolder[ConfigDict] | flags.Flag[ConfigDict],
    source: str | pathlib.Path | None = None,
) -> ConfigDict:
    """The config that the flag names, or else that of `source`, a workdir or a packed file.

    Raises:
      UserError: neither is named, or the file is not there, does not run or makes no config.
    """
    try:
        config = flag.value
        if config is not None:
            # A file that could not be loaded gives an object that fails when it is used.
            config = ConfigDict(config).to_dict()
    except Exception as error:  # whatever the user's file raises
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise UserError(f"--config: cannot load it: {reason.strip()}") from error
    if config is None and source is not None:
        from textsr_jax.storage import workdirs

        return workdirs.load_config(source)
    if config is None:
        raise UserError("--config is missing; name a file, for example --config=configs/tiny.py")
    return _made(checks.checked(config))


def checked(config: ConfigDict) -> ConfigDict:
    """A config that was made or changed in Python, held against the schema; locked.

    Raises:
      UserError: as `checks.checked`.
    """
    return _made(checks.checked(config.to_dict()))


def fill_in(argv: list[str], model: str | pathlib.Path | None = None) -> list[str]:
    """Completes `--workdir=W --config.FIELD=VALUE`: the field is one of W's own config.

    So it is with `--model=FILE` and the config of a packed file, and with `--config=FILE.json`.

    Args:
      argv: the command.
      model: is named in `--model` where neither is; None for none.

    Raises:
      UserError: W is not a workdir, or the file not a packed one.
    """
    from textsr_jax.storage import workdirs

    for number, argument in enumerate(argv):
        before = argv[number - 1] if number else ""
        flag = "" if before in ("-config", "--config") else "--?config="
        if number and (found := re.fullmatch(f"({flag})(.*[.]json)", argument)):
            workdirs.load_config(found[2])
            return [*argv[:number], f"{found[1]}{__file__}:{found[2]}", *argv[number + 1 :]]
    names = [argument.lstrip("-").split("=")[0] for argument in argv]
    changes = [name for name in names if name.startswith("config.")]
    workdir = None
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if found := re.fullmatch("--?(?:workdir|model)(?:=(.*))?", argument):
            workdir = following if found[1] is None else found[1]
    if not changes or "config" in names or (workdir is None and model is None):
        return argv
    if workdir is None:
        workdir, argv = model, [argv[0], f"--model={model}", *argv[1:]]
    workdirs.load_config(str(workdir))
    return [argv[0], f"--config={__file__}:{workdir}", *argv[1:]]


def get_config(source: str) -> ConfigDict:
    """What makes this file one that --config can name, as `fill_in` does."""
    from textsr_jax.storage import workdirs

    return workdirs.load_config(source)


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
        close = nearest.group(1)
        return f"--config: the file sets {field!r}, which is no field; did you mean {close!r}?"
    if not place:
        return f"--config: {error}"
    if not nearest:
        return f"{place.lstrip('-')}: there is no field {field!r}; the file of --config lists them"
    return f"{place.lstrip('-')}: there is no field {field!r}; did you mean {nearest.group(1)!r}?"


def without_places(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON-able dicts for a file that travels: nothing of this machine is in it.

    Of the data's folder its name stays.
    """
    whole = checks.checked(config.to_dict())
    content = json.loads(json.dumps(checks.without_machine(whole)))
    content["data"]["root"] = _name(whole["data"]["root"].removeprefix(_ELSEWHERE))
    return content


def from_packed(content: Any, leaves: int, place: str) -> ConfigDict:
    """The config that a packed file holds, checked before networks are built from it.

    Places and settings of a machine are passed over. `data.root` is "elsewhere:" and the name of
    the folder that the pair was trained on, which is no place on this machine.

    Args:
      content: its nested dicts.
      leaves: how many arrays the file fills networks with; no network has more blocks.
      place: the file, for messages.

    Raises:
      UserError: as `checks.checked`; or a network is larger than any that the file could fill.
    """
    fix = "quantise the pair again"
    whole = checks.checked(content, f"{place}: its ", travels=True, fix=fix)
    fields = checks.network_fields(whole, "sr") | checks.network_fields(whole, "ocr")
    for name, value in fields.items():
        if not re.search("blocks|layers|depths", name):
            continue
        for number in value if isinstance(value, tuple) else [value]:
            if number > leaves:
                raise UserError(
                    f"{place}: its config.{name}={value}: more than the file can fill; {fix}"
                )
    root = content.get("data", {}).get("root")
    if isinstance(root, str) and _name(root):
        whole["data"]["root"] = _ELSEWHERE + _name(root)
    return _made(whole)


def same_start(config: ConfigDict, other: ConfigDict, part: str) -> bool:
    """Whether both start a model of `config.init` at the same file or workdir, or at none."""
    return plain(config)["init"][part] == plain(other)["init"][part]


def same_network(config: ConfigDict, other: ConfigDict, part: str) -> bool:
    """Whether "sr" or "ocr" has the same tree in both: its name and its sizes."""
    trees = [checks.network_fields(one.to_dict(), part) for one in (config, other)]
    return trees[0] == trees[1]


def nearest(name: str, names: list[str]) -> str:
    """A hint for a name that is not one of `names`: the nearest one, or all of them."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"take one of {', '.join(names)}"


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would give it back, paths made absolute: tuples become lists."""
    content = json.loads(json.dumps(config.to_dict()))
    for field in _PLACES:
        *nodes, name = field.split(".")
        node = functools.reduce(lambda part, key: part.get(key, {}), nodes, content)
        place = node.get(name)
        if place and not place.startswith(_NO_PLACES):
            node[name] = str(pathlib.Path(os.path.expanduser(place)).resolve())
    return content


def _name(root: str) -> str:
    """The name of a folder without its place, whatever separates folders there."""
    return re.split(r"[/\\]", root.rstrip("/\\"))[-1]


def _made(content: dict[str, Any]) -> ConfigDict:
    return ConfigDict(content).lock()
