"""Published PyTorch checkpoints to parameter trees: one name table per network."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from textsr_jax.convert import cdistnet, edsr, stn, text_focus
from textsr_jax.convert.table import NameTable, to_tree
from textsr_jax.errors import UserError

__all__ = ["TABLES", "NameTable", "import_state_dict", "to_tree"]

TABLES = {
    "edsr": edsr.TABLE,
    "stn": stn.TABLE,
    "text_focus": text_focus.TABLE,
    "cdistnet": cdistnet.TABLE,
}


def import_state_dict(
    model: str, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> dict[str, Any]:
    """Fills the parameter tree of a network from a published checkpoint.

    Args:
      model: which checkpoint it is, a key of `TABLES`; "stn" takes the STN out of a checkpoint of
        TBSRN or TSRN.
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
