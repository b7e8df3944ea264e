"""How scripts and commands start: help and flags, and errors of users become one line each."""

import logging
import os
import pathlib
import re
import shlex
import shutil
import signal
import sys
import types
from collections.abc import Callable, Sequence

from absl import flags
from absl import logging as absl_logging

from textsr_jax.cli import config_flag
from textsr_jax.config import listing
from textsr_jax.errors import UserError, one_line_errors

_HELP = ("-h", "--h", "-help", "--help", "-helpfull", "--helpfull", "-helpshort", "--helpshort")
# In a clone the folder of experiments, elsewhere the package that is installed beside this one.
_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def run_script(
    main: Callable[[list[str]], None], *, model: str | pathlib.Path | None = None
) -> None:
    """Runs a script's `main` on the arguments behind its flags.

    The docstring of the module of `main` is the script's help, with the flags that it defines.

    Args:
      main: the script.
      model: the packed file whose config `--config.FIELD=VALUE` changes where none is named.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Consoles of other encodings show what they lack as escapes. Where there is none, as behind
        # `>&-`, nobody reads.
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # The process is the command's own, so that this hook changes nobody else's.
    sys.unraisablehook = _without_orphans
    with one_line_errors():
        # What is half-written is deleted, as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        asks = [argument for argument in sys.argv[1:] if argument in _HELP]
        given = [argument for argument in sys.argv[1:] if argument not in asks]
        arguments = _with_installed_config([sys.argv[0], *map(_expanded, given)])
        # ml_collections looks for overrides of the config there.
        sys.argv = config_flag.fill_in(arguments, model)
        if asks:
            _help(sys.modules[main.__module__])
            return
        main(_parse(sys.argv)[1:])


def program() -> str:
    """Returns how the user called this program: "python train.py" or "textsr-train"."""
    return shlex.join(_program())


def refuse(arguments: list[str]) -> None:
    """Raises `UserError` if there are arguments that are no flags."""
    if arguments:
        raise UserError(f"{arguments[0]!r}: {program()} takes flags only; --help lists them")


def command() -> str:
    """Returns the command that started this process, as it can be run again."""
    spec = sys.modules["__main__"].__spec__
    name = "-m" if spec else sys.argv[0]
    behind = sys.orig_argv.index(name, 1) + (2 if spec else 1)
    return shlex.join([*_program(), *sys.orig_argv[behind:]])


def _without_orphans(unraisable: "sys.UnraisableHookArgs") -> None:
    """Prints errors that nobody can catch, as Python does, except those of Orbax.

    When a save fails, TensorStore's other writes end after Orbax has closed its event loop. Each of
    them would print that it could not call back. When a read fails, Orbax drops the other reads,
    and each of them would print its failure. The first failure was raised already.
    """
    late = unraisable.exc_type is RuntimeError
    late = late and str(unraisable.exc_value) == "Event loop is closed"
    code = getattr(unraisable.object, "cr_code", None)
    if not late and not (code and "orbax" in pathlib.Path(code.co_filename).parts):
        sys.__unraisablehook__(unraisable)


def _program() -> list[str]:
    spec = sys.modules["__main__"].__spec__
    if spec:
        return ["python", "-m", spec.name.removesuffix(".__main__")]
    path = sys.argv[0]
    if path.endswith(".py"):
        return ["python", path]
    # Shells find an installed command by its name, if its folder is one of theirs.
    name = os.path.basename(path)
    found = shutil.which(name)
    return [name if found and os.path.realpath(found) == os.path.realpath(path) else path]


def _with_installed_config(arguments: list[str]) -> list[str]:
    """The arguments, with the path of an installed config where the working folder lacks it.

    `--config=configs/tiny.py` then works in every folder; so does `--config=configs/paper.py:tsrn`.
    """
    changed = list(arguments)
    for number, argument in enumerate(arguments):
        flag = "" if arguments[number - 1] in ("-config", "--config") else "--?config="
        found = re.fullmatch(f"({flag})(?:[.]/)?configs/(.*?[.]py)(:.*)?", argument)
        if not (number and found):
            continue
        name = found[2]
        installed = _CONFIGS / name
        if not os.path.lexists(os.path.join("configs", name)) and installed.is_file():
            changed[number] = f"{found[1]}{installed}{found[3] or ''}"
    return changed


def _expanded(argument: str) -> str:
    """An argument with `~` for the user's folder, as shells expand it unless behind a flag's `=`.

    In a flag's list, as `--photographs=~/a,~/b`, each part may begin with it.
    """
    flag, equals, value = argument.partition("=")
    if not (flag.startswith("-") and equals):
        return os.path.expanduser(argument)
    parts = re.split("(,)", value)
    return flag + equals + "".join(map(os.path.expanduser, parts))


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        arguments = flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}; --help lists the flags") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # What ml_collections raises for a field that the config does not have.
        raise UserError(config_flag.explain(error)) from error
    except OSError as error:
        # What ml_collections raises for an override of a file that it could not load.
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"--config: cannot load it: {reason.strip()}") from error
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    # Orbax logs there, with tracebacks, the errors that it raises as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    return arguments


def _help(script: types.ModuleType) -> None:
    """Prints a script's docstring and flags, and the fields of --config where it has that."""
    name = script.__name__.rpartition(".")[2]
    print((script.__doc__ or "").replace(f"python {name}.py", program()))
    print("flags:")
    print(flags.FLAGS.module_help(script).partition(":\n")[2])
    if "config" not in flags.FLAGS:
        return
    content = None
    if any(argument.lstrip("-").startswith("config") for argument in sys.argv[1:]):
        _parse(sys.argv)
        content = config_flag.from_flag(flags.FLAGS["config"]).to_dict()
    print("fields of the config, each changed by --config.FIELD=VALUE", end="")
    print(":" if content else "; with --config=FILE --help, those of the file with its values:")
    print(*listing.lines(content), sep="\n")
