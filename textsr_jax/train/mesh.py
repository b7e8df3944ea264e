"""The device mesh of training: one axis, `data`, over all devices of all processes."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from textsr_jax.errors import UserError


def make_mesh() -> Mesh:
    return Mesh(jax.devices(), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Puts a whole copy of every array on every device."""
    return jax.device_put(tree, replicated(mesh))


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """Splits this process's part of a global batch over its devices, along the leading axis."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(
        lambda array: jax.make_array_from_process_local_data(sharding, array), batch
    )


def check_batch_size(batch_size: int, field: str, accumulate: int = 1) -> None:
    """Raises a `UserError` where the devices do not divide the batch of `config.<field>`.

    With `accumulate` each of that many parts of the batch has to be divided by them.
    """
    devices, parts = jax.device_count(), f" times {accumulate} parts" if accumulate > 1 else ""
    unit = devices * accumulate
    if batch_size <= 0 or batch_size % unit:
        fitting = max(unit, batch_size // unit * unit)
        raise UserError(
            f"config.{field}={batch_size}: {devices} devices{parts} do not divide it; take "
            f"{fitting}"
        )
