"""Reads millions of crops on Ray Data: `python -m textsr_jax.bulk`, and parts of other pipelines.

`read(dataset)` reads the crops of any dataset of Ray. `Crops` is a data source of Ray: tars,
Parquet files, LMDBs and folders. `running` reads each crop of a source exactly once, whatever is
killed meanwhile.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textsr_jax.bulk.datasets import Crops, read

__all__ = ["Crops", "read"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the command shows its help, and what is missing, without Ray.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from textsr_jax.bulk import datasets

    return getattr(datasets, name)
