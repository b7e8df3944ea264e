"""The joint stage, an ablation: trains both models at once, in place of stages 1 and 2."""

from textsr_jax.models import Network, join, part_of, together
from textsr_jax.train import loop, names, starts, steps, word_stages
from textsr_jax.train.judges import SRJudge
from textsr_jax.train.specs import StageSpec
from textsr_jax.train.stages import pretrain, stage1
from textsr_jax.train.training import Training
from textsr_jax.train.words import TrainingWords


def _learns(training: Training) -> tuple[Network, steps.Loss]:
    config = training.config
    loss = steps.joint_loss(
        training.sr,
        training.ocr,
        training.focus,
        config.stage1,
        config.joint.reading,
        weights=training.confusion_weights,
        external=training.external,
    )
    return together(sr=training.sr, ocr=training.ocr), loss


def _make(training: Training, spec: StageSpec) -> loop.Stage:
    sr = stage1.initial_sr(training)
    ocr = starts.load(training, pretrain.OCR, "ocr", training.ocr)
    return word_stages.make_stage(
        training,
        spec,
        spec.training_set(training).everything,
        initial=lambda key: join(sr=sr(key), ocr=ocr),
        judge=SRJudge(training, lambda both: (part_of(both, "sr"), part_of(both, "ocr"))),
        frozen=stage1.focus_variables(training) | stage1.external_variables(training),
    )


SPEC = StageSpec(
    name=names.JOINT,
    seed=7,
    settings="joint",
    chosen_by="joint",
    about="the SR model and the recogniser together",
    reads=("lr", "hr"),
    words=TrainingWords.for_sr,
    learns=_learns,
    make=_make,
    outline=stage1.outline,
    computes="sr",
)
