"""The code that made a file: the package's version and its git commit."""

import importlib.metadata
import pathlib
import subprocess


def code() -> dict[str, str | None]:
    """Returns the package's `version`, and the `commit` of its checkout, or None without one.

    If files have uncommitted changes, the commit ends in "+changes".
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

    # An installed package may be inside a checkout of another project.
    if git("ls-files", "--error-unmatch", "provenance.py") is None:
        commit = None
    else:
        commit = git("rev-parse", "HEAD")
        if git("status", "--porcelain", "--untracked-files=no"):
            commit = f"{commit}+changes"
    return {"version": importlib.metadata.version("textsr_jax"), "commit": commit}
