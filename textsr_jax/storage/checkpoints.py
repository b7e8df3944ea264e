"""Checkpoints on disk, through Orbax: what training resumes from, and the best model of a stage.

Reading a model needs this module, but nothing of `textsr_jax.train`.
"""

import contextlib
import errno
import logging
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from textsr_jax.errors import StoreError, UserError
from textsr_jax.models import Variables, build_rescaler, shape_difference
from textsr_jax.models.network import leaves_by_path
from textsr_jax.quantization import dequantize
from textsr_jax.runtime import paths
from textsr_jax.storage import digests, packed_files, packed_leaves, parameter_files, workdirs
from textsr_jax.storage.agreement import agreed, from_first
from textsr_jax.storage.step_objects import StepObjects, Uploads

_logger = logging.getLogger(__name__)

# The items of a checkpoint, each a folder.
_TREE, _RECORD, _DIGESTS = "tree", "record", "digests"
# A tree of arrays, or of their shapes and dtypes.
Tree = TypeVar("Tree")


class SavedCheckpoints:
    """A folder of checkpoints, to read only; another process may write there meanwhile.

    A checkpoint holds a tree of arrays, a JSON record, and the digests of both.

    Args:
      directory: the folder, or a URL as `paths.named` returns it; it need not exist.
    """

    def __init__(self, directory: pathlib.Path):
        self._objects = StepObjects(directory) if paths.is_url(directory) else None
        self.directory = directory if self._objects else pathlib.Path(directory).resolve()

    def steps(self) -> list[int]:
        """Returns the steps that have a complete checkpoint, oldest first."""
        if self._objects:
            return self._objects.steps()
        found = self.directory.iterdir() if self.directory.is_dir() else ()
        whole = [
            int(path.name)
            for path in found
            if path.name.isdecimal() and all((path / item).is_dir() for item in (_TREE, _RECORD))
        ]
        return from_first(sorted(whole))

    def record(self, step: int) -> dict[str, Any]:
        """Returns the record of a checkpoint; empty if it is damaged or was deleted.

        Raises:
          StoreError: the store cannot be read. So do all methods.
        """
        try:
            record = self._restore(step, record=ocp.args.JsonRestore())[_RECORD]
            _check_record(record, self._digests(step))
            return record
        except StoreError:
            raise
        except Exception:  # the many kinds that `restore` warns of
            return {}

    def last_record(self) -> dict[str, Any]:
        """Returns the newest checkpoint's record; empty if it is damaged or there is none."""
        steps = self.steps()
        return self.record(steps[-1]) if steps else {}

    def restore(self, template: Tree) -> tuple[int, Tree, dict[str, Any]] | None:
        """Returns the step, tree and record of the newest sound checkpoint; None if there is none.

        A checkpoint is skipped with a warning if it cannot be read or differs from its digests.
        Then the one before it is read. Checkpoints of older versions have no digests.

        Args:
          template: the tree's structure as arrays or `jax.ShapeDtypeStruct`, with shardings.

        Raises:
          UserError: there are checkpoints, but none can be read.
        """
        steps: list[int] = []
        # Another process may have replaced all of them by newer ones.
        while (now := self.steps()) != steps:
            steps = now
            for step in reversed(steps):
                try:
                    return step, *self._read(step, template)
                except StoreError:  # the checkpoint may be sound
                    raise
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

    def check_shapes(self, template: Variables) -> None:
        """Raises `UserError` if the newest checkpoint is sound but of another network."""
        try:
            step = self.steps()[-1]
            noted = self._digests(step)
            if noted is None:
                with self._on_disk(step, [_TREE]) as folder:
                    there = ocp.StandardCheckpointHandler().metadata(folder / _TREE).tree
            else:
                there = digests.shapes(noted["arrays"])
        except StoreError:
            raise
        except Exception:  # there is none; or it is damaged, and `restore` says so
            return
        if difference := shape_difference(there, template):
            path, found, wanted = difference
            raise UserError(
                f"{self.directory}: another network was saved there: {path} is {found} there and "
                f"{wanted} by the config; take the sizes of its config.json, or another model"
            )

    def _restore(self, step: int, **items: Any) -> Any:
        with warnings.catch_warnings():
            # Where the template has no shardings Orbax warns that it takes those of the file.
            warnings.simplefilter("ignore", UserWarning)
            handler = ocp.CompositeCheckpointHandler()
            with (
                self._on_disk(step, items) as folder,
                contextlib.closing(ocp.Checkpointer(handler)) as checkpointer,
            ):
                return checkpointer.restore(folder, args=ocp.args.Composite(**items))

    def _on_disk(
        self, step: int, items: Iterable[str]
    ) -> contextlib.AbstractContextManager[pathlib.Path]:
        """The folder of a step, or a copy of some items of a store's."""
        if self._objects:
            return self._objects.on_disk(step, items)
        return contextlib.nullcontext(self.directory / str(step))

    def _digests(self, step: int) -> dict[str, Any] | None:
        """Returns the digests of a checkpoint; None for one of an older version."""
        if not (self.directory / str(step) / _DIGESTS).is_dir():
            return None
        noted = self._restore(step, digests=ocp.args.JsonRestore())[_DIGESTS]
        content = {name: noted[name] for name in ("arrays", "record")}
        if noted["digests"] != digests.of_json(content):
            raise ValueError("its digests are damaged")
        return content

    def _read(self, step: int, template: Tree) -> tuple[Tree, dict[str, Any]]:
        """Returns the tree and the record of a checkpoint; raises any error if it is damaged.

        If one of several processes finds it damaged, this raises in all of them.
        """
        with agreed():
            noted = self._digests(step)
            restored = self._restore(
                step, tree=ocp.args.StandardRestore(template), record=ocp.args.JsonRestore()
            )
            tree, record = restored[_TREE], restored[_RECORD]
        with agreed():
            _check_record(record, noted)
            found = {} if noted is None else digests.of_arrays(tree)
            for path, expected in ({} if noted is None else noted["arrays"]).items():
                if found.get(path) != expected:
                    raise ValueError(f"{path} is not what was saved")
        return tree, record


class Checkpoints(SavedCheckpoints):
    """A folder of checkpoints that one training writes; the newest few of them are kept.

    Orbax writes into a temporary folder and renames it. A run that is killed while it saves leaves
    earlier checkpoints as they are. Its temporary folder is deleted here. The checkpoints of a URL
    are written on a disk and then copied there.

    Args:
      directory: the folder, made if it is missing; or a URL as `paths.named` returns it.
      keep: how many checkpoints stay; None for all.
    """

    def __init__(self, directory: pathlib.Path, keep: int | None = 2):
        super().__init__(directory)
        folder, self._uploads = self.directory, None
        if self._objects:
            with self._disk_errors():
                self._objects.delete_unfinished()
            self._uploads = Uploads(self._objects, keep)
            folder, keep = self._uploads.folder, 1
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(folder, options=options)

    def save(self, step: int, tree: object, record: dict[str, Any]) -> None:
        """Saves `tree` and the JSON-able `record` under `step`, in the background.

        Raises:
          UserError: the disk is full, or was full in the save before; earlier checkpoints stay.
        """
        if self._uploads or step in self._manager.all_steps():
            self.wait()
        if step in self._all_steps():
            self.discard([step])
        noted: dict[str, Any] = {
            "arrays": digests.of_arrays(tree),
            "record": digests.of_json(record),
        }
        noted["digests"] = digests.of_json(noted)
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree),
            record=ocp.args.JsonSave(record),
            digests=ocp.args.JsonSave(noted),
        )
        with self._disk_errors():
            self._manager.save(step, args=arguments, force=True)
            if self._uploads:
                self._uploads.begin(step, self._manager.wait_until_finished)

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints after `step`: they cannot be read, and new ones replace them."""
        self.discard([later for later in self._all_steps() if later > step])

    def discard(self, steps: Iterable[int]) -> None:
        """Deletes the checkpoints of some steps."""
        with self._disk_errors():
            for step in sorted(steps):
                if self._objects:
                    self._objects.delete(step)
                if not self._objects or step in self._manager.all_steps():
                    self._manager.delete(step)

    def wait(self) -> None:
        """Waits for a save in the background; raises its error, as `save` does."""
        with self._disk_errors():
            if self._uploads:
                self._uploads.wait()
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for a save in the background, as `wait` does."""
        with self._disk_errors(), contextlib.ExitStack() as last:
            if self._uploads:
                last.callback(self._uploads.close)
                self._uploads.wait()
            self._manager.close()

    def _all_steps(self) -> Iterable[int]:
        return self._objects.steps() if self._objects else self._manager.all_steps()

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


def _check_record(record: dict[str, Any], noted: dict[str, Any] | None) -> None:
    if noted is not None and digests.of_json(record) != noted["record"]:
        raise ValueError("its record is not what was saved")


def load_best(
    workdir: str | pathlib.Path, stage: str, template: Variables
) -> tuple[Variables, dict[str, Any]] | None:
    """Returns a stage's best model, by validation, and its record; None if there is none yet.

    Raises:
      UserError: the model cannot be read, is of another network than `template`, or has values
        that are not finite.
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
    init: str, stage: str, part: str, name: str, template: Variables, place: str | None = None
) -> Variables:
    """Returns the variables that `config.init` names, dequantised.

    They are in a parameter file, in a packed file, or the best model of `stage` in a workdir. A
    workdir without an SR model of that stage gives the one of stage 0, which has no STN. The
    recogniser of a packed file may be a fine-tuned one.

    Args:
      init: the path.
      stage: the stage's folder in a workdir.
      part: which model: "sr", "ocr", "focus" or "resampler".
      name: the network's name in the config.
      template: the tree's shapes. A file may lack the STN.
      place: how the user named the path, for messages; None for config.init.PART.

    Raises:
      UserError: there is no such model, or it belongs to another network.
    """
    path = paths.named(init).expanduser()
    place = place or f"config.init.{part}={init}"
    if path.is_file():
        file = _of_packed(path, part) or parameter_files.load(path)
        return parameter_files.variables_for(file, part, name, template, place)
    if not path.exists():
        raise UserError(f"{place}: no such parameter file, packed file or workdir")
    if part == "resampler" or (part == "sr" and not workdirs.best_directory(path, stage).is_dir()):
        stage0 = load_stage0(path, part)
        if stage0 is not None:
            return parameter_files.variables_for(stage0, part, name, template, place)
    loaded = load_best(path, stage, abstract(template))
    if loaded is None:
        raise UserError(
            f"{place}: no model of {stage} there; name a parameter file, a packed file or another "
            "workdir"
        )
    return loaded[0]


def _of_packed(path: pathlib.Path, part: str) -> parameter_files.ParameterFile | None:
    """Returns one model of a packed file, dequantised; None if `path` holds no such model."""
    if part not in packed_leaves.PARTS or not packed_files.is_packed_file(path):
        return None
    packed = packed_files.load(path)
    settings = packed.experiment(path)[part].to_dict()
    variables = jax.tree.map(np.asarray, dequantize(getattr(packed, part)))
    return parameter_files.ParameterFile(settings["name"], part, settings, variables)


def load_stage0(workdir: str | pathlib.Path, part: str) -> parameter_files.ParameterFile | None:
    """Returns a workdir's best "resampler" or "sr" of stage 0; None if there is none yet.

    Raises:
      UserError: `workdir` is not one, or the model cannot be read.
    """
    if not workdirs.best_directory(workdir, "stage0").is_dir():
        return None
    # Checkpoints are read completely, so the shapes of both networks are needed.
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


def abstract(tree: Tree, shardings: Any = None) -> Tree:
    """Returns a tree of `jax.ShapeDtypeStruct` to restore into.

    Args:
      tree: arrays, or `jax.ShapeDtypeStruct`.
      shardings: a tree of the same structure with the sharding of each array; None to put all on
        this process's first device, wherever they were when they were saved.
    """
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def make(
        leaf: jax.Array | jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding = first
    ) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(make, tree, *([] if shardings is None else [shardings]))
