"""Published PyTorch checkpoints to parameter trees: one name table per network."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from textsr_jax.convert.table import to_tree


def import_state_dict(
    model: str, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> dict[str, Any]:
    table = importlib.import_module(f"textsr_jax.convert.{model}").TABLE
    return to_tree(table, state_dict, template)
