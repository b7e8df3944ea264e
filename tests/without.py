"""Runs Python code or a command as if packages were not installed.

  python tests/without.py PACKAGE,... SCRIPT ARGUMENT...
  python tests/without.py PACKAGE,... -m MODULE ARGUMENT...
  python tests/without.py PACKAGE,... -c CODE

A PACKAGE that ends in * stands for all packages whose names begin like this.
"""

import fnmatch
import importlib.abc
import importlib.machinery
import os
import runpy
import sys
from typing import Any


class Without:
    """A finder of modules that does not find some packages.

    Args:
      finder: the finder that it replaces.
      packages: patterns of the names of packages.
    """

    def __init__(self, finder: Any, packages: list[str]):
        self._finder, self._packages = finder, packages

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        top = name.partition(".")[0]
        if any(fnmatch.fnmatchcase(top, package) for package in self._packages):
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def main() -> None:
    packages, what, *rest = sys.argv[1:]
    # As Python does for `-m`; by itself it would take the folder of this file.
    sys.path[0] = os.getcwd()
    sys.meta_path[:] = [Without(finder, packages.split(",")) for finder in sys.meta_path]
    if what == "-c":
        exec(compile(rest[0], "<code>", "exec"), {"__name__": "__main__"})
    elif what == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [what, *rest]
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__":
    main()
