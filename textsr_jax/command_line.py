"""How the four scripts start: flags are parsed, and errors of users become one line each."""

import logging
import os
import re
import signal
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

from textsr_jax import configuration
from textsr_jax.errors import UserError, one_line_errors


def run_script(main: Callable[[list[str]], None]) -> None:
    """Runs a script's `main` on the arguments behind its flags."""
    for stream in (sys.stdout, sys.stderr):
        # Consoles of other encodings show what they lack as escapes.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with one_line_errors():
        sys.argv = [sys.argv[0], *map(_expanded, sys.argv[1:])]
        # What is half-written is deleted, as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # ml_collections looks for overrides of the config there.
        sys.argv = configuration.fill_in(sys.argv)
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


def _parse(argv: list[str]) -> list[str]:
    if any(argument.lstrip("-").startswith("help") for argument in argv[1:]):
        app.define_help_flags()
        app.parse_flags_with_usage(argv)
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
