"""Folders in which only the user may write, for files that are trusted as the program itself is.

Compiled functions run unchecked: whoever can replace one runs code in the user's name.
"""

import os
import pathlib
import stat


def make(folder: pathlib.Path) -> None:
    """Makes a folder and its missing parents, with mode 0700.

    Raises:
      OSError: a folder cannot be made.
    """
    if not folder.is_dir():
        if folder != folder.parent:
            make(folder.parent)
        # Another process may have made it meanwhile.
        folder.mkdir(mode=0o700, exist_ok=True)


def close(folder: pathlib.Path) -> None:
    """Sets the mode of a folder to 0700, so that only the user has access.

    Raises:
      OSError: the mode cannot be set.
    """
    if _has_modes() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def fault(folder: pathlib.Path) -> str | None:
    """Returns why others could replace files in a folder, and what to do; None if they could not.

    The folder must belong to the user. Only the user and root may write in it, in the folders above
    it, and in the folders that links on the way lead to. Folders above it may be shared if they
    have the sticky bit, as /tmp has. If files have no owners and modes, as on Windows, nothing is
    checked.

    Raises:
      OSError: a folder cannot be examined.
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
        # The owner of a link could replace it.
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
