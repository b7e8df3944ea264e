"""Where training's arrays lie: batches split over all devices, parameters whole or split as well.

One mesh of two axes covers all devices of all processes; `jit` adds the communication. Several
processes also find each other here.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, TextIO, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from textsr_jax.config.settings import Parallel
from textsr_jax.errors import UserError
from textsr_jax.models import Network
from textsr_jax.train import pmapped
from textsr_jax.train.steps import Step

DATA, FSDP = "data", "fsdp"
# A tree of arrays, of which a copy is returned.
Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mesh, and which arrays are split over its axis `fsdp`.

    Attributes:
      mesh: has the axes `data` and `fsdp`; each device has a part of every batch.
      rules: (pattern, axis) each. The first pattern that matches an array's whole path says which
        axis is split over `fsdp`. Every device has a copy of an array that no pattern matches, or
        whose axis does not divide evenly. The path of an optimiser's array ends in the path of its
        parameter.
      pmap: whether training steps run by `jax.pmap` over the mesh's devices.
    """

    mesh: Mesh
    rules: tuple[tuple[str, int], ...] = ()
    pmap: bool = False

    def shardings(self, tree: object) -> Any:
        """The `NamedSharding` of each array, or `jax.ShapeDtypeStruct`, of a tree."""

        def of(keys: tuple[Any, ...], leaf: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
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
        """The sharding of every array of a batch."""
        return NamedSharding(self.mesh, PartitionSpec((DATA, FSDP)))

    def synchronized(self, network: Network) -> Network:
        """The network as it is trained here: BatchNorm's statistics are those of whole batches."""
        return network.synchronized(pmapped.DEVICES) if self.pmap else network

    def over_devices(self, step: Step) -> Step:
        """The step of `steps.make_step`, made with the same `pmap`, as a function of whole batches.

        It is pure, and to be compiled.
        """
        return pmapped.over_devices(step, [*self.mesh.devices.flat]) if self.pmap else step

    def place(self, tree: Tree) -> Tree:
        """Copies of a tree's arrays, placed as `shardings` says. Every process has them whole."""

        def put(leaf: ArrayLike, sharding: NamedSharding) -> jax.Array:
            whole = np.asarray(leaf)
            return jax.make_array_from_callback(
                whole.shape, sharding, lambda index: whole[index], dtype=whole.dtype
            )

        return jax.tree.map(put, tree, self.shardings(tree))

    def shard_batch(self, batch: Tree) -> Tree:
        """Splits this process's part of a batch over its devices, along the leading axis."""
        sharding = self.batch_sharding
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(sharding, array), batch
        )

    def shard_whole(self, batch: Tree) -> Tree:
        """Splits a batch that every process has whole over all devices, along the leading axis."""

        def part(array: np.ndarray) -> np.ndarray:
            size = len(array) // jax.process_count()
            return array[jax.process_index() * size :][:size]

        return self.shard_batch(jax.tree.map(part, batch))

    def any(self, flag: bool) -> jax.Array:
        """Whether `flag` is true in some process: a bool scalar. All processes have to call it.

        It returns at once, as any computation does; the answer comes when all have called.
        """
        flags = np.full(len(self.mesh.local_devices), flag)
        return _any(self.shard_batch(flags))


_any = jax.jit(lambda flags: flags.any())


def gather(tree: object) -> Any:
    """The tree's arrays in NumPy, whole in every process, wherever they lay on the mesh."""

    def whole(leaf: ArrayLike) -> np.ndarray:
        if isinstance(leaf, jax.Array) and jax.process_count() > 1:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(leaf)

    return jax.tree.map(whole, tree)


def wait_for_all(what: str) -> None:
    """Returns when every process has called this for the same `what`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def of_first(number: int) -> int:
    """The number that the first process has, in every process. All of them have to call this."""
    if jax.process_count() > 1:
        number = int(multihost_utils.broadcast_one_to_all(np.int32(number)))
    return number


def say(message: str, file: TextIO | None = None) -> None:
    """Prints a line, in the first of several processes only."""
    if jax.process_index() == 0:
        print(message, file=file, flush=True)


def join_processes(how: str) -> None:
    """Joins several processes in one training. Call it before JAX is asked for its devices.

    Args:
      how: "auto" finds the others through SLURM, a TPU pod, Open MPI or Kubernetes, as
        `jax.distributed` does. "HOST:PORT,COUNT,INDEX" names the address of process 0, the number
        of processes, and the number of this one, from 0.

    Raises:
      UserError: `how` has neither form, there is nothing to find, or no process answers.
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
            f"--distributed={how}: cannot join the other processes ({reason}); check that all of "
            "them are started and reach the address"
        ) from error


def make_placement(config: Parallel, devices: Sequence[jax.Device] | None = None) -> Placement:
    """The placement that `config.parallel` asks for.

    Args:
      config: has `fsdp`, over how many devices parameters are split; `rules` and `pmap`, as
        `Placement`.
      devices: those to use; None for all devices of all processes.

    Raises:
      UserError: the number of devices is not a multiple of `fsdp`, a rule is not one, or several
        processes are to train by pmap.
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
                f"config.parallel.rules: {rule!r} is not a regular expression and an axis "
                f"({error}); write rules such as ('.*/kernel', -1)"
            ) from error
    if config.pmap and jax.process_count() > 1:
        raise UserError(
            f"config.parallel.pmap=True: it trains in one process, and here are "
            f"{jax.process_count()}; set it False"
        )
    mesh = Mesh(np.asarray(devices).reshape(-1, config.fsdp), (DATA, FSDP))
    rules = tuple((pattern, int(axis)) for pattern, axis in config.rules)
    return Placement(mesh, rules, config.pmap)


def check_batch_size(batch_size: int, field: str, accumulate: int = 1) -> None:
    """Refuses a batch that cannot be shared evenly by all devices.

    Args:
      batch_size: of all devices together.
      field: where the config has it, for the message.
      accumulate: into how many parts a batch is split; the devices share each part evenly.

    Raises:
      UserError: the devices do not divide the batch, or a part of it.
    """
    devices, parts = jax.device_count(), f" times {accumulate} parts" if accumulate > 1 else ""
    unit = devices * accumulate
    if batch_size <= 0 or batch_size % unit:
        fitting = max(unit, batch_size // unit * unit)
        raise UserError(
            f"config.{field}={batch_size}: {devices} devices{parts} do not divide it; take "
            f"{fitting}"
        )
