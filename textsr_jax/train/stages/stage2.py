"""Stage 2: fine-tunes the recogniser on the images of the frozen SR model.

The images are made once and kept in the stage's folder.
"""

import functools
from collections.abc import Callable

import numpy as np

from textsr_jax.data.batching import Concatenated, Replaced
from textsr_jax.data.records import Records
from textsr_jax.models import Network, Variables, build_sr
from textsr_jax.train import caches, loop, names, starts, steps, word_stages
from textsr_jax.train.judges import RecognizerJudge
from textsr_jax.train.specs import Initial, Outline, StageSpec
from textsr_jax.train.stages import pretrain, stage1
from textsr_jax.train.training import Training
from textsr_jax.train.words import TrainingWords

# What `config.stage2.images` may be, and the kinds of images that each stands for.
IMAGES = {"sr": ("sr",), "hr": ("hr",), "both": ("sr", "hr")}

# Gives the SR images of a source, uint8 (len(source), 32, 128, 3), which it may keep by a name.
SRImages = Callable[[str, Records], np.ndarray]


def _learns(training: Training) -> tuple[Network, steps.Loss]:
    return training.ocr, steps.recognizer_loss(training.ocr)


def _make(training: Training, spec: StageSpec) -> loop.Stage:
    variables = _trained_sr(training)
    sr = build_sr(training.config.sr, variables)
    images = functools.partial(caches.sr_images, training, spec, sr, variables)
    start = starts.load(training, pretrain.OCR, "ocr", training.ocr)
    return make_from(training, spec, lambda key: start, images)


def _trained_sr(training: Training) -> Variables:
    """The SR model of stage 1, or that of `config.init.sr` where stage 1 was not run."""
    if not training.sr_is_trainable:
        return training.sr.template
    if training.config.init.sr and not (training.workdir / stage1.SPEC.name).exists():
        return starts.load(training, stage1.SPEC, "sr", training.sr)
    return starts.load_best(training, stage1.SPEC, "sr", training.sr)


def make_from(
    training: Training, spec: StageSpec, initial: Initial, images: SRImages
) -> loop.Stage:
    """A stage of the recogniser on SR images, HR images or both, by `config.stage2.images`.

    SR images judge it in each case.

    Args:
      training: what all stages share.
      spec: stage 2, or one like it.
      initial: makes the variables to start from.
      images: gives SR images of the training words and of "validation_SPLIT".
    """
    learned = [
        Replaced(source, images(name, source)) if kind == "sr" else source
        for name, source in spec.training_set(training).sources.items()
        for kind in IMAGES[training.config.stage2.images]
    ]
    splits = {
        name: Replaced(source, images(f"validation_{name}", source))
        for name, source in training.words.data_set.validation_splits.items()
    }
    return word_stages.make_stage(
        training,
        spec,
        Concatenated(learned),
        initial=initial,
        judge=RecognizerJudge(training, splits),
    )


def outline(training: Training, spec: StageSpec) -> Outline:
    """The outline of a stage that learns from one or two images of each word."""
    copies = len(IMAGES[training.config.stage2.images])
    return word_stages.make_outline(training, spec, copies=copies)


SPEC = StageSpec(
    name=names.STAGE2,
    seed=3,
    settings="stage2",
    chosen_by="stage2",
    about="the recogniser, fine-tuned",
    reads=("hr",),
    words=TrainingWords.for_fine_tuning,
    learns=_learns,
    make=_make,
    outline=outline,
    computes="ocr",
)
