"""The one kind of error that a user can mend, and how the scripts show it: a line, exit status 2.

Every room raises `UserError` for bad input; only `one_line_errors` prints it.
"""

import contextlib
import errno
import importlib
import os
import pathlib
import sys
import unicodedata
from collections.abc import Iterator


class UserError(Exception):
    """Bad input. The message is one line that names the thing, the place and the mend."""


class MissingPackage(UserError, ImportError):
    """A package is not installed. The message names the extra of ours that brings it."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM ended long work in good order. The message says how to go on."""


def escaped(text: str, longest: int | None = None) -> str:
    r"""Text as one line of plain characters, to be printed: names may hold what forges lines.

    Controls, line and paragraph separators, and what hides or turns text around are written as
    `\n`, `\x1b` or `\u202e`; so are bytes of a file's name that are no text, as `\xff`. All else
    stays, the backslash included. What is longer than `longest` characters is cut.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs" and "\udc80" <= character <= "\udcff":
        # How Python holds a byte that could not be decoded.
        return f"\\x{ord(character) - 0xDC00:02x}"
    joins = character in "\u200c\u200d"  # letters of Persian, and emoji
    if category in ("Cc", "Zl", "Zp", "Cs") or (category == "Cf" and not joins):
        return character.encode("unicode_escape").decode("ascii")
    return character


def require_finite(finite: object, model: str) -> None:
    """Raises a `UserError` that names the model where `finite`, a truth value, is false."""
    if not finite:
        raise UserError(
            f"{model}: what it computes is not finite, for its weights are damaged or far too "
            "large; take another model"
        )


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Encloses imports of packages that come with an extra of ours, such as "train".

    Raises:
      MissingPackage: a package is not installed; the message names the extra that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"{error.name} is not installed; it comes with the extra [{extra}]: {installing(extra)}"
        ) from error


def require(package: str, extra: str) -> None:
    """Imports a package of an extra of ours, for work that needs it only at its end.

    Raises:
      MissingPackage: as of `needs`.
    """
    with needs(extra):
        importlib.import_module(package)


def installing(extra: str) -> str:
    """Returns the command that installs an extra, from the package's clone or from the index."""
    root = pathlib.Path(__file__).parents[1]
    if not (root / "setup.cfg").is_file():
        return f"pip install 'textsr_jax[{extra}]'"
    place = "." if root == pathlib.Path.cwd() else root
    return f"pip install -e '{place}[{extra}]'"


def fix_for(error: OSError, otherwise: str) -> str:
    """What the user can do about an error of a file: "see to its permissions", or `otherwise`."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return "see to its permissions" if denied else otherwise


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process on errors that a user can mend: one line on standard error, no traceback.

    Exit status: 2 for bad input, denied permission and a full disk, 130 when stopped, 141 where
    nobody reads the output any more, as behind `| head`.
    """

    def leave(message: str, status: int) -> None:
        sys.stdout.flush()
        print(escaped(" ".join(message.split())), file=sys.stderr, flush=True)
        # Threads of the data pipeline may still run; nothing is left to write.
        os._exit(status)

    try:
        yield
    except UserError as error:
        leave(f"error: {error}", 2)
    except Stopped as stop:
        leave(str(stop), 130)
    except KeyboardInterrupt:
        leave("stopped", 130)
    except BrokenPipeError:
        os._exit(141)
    except PermissionError as error:
        leave(f"error: {error.filename}: permission denied; see to its permissions", 2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        leave(f"error: no space left for {error.filename or 'a file'}; free some and run again", 2)
