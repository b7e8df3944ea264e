"""Runs a training: the stages that a config asks for, one after another, in a workdir.

Stage 0, which is optional, trains EDSR with a resampler, as a start for stage 1. Pre-training
trains both recognisers, stage 1 the SR model, stage 2 the recogniser on SR images. The joint stage,
an ablation, trains both models at once in place of stages 1 and 2. Every stage keeps the model that
scores best on data held out from training; `judges` says how.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from textsr_jax import data
from textsr_jax.config.checks import checked
from textsr_jax.config.settings import Data, Experiment
from textsr_jax.runtime.compilation import keep_compiled
from textsr_jax.storage import locks, workdirs
from textsr_jax.train import checks, loop, plan, run_file, starts, stopping, trained_on
from textsr_jax.train import mesh as meshes
from textsr_jax.train.names import STAGE1, WORDS
from textsr_jax.train.profiling import Window
from textsr_jax.train.specs import Outline, StageSpec
from textsr_jax.train.stages import stage0
from textsr_jax.train.training import Training, open_training
from textsr_jax.train.words import TrainingWords


def train(
    config: ConfigDict | Experiment,
    workdir: pathlib.Path,
    again: str,
    profile: Window | None = None,
) -> None:
    """Runs the stages of `config.stages` in `workdir`; each goes on where it was left.

    Args:
      config: the experiment.
      workdir: gets a folder for each stage, the config, and run.json.
      again: the command that goes on with the run, for the message when it is stopped.
      profile: the steps of each stage to trace; None for none.

    Raises:
      UserError: a config or a data set that cannot be trained, a stage whose start is missing, or
        another training in the workdir.
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
    """
    config = checked(config)
    with stopping.listening(again), contextlib.ExitStack() as held:
        training = _checked(config, workdir)
        specs = plan.chosen(training)
        ready = _prepare(training, specs)
        held.enter_context(locks.held(workdir))
        _open_workdir(config, workdir, again)
        if STAGE1 in plan.words_of(config.stages) and not training.sr_is_trainable:
            meshes.say(f"{STAGE1}: {config.sr.name} has nothing to train")
        for number, spec in enumerate(specs, 1):
            settings = spec.settings_of(config)
            place = f"stage {number} of {len(specs)}: {spec.name}"
            if spec.is_finished(training):
                meshes.say(f"{place}, done already")
                continue
            steps = f"{settings.steps:,} steps of {settings.batch_size}"
            meshes.say(f"{place}, {spec.about}: {steps}")
            begun = time.perf_counter()
            stage = ready.pop(spec.name, None) or spec.make(training, spec)
            key = spec.key(config)
            loop.run(stage, workdir, training.placement, key, again, begun, profile)
            stopping.check()


def outlines(config: ConfigDict | Experiment) -> tuple[list[Outline], meshes.Placement]:
    """Outlines of the stages of `config.stages` in their order, and the placement they would have.

    Nothing is drawn, decoded, compiled or written. Words are counted as `data.count` counts.

    Raises:
      UserError: as `train`.
    """
    config = checked(config)
    workdir = pathlib.Path("a workdir that is not there")
    training = _checked(config, workdir, data.count)
    return [spec.outline(training, spec) for spec in plan.chosen(training)], training.placement


def _checked(
    config: Experiment,
    workdir: pathlib.Path,
    load_words: Callable[[Data], data.WordPairs] = data.load,
) -> Training:
    """What the stages of a config share; raises `UserError` if they cannot be trained."""
    chosen = plan.words_of(config.stages)
    for spec in plan.STAGES:
        # Stage 0's settings fit photographs and no other stage reads them.
        if spec is not stage0.SPEC or spec.chosen_by in chosen:
            checks.check_devices(config, spec.settings)
    checks.check_joint(chosen, workdir)
    training = open_training(config, workdir, load_words=load_words)
    of_words = [spec for spec in plan.chosen(training) if spec.words is not None]
    if any(spec.drawn(config) for spec in of_words):
        checks.check_drawing(config)
        reads = not all(spec.draws_all(config) for spec in of_words)
        words = TrainingWords(config, load_words, reads=reads)
        training = dataclasses.replace(training, words=words)
    if chosen - {stage0.SPEC.chosen_by}:
        checks.check_words(training)
    if any(spec.words is TrainingWords.for_recognizers for spec in of_words):
        # Opened now, so that a wrong path is found before hours of stage 0.
        _ = training.words.lmdbs
    checks.check_joint_trains(chosen, training)
    if STAGE1 in chosen:
        starts.has_teacher(config)
    return training


def _prepare(training: Training, specs: list[StageSpec]) -> dict[str, loop.Stage]:
    """Checks and makes what can be before the workdir is touched; returns stages by name.

    Raises:
      UserError: a stage was trained on other words, or stage 0 cannot be made.
    """
    chosen = plan.words_of(training.config.stages)
    if chosen - {stage0.SPEC.chosen_by}:
        of_words = tuple(
            spec.name
            for spec in plan.STAGES
            if spec.words is not None and not spec.draws_all(training.config)
        )
        fingerprints = {WORDS: training.words.data_set.training}
        trained_on.check_stages(training.workdir, of_words, fingerprints)
    return {
        spec.name: spec.make(training, spec)
        for spec in specs
        if spec is stage0.SPEC and not spec.is_finished(training)
    }


def _open_workdir(config: Experiment, workdir: pathlib.Path, again: str) -> None:
    """Saves the config, or compares it with the one that is there, and notes the start."""
    if jax.process_index() == 0:
        workdirs.save_config(config, workdir)
    meshes.wait_for_all("config")
    # Every process compares, and so finds a workdir that they do not share.
    workdirs.save_config(config, workdir)
    keep_compiled()
    if jax.process_index() == 0:
        run_file.note_start(workdir, config, again)
