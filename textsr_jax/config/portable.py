"""The config in a packed file, which travels to other machines: it names no place on this one."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from textsr_jax.config import checks
from textsr_jax.config.differences import ELSEWHERE
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError


def portable(config: Experiment) -> dict[str, Any]:
    """The config as nested dicts that JSON can hold, without places and settings of this machine.

    The data's folder is an exception: its name stays, without its path.
    """
    content: dict[str, Any] = json.loads(json.dumps(checks.without_machine(config)))
    content["data"]["root"] = _name(config.data.root.removeprefix(ELSEWHERE))
    return content


def from_packed(content: Mapping[str, Any], leaves: int, place: str) -> Experiment:
    """The config that a packed file holds, checked before networks are built from it.

    Places and settings of a machine are ignored. `data.root` becomes "elsewhere:" and the name of
    the folder with the training data, because that folder is not on this machine.

    Args:
      content: the nested dicts in the file.
      leaves: the number of arrays in the file; no network has more blocks than that.
      place: the file, for messages.

    Raises:
      UserError: as `checks.checked`; or a network is larger than any that the file could fill.
    """
    fix = "quantise the models again"
    config = checks.checked(content, f"{place}: its ", travels=True, fix=fix)
    fields = checks.network_fields(config, "sr") | checks.network_fields(config, "ocr")
    for name, value in fields.items():
        if not re.search("blocks|layers|depths", name):
            continue
        for number in value if isinstance(value, tuple) else [value]:
            if number > leaves:
                raise UserError(
                    f"{place}: its config.{name}={value}: more than the file can fill; {fix}"
                )
    root = content.get("data", {}).get("root")
    if isinstance(root, str) and _name(root):
        # A name that no folder can have is ignored too.
        with contextlib.suppress(UserError):
            return config.replace(data={"root": ELSEWHERE + _name(root)})
    return config


def _name(root: str) -> str:
    """The name of a folder without its path, with the separators of any system."""
    return re.split(r"[/\\]", root.rstrip("/\\"))[-1]
