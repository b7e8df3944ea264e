"""Quantisation-aware fine-tuning, two stages: both models learn to work with rounded weights."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable

import jax

from textsr_jax import text
from textsr_jax.config.checks import checked
from textsr_jax.config.settings import Experiment
from textsr_jax.errors import UserError
from textsr_jax.models import Variables, build_ocr, build_sr
from textsr_jax.storage import checkpoints
from textsr_jax.train import caches, checks, loop, names
from textsr_jax.train.specs import StageSpec
from textsr_jax.train.stages import stage1, stage2
from textsr_jax.train.training import Training, open_training

# Simulates quantisation: variables to rounded ones of the same shapes, with gradients.
Simulate = Callable[[Variables], Variables]


def fine_tune_quantized(
    config: Experiment,
    workdir: pathlib.Path,
    sr: tuple[Variables, Simulate],
    ocr: tuple[Variables, Simulate],
    suffix: str,
    again: str,
) -> tuple[Variables, Variables]:
    """Fine-tunes both models so that they work with quantised weights.

    The SR model goes on with its stage-1 loss. Then the recogniser learns from the images of the
    quantised SR model. Every step computes with simulated weights; the gradient goes to the weights
    behind them. An STN that evaluation leaves out is not rounded. A run that was stopped goes on
    like any stage.

    Args:
      config: `quantization.finetune_sr` and `.finetune_ocr` are the stages' settings.
      workdir: a workdir of train.py with the text-focus recogniser. Each stage gets a folder in it.
      sr, ocr: the variables to start from, and the pure function that simulates their quantisation
        with straight-through gradients (`quantization.simulate`).
      suffix: the end of the folders' names; tells one setting from another.
      again: the command that goes on with the run, for the message when it is stopped.

    Returns:
      The variables of both models, not quantised, that scored best on the validation words when
      quantised.

    Raises:
      UserError: the data set has no training words, a model is missing, or the config has a value
        that it cannot have.
      Stopped: after Ctrl-C or SIGTERM; everything is saved.
    """
    config = checked(config)
    (sr_start, simulate_sr), (ocr_start, simulate_ocr) = sr, ocr
    if config.sr.apply_stn == "train":
        simulate_sr = sparing_stn(simulate_sr)
    sr_spec = sr_stage(suffix, sr_start, ocr_start)
    for field in (sr_spec.settings, f"quantization.{names.FINETUNE_OCR}"):
        checks.check_devices(config, field)
    training = open_training(
        config,
        workdir,
        sr=build_sr(config.sr, sr_start).through(simulate_sr),
        ocr=build_ocr(config.ocr, text.ALPHABETS[config.alphabet]).through(simulate_ocr),
    )
    sr_tuned = sr_start
    if jax.tree.leaves(sr_start):
        sr_tuned = _tune(training, sr_spec, sr_start, again)
    ocr_tuned = _tune(training, ocr_stage(suffix, sr_tuned, ocr_start), ocr_start, again)
    return sr_tuned, ocr_tuned


def sr_stage(suffix: str, start: Variables, reader: Variables) -> StageSpec:
    """The stage that fine-tunes the SR model.

    Args:
      suffix: the end of the folder's name.
      start: the variables to start from.
      reader: variables of the recogniser that judges SR images.
    """

    def make(training: Training, spec: StageSpec) -> loop.Stage:
        return stage1.make_from(training, spec, lambda key: start, reader)

    return dataclasses.replace(
        stage1.SPEC,
        name=f"{names.FINETUNE_SR}-{suffix}",
        seed=4,
        settings=f"quantization.{names.FINETUNE_SR}",
        about="the SR model, to work with quantised weights",
        make=make,
    )


def ocr_stage(suffix: str, sr_variables: Variables, start: Variables) -> StageSpec:
    """The stage that fine-tunes the recogniser on images of the quantised SR model.

    Args:
      suffix: the end of the folder's name.
      sr_variables: of the SR model, not quantised.
      start: the variables to start from.
    """

    def make(training: Training, spec: StageSpec) -> loop.Stage:
        # The folder's name tells how the model is quantised.
        images = functools.partial(caches.sr_images, training, spec, training.sr, sr_variables)
        return stage2.make_from(training, spec, lambda key: start, images)

    return dataclasses.replace(
        stage2.SPEC,
        name=f"{names.FINETUNE_OCR}-{suffix}",
        seed=5,
        settings=f"quantization.{names.FINETUNE_OCR}",
        about="the recogniser, to work with quantised weights",
        make=make,
    )


def _tune(training: Training, spec: StageSpec, start: Variables, again: str) -> Variables:
    """The best model of a stage, which is run if it has not ended."""
    if not spec.is_finished(training):
        begun, key = time.perf_counter(), spec.key(training.config)
        stage = spec.make(training, spec)
        loop.run(stage, training.workdir, training.placement, key, again, begun)
    template = checkpoints.abstract(start)
    loaded = checkpoints.load_best(training.workdir, spec.name, template)
    if loaded is None:
        raise UserError(f"{training.workdir}: the model of {spec.name} is gone; delete that folder")
    return loaded[0]


def sparing_stn(simulate: Simulate) -> Simulate:
    """`simulate`, but the STN keeps its own weights and statistics.

    For an STN that runs in training only. Rounded weights would distort images there and would
    change nothing elsewhere.
    """

    def spared(variables: Variables) -> Variables:
        simulated = simulate(variables)
        return {
            kind: tree | {name: variables[kind][name] for name in tree if name == "stn"}
            for kind, tree in simulated.items()
        }

    return spared
