"""The `--config` flag: a config file, a JSON file, or the config of a workdir or a packed file."""

import json
import pathlib
import re
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from textsr_jax.config import checks
from textsr_jax.config.differences import plain
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.storage.shipped import find
from textsr_jax.storage.workdirs import load_config

# The flags below belong to the script that calls `define_flag`, and are in its --help.
flags.disclaim_key_flags()


def define_flag() -> flags.FlagHolder[ConfigDict | None]:
    """Defines `--config=FILE`, its overrides `--config.FIELD=VALUE`, and `--print_config`."""
    flags.DEFINE_bool(
        "print_config", False, "Prints the config as JSON, which --config takes, and ends."
    )
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "The experiment: a file of configs/, with :VARIANT behind it for a baseline or an ablation "
        "of the paper, or a .json of --print_config or a workdir. --config.FIELD=VALUE changes a "
        "field; the fields are below.",
    )


def resolved(config: Experiment) -> Experiment:
    """Returns the config; with `--print_config` it prints it as JSON and ends the process.

    Scripts call it with the config as they use it, before they do anything.
    """
    if flags.FLAGS.print_config:
        print(json.dumps(plain(config), indent=2))
        sys.exit()
    return config


def from_flag(
    flag: flags.FlagHolder[ConfigDict | None] | flags.Flag[ConfigDict],
    source: str | pathlib.Path | None = None,
) -> Experiment:
    """Returns the config that the flag names, or else that of `source`.

    Args:
      flag: what `define_flag` returned.
      source: a workdir or a packed file.

    Raises:
      UserError: neither is named; or the file is missing, does not run or makes no config.
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
        return load_config(source)
    if config is None:
        raise UserError("--config is missing; name a file, for example --config=configs/tiny.py")
    return checks.checked(config)


def fill_in(argv: list[str], model: str | pathlib.Path | None = None) -> list[str]:
    """Completes commands that change fields of a config without a Python file.

    `--workdir=W --config.FIELD=VALUE` changes a field of W's own config. `--model=FILE` does the
    same for a packed file, and `--config=FILE.json` for a JSON file.

    Args:
      argv: the command.
      model: the `--model` of a command that names neither a workdir nor a model; None for none.

    Raises:
      UserError: W is not a workdir, or the file is not a packed one.
    """
    for number, argument in enumerate(argv):
        before = argv[number - 1] if number else ""
        flag = "" if before in ("-config", "--config") else "--?config="
        if number and (found := re.fullmatch(f"({flag})(.*[.]json)", argument)):
            load_config(found[2])
            return [*argv[:number], f"{found[1]}{__file__}:{found[2]}", *argv[number + 1 :]]
    names = [argument.lstrip("-").split("=")[0] for argument in argv]
    changes = [name for name in names if name.startswith("config.")]
    source: str | pathlib.Path | None = None
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if found := re.fullmatch("--?(workdir|model)(?:=(.*))?", argument):
            named = following if found[2] is None else found[2]
            source = find(named) if named and found[1] == "model" else named
    if not changes or "config" in names:
        return argv
    if source is None:
        if model is None:
            return argv
        source, argv = model, [argv[0], f"--model={model}", *argv[1:]]
    load_config(source)
    return [argv[0], f"--config={__file__}:{source}", *argv[1:]]


def get_config(source: str) -> ConfigDict:
    """Makes this file a config file, so that `fill_in` can name it: `--config=THIS_FILE:SOURCE`."""
    return ConfigDict(load_config(source).to_dict())


def explain(error: Exception) -> str:
    """Returns a message about a field that does not exist: where it is named, and the nearest one.

    Args:
      error: what ml_collections raised for an override or for a line of the config's file.
    """
    found = re.search(r"""(?:Key "|')(\w+)\\*["']""", str(error))
    field = found[1] if found else ""
    place = next((arg.split("=")[0] for arg in sys.argv if re.search(rf"\.{field}\b", arg)), "")
    near = re.search(r'Did you mean "(\w+)"', str(error))
    if not place and found and near:
        return f"--config: the file sets {field!r}, which is no field; did you mean {near[1]!r}?"
    if not place:
        return f"--config: {error}"
    if not near:
        return f"{place.lstrip('-')}: there is no field {field!r}; the file of --config lists them"
    return f"{place.lstrip('-')}: there is no field {field!r}; did you mean {near[1]!r}?"
