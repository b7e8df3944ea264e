"""Where training's arrays lie: batches split over all devices, parameters whole or split as well.

One mesh of two axes over all devices of all processes; `jit` adds the communication. Here processes
find each other, too.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from textsr_jax.errors import UserError

DATA, FSDP = "data", "fsdp"


@dataclasses.dataclass(frozen=True)
class Layout:
    """A mesh, and which arrays are split over its axis `fsdp`.

    Attributes:
      mesh: of the axes `data` and `fsdp`; each device has a part of every batch.
      rules: (pattern, axis) pairs. Of an array whose path fully matches a pattern, the first one,
        that axis is split over `fsdp`; where it does not divide evenly, and without a match, every
        device has a copy. What the optimiser keeps for a parameter has the parameter's path behind
        its own.
    """

    mesh: Mesh
    rules: tuple[tuple[str, int], ...] = ()

    def shardings(self, tree: Any) -> Any:
        """The `NamedSharding` of each array, or `jax.ShapeDtypeStruct`, of a tree."""

        def of(keys: tuple[Any, ...], leaf: Any) -> NamedSharding:
            path = jax.tree_util.keystr(keys, simple=True, separator="/")
            axis = next((axis for rule, axis in self.rules if re.fullmatch(rule, path)), None)
            size = self.mesh.shape[FSDP]
            if axis is None or not -leaf.ndim <= axis < leaf.ndim or leaf.shape[axis] % size:
                return NamedSharding(self.mesh, PartitionSpec())
            names: list[str | None] = [None] * leaf.ndim
            names[axis] = FSDP
            return NamedSharding(self.mesh, PartitionSpec(*names))

        return jax.tree_util.tree_map_with_path(of, tree)

    @property
    def batch_sharding(self) -> NamedSharding:
        """Of every array of a batch."""
        return NamedSharding(self.mesh, PartitionSpec((DATA, FSDP)))

    def place(self, tree: Any) -> Any:
        """Copies of a tree's arrays, which every process has whole, where `shardings` says."""

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(
                whole.shape, sharding, lambda index: whole[index], dtype=whole.dtype
            )

        return jax.tree.map(put, tree, self.shardings(tree))

    def shard_batch(self, batch: Any) -> Any:
        """Splits this process's part of a global batch over its devices, along the leading axis."""
        sharding = self.batch_sharding
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(sharding, array), batch
        )

    def shard_whole(self, batch: Any) -> Any:
        """Splits a global batch that every process has over all devices, along the leading axis."""

        def part(array: np.ndarray) -> np.ndarray:
            size = len(array) // jax.process_count()
            return array[jax.process_index() * size :][:size]

        return self.shard_batch(jax.tree.map(part, batch))

    def any(self, flag: bool) -> jax.Array:
        """Whether `flag` is true in some process: a bool scalar, once all have come to this call.

        It is under way when this returns, as any computation is.
        """
        flags = np.full(len(self.mesh.local_devices), flag)
        return _any(self.shard_batch(flags))


_any = jax.jit(lambda flags: flags.any())


def gather(tree: Any) -> Any:
    """The tree in NumPy, whole in every process: arrays of the mesh are put together.

    What is NumPy's already stays as it is.
    """

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and jax.process_count() > 1:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)


def wait_for_all(what: str) -> None:
    """Returns when every process has called this for the same `what`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def join_processes(how: str) -> None:
    """Makes one training of several processes, before anything else asks JAX for its devices.

    Args:
      how: "auto" finds the others through SLURM, a TPU pod, Open MPI or Kubernetes, as
        `jax.distributed` does; "HOST:PORT,COUNT,INDEX" names the address of process 0, how many
        there are, and which one this is, from 0.

    Raises:
      UserError: `how` is none of both, or there is nothing to find, or nobody answers.
    """
    settings: dict[str, Any] = {}
    if how != "auto":
        found = re.fullmatch(r"([^,]+:\d+),(\d+),(\d+)", how)
        if not found or int(found[3]) >= int(found[2]):
            raise UserError(
                f"--distributed={how}: write auto, or HOST:PORT,COUNT,INDEX, INDEX from 0 to "
                "COUNT - 1, such as 10.0.0.1:1234,2,0"
            )
        settings = {
            "coordinator_address": found[1],
            "num_processes": int(found[2]),
            "process_id": int(found[3]),
        }
    try:
        jax.distributed.initialize(**settings)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--distributed={how}: cannot join the other processes ({reason}); see that all of "
            "them are started and reach the address"
        ) from error


def make_layout(config: ConfigDict, devices: Sequence[jax.Device] | None = None) -> Layout:
    """The layout that `config.parallel` asks for.

    Args:
      config: `parallel`: `fsdp`, over how many devices parameters are split, and `rules`.
      devices: those to use; None for all of all processes.

    Raises:
      UserError: the devices are not a multiple of `fsdp`, or a rule is none.
    """
    devices = jax.devices() if devices is None else list(devices)
    if config.fsdp < 1 or len(devices) % config.fsdp:
        raise UserError(
            f"config.parallel.fsdp={config.fsdp}: {len(devices)} devices are not a multiple of it; "
            "take a number that divides them"
        )
    for rule in config.rules:
        try:
            pattern, axis = rule
            re.compile(pattern)
            int(axis)
        except (TypeError, ValueError, re.error) as error:
            raise UserError(
                f"config.parallel.rules: {rule!r} is no pair of a regular expression and an axis "
                f"({error})"
            ) from error
    mesh = Mesh(np.asarray(devices).reshape(-1, config.fsdp), (DATA, FSDP))
    return Layout(mesh, tuple((pattern, int(axis)) for pattern, axis in config.rules))


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
