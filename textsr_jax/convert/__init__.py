"""Published PyTorch checkpoints to parameter trees and back: one name table for each network.

`python -m textsr_jax.convert` does it for files.
"""

from textsr_jax.convert.published import (
    PUBLISHED_ONLY,
    TABLES,
    WITH_STN,
    export_variables,
    holds_stn,
    import_state_dict,
    network,
)
from textsr_jax.convert.table import NameTable, PublishedOnly, to_tree

__all__ = [
    "PUBLISHED_ONLY",
    "TABLES",
    "WITH_STN",
    "NameTable",
    "PublishedOnly",
    "export_variables",
    "holds_stn",
    "import_state_dict",
    "network",
    "to_tree",
]
