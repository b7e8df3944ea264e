"""A folder for files that are trusted as this program itself is: the user alone may write there.

Compiled functions run unchecked, so whoever can exchange one runs code in the user's name.
"""

import os
import pathlib
import stat


def make(folder: pathlib.Path) -> None:
    """Makes a folder, and what is missing above it, for the user alone.

    Raises:
      OSError: it cannot be made.
    """
    if not folder.is_dir():
        if folder != folder.parent:
            make(folder.parent)
        # Another process may have made it.
        folder.mkdir(mode=0o700, exist_ok=True)


def close(folder: pathlib.Path) -> None:
    """Takes from others what they may do in a folder of the user's: mode 0700.

    Raises:
      OSError: it cannot be done.
    """
    if _has_modes() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def fault(folder: pathlib.Path) -> str | None:
    """Why others could exchange files in a folder, with what to do; None where they could not.

    The folder must be the user's own. It, every folder above it, and those that links on the way
    lead to may be changed by the user and root alone; a folder such as /tmp, in which everyone owns
    what is his (the sticky bit), may stand above. Where files have no owners and modes, as on
    Windows, nothing is looked at.

    Raises:
      OSError: it cannot be looked at.
    """
    if not _has_modes():
        return None
    user = os.geteuid()
    whole = folder.absolute()
    real = whole.resolve()
    owner = real.stat().st_uid
    if owner != user:
        return f"it belongs to another user ({owner})"
    for path in dict.fromkeys((whole, *whole.parents, real, *real.parents)):
        # A link on the way could be exchanged by its owner.
        for status in (path.lstat(), path.stat()):
            if status.st_uid not in (user, 0):
                return f"{path} belongs to another user ({status.st_uid})"
        mode = path.stat().st_mode
        sticky = mode & stat.S_ISVTX and path not in (whole, real)
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            fix = "delete it" if path in (whole, real) else f"chmod go-w {path}"
            return f"others may write in {path}: {fix}"
    return None


def _has_modes() -> bool:
    return hasattr(os, "geteuid")
