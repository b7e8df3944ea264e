"""Checkpoints on disk, through Orbax: what training resumes from, and the best model of a stage.

It stands outside the training room, so that reading a model does not import how it was trained.
"""

import contextlib
import errno
import logging
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from textsr_jax import configuration, packed_files, parameter_files
from textsr_jax.errors import UserError
from textsr_jax.models import build_rescaler, shape_difference
from textsr_jax.models.network import leaves_by_path
from textsr_jax.quantization import dequantize

_logger = logging.getLogger(__name__)


class Checkpoints:
    """A folder of checkpoints, the newest few of them kept; each is an array tree and a record.

    Orbax writes into a temporary folder and renames it, so a run that is killed while saving leaves
    the checkpoints before it untouched.

    Args:
      directory: made where it is missing.
      keep: how many checkpoints stay.
    """

    def __init__(self, directory: pathlib.Path, keep: int = 2):
        self.directory = pathlib.Path(directory).resolve()
        sys.unraisablehook = _without_late_callbacks
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
        arguments = ocp.args.Composite(
            tree=ocp.args.StandardSave(tree), record=ocp.args.JsonSave(record)
        )
        with self._disk_errors():
            self._manager.save(step, args=arguments, force=True)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def last_record(self) -> dict[str, Any]:
        """The record of the newest checkpoint; empty if it cannot be read."""
        arguments = ocp.args.Composite(record=ocp.args.JsonRestore())
        try:
            return self._manager.restore(self.steps()[-1], args=arguments)["record"]
        except Exception:  # as in `restore`, which says so when the run goes on
            return {}

    def restore(self, template: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The newest checkpoint that can be read: its step, tree and record; None if there is none.

        A checkpoint that cannot be read is left out with a warning; the one before it is taken.

        Args:
          template: the tree's structure as arrays or `jax.ShapeDtypeStruct`, with shardings.

        Raises:
          UserError: there are checkpoints, and none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            arguments = ocp.args.Composite(
                tree=ocp.args.StandardRestore(template), record=ocp.args.JsonRestore()
            )
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    restored = self._manager.restore(step, args=arguments)
                return step, restored["tree"], restored["record"]
            except Exception as error:  # Orbax and TensorStore raise many kinds for damaged files
                reason = str(error).strip().splitlines()[0][:120] if str(error) else repr(error)
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
            folder = self.directory / str(self.steps()[-1]) / "tree"
            there = ocp.StandardCheckpointHandler().metadata(folder).tree
        except Exception:  # there is none, or it is damaged, which `restore` finds
            return
        if difference := shape_difference(there, template):
            path, found, wanted = difference
            raise UserError(
                f"{self.directory}: another network was saved there, its {path} is {found}, by the "
                f"config it is {wanted}; take the sizes of its config.json, or another model"
            )

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints behind `step`: unreadable ones, which newer ones replace."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

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


def _without_late_callbacks(unraisable: Any) -> None:
    """Prints errors that nobody can catch, as Python does, but for one.

    When a save fails, TensorStore's other writes end after Orbax has closed its event loop, and
    each of them would print that it could not call back.
    """
    late = unraisable.exc_type is RuntimeError
    if not (late and str(unraisable.exc_value) == "Event loop is closed"):
        sys.__unraisablehook__(unraisable)


def best_directory(workdir: pathlib.Path, stage: str) -> pathlib.Path:
    return workdir / stage / "best"


def load_best(
    workdir: str | pathlib.Path, stage: str, template: Any
) -> tuple[Any, dict[str, Any]] | None:
    """The best model of a stage, by validation, and its record; None if the stage has none yet.

    Raises:
      UserError: the model cannot be read, was saved by another network than `template`'s, or has
        values that are not finite.
    """
    directory = best_directory(pathlib.Path(workdir), stage)
    if not directory.is_dir():
        return None
    checkpoints = Checkpoints(directory)
    try:
        checkpoints.check_shapes(template)
        restored = checkpoints.restore(template)
    finally:
        checkpoints.close()
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
    if part == "resampler" or (part == "sr" and not best_directory(path, stage).is_dir()):
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
    if not best_directory(pathlib.Path(workdir), "stage0").is_dir():
        return None
    # Checkpoints are read whole, so the shapes of both networks are needed.
    config = configuration.load(workdir)
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
