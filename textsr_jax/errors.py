"""The one kind of error that a user can mend, and how the scripts show it: a line, exit status 2.

Every room raises `UserError` for bad input; only `one_line_errors` prints it.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator


class UserError(Exception):
    """Bad input. The message is one line that names the thing, the place and the mend."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM ended long work in good order. The message says how to go on."""


def printable(text: str, longest: int = 200) -> str:
    """Text from a file, such as a name, for messages: on one line, and without effects.

    Control characters, line and paragraph separators, marks that turn the direction of writing, and
    halves of surrogate pairs are escaped; what is longer than `longest` characters is cut.
    """
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return "".join(
        c if c == " " or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the process on errors that a user can mend: one line on standard error, no traceback.

    Exit status: 2 for bad input and a full disk, 130 when stopped, 141 where nobody reads the
    output any more, as behind `| head`.
    """

    def leave(message: str, status: int) -> None:
        sys.stdout.flush()
        line = " ".join(message.split())
        print(printable(line, longest=len(line)), file=sys.stderr, flush=True)
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        leave(f"error: no space left for {error.filename or 'a file'}; free some and run again", 2)
