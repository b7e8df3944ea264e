"""How scripts and commands start: help and flags, and errors of users become one line each."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from absl import logging as absl_logging

from textsr_jax.config import configuration, listing
from textsr_jax.errors import UserError, one_line_errors

_HELP = ("-h", "--h", "-help", "--help", "-helpfull", "--helpfull", "-helpshort", "--helpshort")


def run_script(main: Callable[[list[str]], None], *, model: str | None = None) -> None:
    """Runs a script's `main` on the arguments behind its flags.

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
    with one_line_errors():
        # What is half-written is deleted, as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        asks = [argument for argument in sys.argv[1:] if argument in _HELP]
        given = [argument for argument in sys.argv[1:] if argument not in asks]
        arguments = [sys.argv[0], *map(_expanded, given)]
        # ml_collections looks for overrides of the config there.
        sys.argv = configuration.fill_in(arguments, model)
        if asks:
            _help()
            return
        main(_parse(sys.argv)[1:])


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
        raise UserError(configuration.explain(error)) from error
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    # Orbax logs there, with tracebacks, the errors that it raises as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    return arguments


def _help() -> None:
    """Prints the script's docstring and flags, and the fields of --config where it has that."""
    app.usage(shorthelp=True, writeto_stdout=True)
    if "config" not in flags.FLAGS:
        return
    content = None
    if any(argument.lstrip("-").startswith("config") for argument in sys.argv[1:]):
        _parse(sys.argv)
        content = configuration.from_flag(flags.FLAGS["config"]).to_dict()
    print("fields of the config, each changed by --config.FIELD=VALUE", end="")
    print(":" if content else "; with --config=FILE --help, those of the file with its values:")
    print(*listing.lines(content), sep="\n")
