"""Errors that a user can fix, and how the commands show them: one line, exit status 2.

All parts of the package raise `UserError` for bad input. Only `one_line_errors` prints it.
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
    """Bad input. The message is one line that names the value, the place and the fix."""


class MissingPackage(UserError, ImportError):
    """A package is not installed. The message names the extra of ours that brings it."""


class StoreError(UserError):
    """An object store failed, or refused, as of a network that is down. Nothing is damaged."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM ended long work, which is saved. The message says how to go on."""


def escaped(text: str, longest: int | None = None) -> str:
    r"""Returns text as one line of plain characters; a name may hold characters that forge lines.

    Controls, separators of lines and paragraphs, and characters that hide or turn text are written
    as `\n`, `\x1b` or `\u202e`. Bytes of a file's name that are no text are written as `\xff`. All
    other characters stay, the backslash included.

    Args:
      text: any text.
      longest: a longer text is cut to so many characters; None to keep it whole.
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
    """Raises a `UserError` that names the model if `finite`, a truth value, is false."""
    if not finite:
        raise UserError(
            f"{model}: its output is not finite; its weights are damaged or far too large; take "
            "another model"
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
    """Returns how to fix an error of a file: "see to its permissions", or `otherwise`."""
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return "see to its permissions" if denied else otherwise


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process on errors that a user can fix: one line on standard error, no traceback.

    The exit status is 2 for bad input, denied permission and a full disk. It is 130 after Ctrl-C or
    SIGTERM, and 141 if nobody reads the output any more, as behind `| head`.
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
