"""Published PyTorch checkpoints to parameter trees: one name table per network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from textsr_jax.convert import cdistnet, edsr, text_focus
from textsr_jax.convert.table import NameTable, to_tree
from textsr_jax.errors import UserError
from textsr_jax.models import Network, build_focus, build_ocr, build_sr

__all__ = ["TABLES", "NameTable", "import_state_dict", "network", "to_tree"]

TABLES = {
    "edsr": edsr.TABLE,
    "text_focus": text_focus.TABLE,
    "cdistnet": cdistnet.TABLE,
}


def network(model: str, *, stn: bool = False, dtype: str = "float32") -> Network:
    """The network of a published checkpoint, in its published size.

    Args:
      model: a key of `TABLES`.
      stn: whether the STN stands in front of a super-resolution network.
      dtype: the compute dtype, float32 or bfloat16.
    """
    settings = ConfigDict({"name": model, "dtype": dtype})
    if model == "text_focus":
        return build_focus(ConfigDict({"dtype": dtype}))
    if model == "cdistnet":
        return build_ocr(settings)
    return build_sr(ConfigDict({**settings, "apply_stn": "train" if stn else "never"}))


def import_state_dict(
    model: str, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills the parameter tree of a network from a published checkpoint.

    Args:
      model: which checkpoint it is, a key of `TABLES`.
      state_dict: its tensors by name, in PyTorch's layout.
      template: the network's own tree of shapes (`Network.template`).

    Returns:
      A tree like `template` of numpy arrays.

    Raises:
      UserError: `model` is unknown, or the checkpoint does not fit; see `to_tree`.
    """
    if model not in TABLES:
        raise UserError(f"no name table for {model!r}; take one of {', '.join(TABLES)}")
    return to_tree(TABLES[model], state_dict, template)
