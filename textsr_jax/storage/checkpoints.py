"""Checkpoints on disk, through Orbax: what training resumes from, and the best model of a stage.

It stands outside the training room, so that reading a model does not import how it was trained.
"""

import contextlib
import errno
import functools
import logging
import os
import pathlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from textsr_jax.errors import UserError
from textsr_jax.models import build_rescaler, shape_difference
from textsr_jax.models.network import leaves_by_path
from textsr_jax.quantization import dequantize
from textsr_jax.storage import digests, packed_files, parameter_files, workdirs

_logger = logging.getLogger(__name__)

# The items of a checkpoint, each a folder.
_TREE, _RECORD, _DIGESTS = "tree", "record", "digests"


class SavedCheckpoints:
    """A folder of checkpoints as readers see it: a trainer may write there meanwhile.

    Each is an array tree, a JSON record, and the digests of both. Nothing is changed here.
    """

    def __init__(self, directory: pathlib.Path):
        self.directory = pathlib.Path(directory).resolve()
        sys.unraisablehook = _without_orphans

    def steps(self) -> list[int]:
        """The steps that have a whole checkpoint, oldest first."""
        found = self.directory.iterdir() if self.directory.is_dir() else ()
        whole = [
            int(path.name)
            for path in found
            if path.name.isdecimal() and all((path / item).is_dir() for item in (_TREE, _RECORD))
        ]
        return from_first(sorted(whole))

    def record(self, step: int) -> dict[str, Any]:
        """The record of a checkpoint; empty if it is damaged or gone."""
        try:
            record = self._restore(step, record=ocp.args.JsonRestore())[_RECORD]
            _check_record(record, self._digests(step))
            return record
        except Exception:  # as in `restore`, which says so when the run goes on
            return {}

    def last_record(self) -> dict[str, Any]:
        """The record of the newest checkpoint; empty if it is damaged, or there is none."""
        steps = self.steps()
        return self.record(steps[-1]) if steps else {}

    def restore(self, template: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The newest checkpoint that is what was saved: its step, tree and record; None without.

        A checkpoint that cannot be read, or whose digests say that it is not what was saved, is
        left out with a warning; the one before it is taken. One of an older version has no digests.

        Args:
          template: the tree's structure as arrays or `jax.ShapeDtypeStruct`, with shardings.

        Raises:
          UserError: there are checkpoints, and none can be read.
        """
        steps: list[int] = []
        # A trainer may have put newer ones in the place of all that were there.
        while (now := self.steps()) != steps:
            steps = now
            for step in reversed(steps):
                try:
                    return step, *self._read(step, template)
                except Exception as error:  # Orbax and TensorStore raise many kinds
                    reason = str(error).strip().splitlines()[0][:120] if str(error) else repr(error)
                if step in self.steps():
                    _logger.warning(
                        "%s: checkpoint %d cannot be read (%s); trying the one before it",
                        self.directory,
                        step,
                        reason,
                    )
        if steps:
            raise UserError(
                f"{self.directory}: no checkpoint there can be read; delete the folder and run the "
                "stage again"
            )
        return None

    def check_shapes(self, template: Any) -> None:
        """Refuses a newest checkpoint that is whole and holds other arrays than `template`."""
        try:
            step = self.steps()[-1]
            noted = self._digests(step)
            if noted is None:
                folder = self.directory / str(step) / _TREE
                there = ocp.StandardCheckpointHandler().metadata(folder).tree
            else:
                there = _nested(noted["arrays"])
        except Exception:  # there is none, or it is damaged, which `restore` finds
            return
        if difference := shape_difference(there, template):
            path, found, wanted = difference
            raise UserError(
                f"{self.directory}: another network was saved there, its {path} is {found}, by the "
                f"config it is {wanted}; take the sizes of its config.json, or another model"
            )

    def _restore(self, step: int, **items: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            handler = ocp.CompositeCheckpointHandler()
            with contextlib.closing(ocp.Checkpointer(handler)) as checkpointer:
                folder = self.directory / str(step)
                return checkpointer.restore(folder, args=ocp.args.Composite(**items))

    def _digests(self, step: int) -> dict[str, Any] | None:
        """What `Checkpoints.save` noted of a checkpoint; None of an older version's."""
        if not (self.directory / str(step) / _DIGESTS).is_dir():
            return None
        noted = self._restore(step, digests=ocp.args.JsonRestore())[_DIGESTS]
        content = {name: noted[name] for name in ("arrays", "record")}
        if noted["digests"] != digests.of_json(content):
            raise ValueError("its digests are damaged")
        return content

    def _read(self, step: int, template: Any) -> tuple[Any, dict[str, Any]]:
        """The tree and the record of a checkpoint; raises any error where they are damaged.

        Several processes take it only where each of them finds it sound.
        """
        with _agreed():
            noted = self._digests(step)
            restored = self._restore(
                step, tree=ocp.args.StandardRestore(template), record=ocp.args.JsonRestore()
            )
            tree, record = restored[_TREE], restored[_RECORD]
        with _agreed():
            _check_record(record, noted)
            found = {} if noted is None else digests.of_arrays(tree)
            for path, expected in ({} if noted is None else noted["arrays"]).items():
                if found.get(path) != expected:
                    raise ValueError(f"{path} is not what was saved")
        return tree, record


class Checkpoints(SavedCheckpoints):
    """A folder of checkpoints that one training writes, the newest few of them kept.

    Orbax writes into a temporary folder and renames it, so a run that is killed while saving leaves
    the checkpoints before it untouched; what it left of a temporary folder is deleted here.

    Args:
      directory: made where it is missing.
      keep: how many checkpoints stay; None for all.
    """

    def __init__(self, directory: pathlib.Path, keep: int | None = 2):
        super().__init__(directory)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, tree: Any, record: dict[str, Any]) -> None:
        """Saves `tree` and the JSON-able `record` under `step`, in the background.

        Raises:
          UserError: the disk is full, now or in the save before; earlier checkpoints stay.
        """
        if step in self._manager.all_steps():
            self.wait()
            self._manager.delete(step)
        noted = {"arrays": digests.of_arrays(tree), "record": digests.of_json(record)}
        noted["digests"] = digests.of_json(noted)
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree),
            record=ocp.args.JsonSave(record),
            digests=ocp.args.JsonSave(noted),
        )
        with self._disk_errors():
            self._manager.save(step, args=arguments, force=True)

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints behind `step`: unreadable ones, which newer ones replace."""
        self.discard([later for later in self._manager.all_steps() if later > step])

    def discard(self, steps: Iterable[int]) -> None:
        """Deletes the checkpoints of some steps."""
        for step in sorted(steps):
            self._manager.delete(step)

    def wait(self) -> None:
        """Waits for a save in the background; raises what went wrong in it, as `save` does."""
        with self._disk_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for a save in the background, as `wait` does."""
        with self._disk_errors():
            self._manager.close()

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # TensorStore reports a full disk as a ValueError, with the system's words in it.
            if os.strerror(errno.ENOSPC) not in str(error):
                raise
            raise UserError(
                f"{self.directory}: the disk is full; the checkpoints before are kept: free some "
                "space and run the same command again"
            ) from error


def _without_orphans(unraisable: Any) -> None:
    """Prints errors that nobody can catch, as Python does, but for what Orbax leaves behind.

    When a save fails, TensorStore's other writes end after Orbax has closed its event loop, and
    each of them would print that it could not call back. When a read fails, Orbax forgets the
    others, and each of them would print how it failed; the first failure was raised.
    """
    late = unraisable.exc_type is RuntimeError
    late = late and str(unraisable.exc_value) == "Event loop is closed"
    code = getattr(unraisable.object, "cr_code", None)
    if not late and not (code and "orbax" in pathlib.Path(code.co_filename).parts):
        sys.__unraisablehook__(unraisable)


def _check_record(record: dict[str, Any], noted: dict[str, Any] | None) -> None:
    if noted is not None and digests.of_json(record) != noted["record"]:
        raise ValueError("its record is not what was saved")


def _nested(arrays: dict[str, list[Any]]) -> dict[str, Any]:
    """The shapes and dtypes that digests note, as the tree that they belong to."""
    tree: dict[str, Any] = {}
    for path, (dtype, shape, _) in arrays.items():
        *above, name = path.split("/")
        branch = functools.reduce(lambda branch, key: branch.setdefault(key, {}), above, tree)
        branch[name] = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    return tree


@contextlib.contextmanager
def _agreed() -> Iterator[None]:
    """Raises in every process what went wrong in one of them."""
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    if jax.process_count() > 1:
        failed = multihost_utils.process_allgather(np.asarray(failure is not None))
        failure = failure or (
            ValueError("another process cannot read it") if failed.any() else None
        )
    if failure is not None:
        raise failure


def from_first(steps: list[int]) -> list[int]:
    """What the first process has in `steps`: a shared disk may show others less for a while."""
    if jax.process_count() == 1:
        return steps
    count = int(multihost_utils.broadcast_one_to_all(np.asarray(len(steps))))
    filled = np.resize(np.asarray(steps or [0]), count)
    return multihost_utils.broadcast_one_to_all(filled).tolist()


def load_best(
    workdir: str | pathlib.Path, stage: str, template: Any
) -> tuple[Any, dict[str, Any]] | None:
    """The best model of a stage, by validation, and its record; None if the stage has none yet.

    Raises:
      UserError: the model cannot be read, was saved by another network than `template`'s, or has
        values that are not finite.
    """
    directory = workdirs.best_directory(workdir, stage)
    if not directory.is_dir():
        return None
    checkpoints = SavedCheckpoints(directory)
    checkpoints.check_shapes(template)
    restored = checkpoints.restore(template)
    if restored is None:
        return None
    _, tree, record = restored
    for name, leaf in leaves_by_path(tree).items():
        if not np.isfinite(np.asarray(leaf)).all():
            raise UserError(
                f"{directory}: {name} has values that are not finite; take another model, or train "
                f"{stage} again"
            )
    return tree, record


def load_start(
    init: str, stage: str, part: str, name: str, template: Any, place: str | None = None
) -> Any:
    """What `config.init` names: a parameter file, a packed pair, or a workdir's best of `stage`.

    Where a workdir has no SR model of its own stage, it is stage 0's, which has no STN. Of a packed
    pair it is what its codes stand for, and the recogniser may have been fine-tuned.

    Args:
      init: the path.
      stage: the stage's folder in a workdir.
      part: which model, "sr", "ocr", "focus" or "resampler".
      name: the network's name in the config.
      template: the tree's shapes; those of an STN may be missing in a file.
      place: where the user named it, for messages; None for config.init.PART.

    Raises:
      UserError: there is nothing, or it belongs to another network.
    """
    path = pathlib.Path(init).expanduser()
    place = place or f"config.init.{part}={init}"
    if path.is_file():
        file = _of_packed(path, part) or parameter_files.load(path)
        return parameter_files.variables_for(file, part, name, template, place)
    if not path.exists():
        raise UserError(f"{place}: no such parameter file, packed file or workdir")
    if part == "resampler" or (part == "sr" and not workdirs.best_directory(path, stage).is_dir()):
        file = load_stage0(path, part)
        if file is not None:
            return parameter_files.variables_for(file, part, name, template, place)
    loaded = load_best(path, stage, abstract(template))
    if loaded is None:
        raise UserError(
            f"{place}: no model of {stage} there; name a parameter file, a packed file or another "
            "workdir"
        )
    return loaded[0]


def _of_packed(path: pathlib.Path, part: str) -> parameter_files.ParameterFile | None:
    """A packed pair's model of a part, expanded; None where there is none."""
    if part not in packed_files.PARTS or not packed_files.is_packed_file(path):
        return None
    pair = packed_files.load(path)
    settings = pair.experiment(path)[part].to_dict()
    variables = jax.tree.map(np.asarray, dequantize(getattr(pair, part)))
    return parameter_files.ParameterFile(settings["name"], part, settings, variables)


def load_stage0(workdir: str | pathlib.Path, part: str) -> parameter_files.ParameterFile | None:
    """Stage 0's best "resampler" or "sr" of a workdir; None if that stage has no model there yet.

    Raises:
      UserError: it is no workdir, or the model cannot be read.
    """
    if not workdirs.best_directory(workdir, "stage0").is_dir():
        return None
    # Checkpoints are read whole, so the shapes of both networks are needed.
    config = workdirs.load_config(workdir)
    template = abstract(build_rescaler(config.resampler, config.sr).template)
    loaded = load_best(workdir, "stage0", template)
    if loaded is None:
        return None
    name = part if part == "resampler" else config.sr.name
    variables = {"params": {name: loaded[0]["params"][name]}, "stats": {}}
    if part == "resampler":
        variables["params"] = variables["params"][name]
    return parameter_files.ParameterFile(name, part, {"name": name}, variables)


def abstract(tree: Any, shardings: Any = None) -> Any:
    """The tree's shapes and dtypes, to restore into.

    Args:
      tree: arrays, or `jax.ShapeDtypeStruct`.
      shardings: a tree of the same structure that says where each array goes; None for this
        process's first device, wherever they were when they were saved.
    """
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def make(leaf: Any, sharding: jax.sharding.Sharding = first) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(make, tree, *([] if shardings is None else [shardings]))
