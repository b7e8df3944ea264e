"""The order in which stages run, and which of them a config asks for."""

from textsr_jax.train.specs import StageSpec
from textsr_jax.train.stages import joint, pretrain, stage0, stage1, stage2
from textsr_jax.train.training import Training

# All stages that `config.stages` can name, in the order in which they run.
STAGES: tuple[StageSpec, ...] = (
    stage0.SPEC,
    pretrain.OCR,
    pretrain.FOCUS,
    stage1.SPEC,
    stage2.SPEC,
    joint.SPEC,
)


def chosen(training: Training) -> list[StageSpec]:
    """The stages that `config.stages` asks for, in their order, without those it can do without."""
    words = words_of(training.config.stages)
    return [spec for spec in STAGES if spec.chosen_by in words and spec.needed(training)]


def words_of(stages: str) -> set[str]:
    """The words of `config.stages`, such as "pretrain" and "stage1"."""
    return {word.strip() for word in stages.split(",") if word.strip()}
