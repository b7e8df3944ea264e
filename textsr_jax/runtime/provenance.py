"""Which code made a file: the package's version and the commit that it was run from."""

import importlib.metadata
import pathlib
import subprocess


def code() -> dict[str, str | None]:
    """`version` of the package, and `commit` of its git checkout; None where it is not in one.

    A commit with uncommitted changes on top ends in "+changes".
    """
    folder = pathlib.Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed packages may lie in a checkout of something else.
    if git("ls-files", "--error-unmatch", "provenance.py") is None:
        commit = None
    else:
        commit = git("rev-parse", "HEAD")
        if git("status", "--porcelain", "--untracked-files=no"):
            commit = f"{commit}+changes"
    return {"version": importlib.metadata.version("textsr_jax"), "commit": commit}
