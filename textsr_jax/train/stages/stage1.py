"""Stage 1: trains the SR model on pairs of LR and HR images by the text-focus loss.

SR models that a recogniser guides train it too.
"""

import jax

from textsr_jax.errors import UserError
from textsr_jax.models import GUIDED, Network, Variables, build_prior
from textsr_jax.models.located import READER
from textsr_jax.models.text_prior import PRIOR
from textsr_jax.storage import checkpoints
from textsr_jax.train import caches, comparison, loop, names, starts, steps, word_stages
from textsr_jax.train.guided import guided_loss
from textsr_jax.train.judges import SRJudge
from textsr_jax.train.located import located_loss
from textsr_jax.train.specs import Initial, Outline, StageSpec
from textsr_jax.train.stages import pretrain, stage0
from textsr_jax.train.training import Training
from textsr_jax.train.words import TrainingWords


def _learns(training: Training) -> tuple[Network, steps.Loss]:
    config, weights = training.config, training.confusion_weights
    external = training.external
    if config.sr.name in GUIDED:
        teacher = build_prior(config.sr)
        loss = guided_loss(
            training.sr, training.focus, teacher, config.stage1, weights=weights, external=external
        )
    elif config.sr.name == "lemma":
        loss = located_loss(
            training.sr, training.focus, config.stage1, weights=weights, external=external
        )
    else:
        loss = steps.super_resolution_loss(
            training.sr, training.focus, config.stage1, weights=weights, external=external
        )
    return training.sr, loss


def _make(training: Training, spec: StageSpec) -> loop.Stage:
    reader = starts.find_reader(training, pretrain.OCR, spec.name)
    return make_from(training, spec, initial_sr(training), reader)


def make_from(
    training: Training, spec: StageSpec, initial: Initial, reader: Variables | None
) -> loop.Stage:
    """A stage of the SR model. The parts of its loss are weighted as in stage 1.

    Args:
      training: what all stages share.
      spec: stage 1, or one like it.
      initial: makes the variables to start from.
      reader: variables of the recogniser that judges SR images; None without one.
    """
    reader, focus = training.placement.place(reader), focus_variables(training)
    source = spec.training_set(training).everything
    return word_stages.make_stage(
        training,
        spec,
        source,
        initial=initial,
        judge=SRJudge(training, lambda variables: (variables, reader)),
        frozen=focus | external_variables(training) | _teacher(training),
        attention=caches.hr_attention(training, spec, source, focus),
    )


def focus_variables(training: Training) -> Variables:
    """The variables of the text-focus recogniser; empty if the loss does without it."""
    if not comparison.has_text_focus(training.config.stage1):
        return {}
    return starts.load(training, pretrain.FOCUS, "focus", training.focus)


def external_variables(training: Training) -> Variables:
    """The variables of the recognisers of `config.init.external`; empty if the loss has none."""
    if not training.external:
        return {}
    return {
        comparison.EXTERNAL: {
            str(place): recognizer.variables for place, recognizer in enumerate(training.external)
        }
    }


def _teacher(training: Training) -> Variables:
    """The variables of the recogniser that a guided model learns from, under "teacher"."""
    if not starts.has_teacher(training.config):
        return {}
    return {"teacher": starts.load_prior(training)}


def initial_sr(training: Training) -> Initial:
    """Makes the variables of the SR model that stage 1 starts from."""
    start = _start(training)
    if start is None and training.config.init.prior:
        start = _start_of_recognizer(training)
    if start is None:
        return training.sr.init

    def initial(key: jax.Array) -> Variables:
        # EDSR's published file and stage 0 hold no STN: it is drawn.
        drawn = training.sr.init(key)
        return {part: drawn[part] | start[part] for part in drawn}

    return initial


def _start(training: Training) -> Variables | None:
    """The model of this workdir's stage 0, else that of `config.init.sr`; None without both."""
    config, workdir = training.config, training.workdir
    if (workdir / stage0.SPEC.name).exists():
        finished = stage0.SPEC.is_finished(training)
        file = checkpoints.load_stage0(workdir, "sr") if finished else None
        if file is None:
            raise UserError(
                f"{workdir}: stage0 has not run to its end there; run it first "
                "(--config.stages=stage0) or delete its folder"
            )
        return file.variables
    if config.init.sr:
        return checkpoints.load_start(
            config.init.sr, names.STAGE1, "sr", config.sr.name, training.sr.template
        )
    return None


def _start_of_recognizer(training: Training) -> Variables | None:
    """The recogniser of `config.init.prior` where the SR model has it; None for other models."""
    config = training.config
    if config.sr.name == "lemma":
        return {part: {READER: tree} for part, tree in starts.load_prior(training).items()}
    if config.sr.name not in GUIDED:
        return None
    # All stages' recognisers start alike, as published.
    found, stages = starts.load_prior(training), config.sr[config.sr.name].get("stages", 1)
    return {
        part: {PRIOR: {str(stage): tree for stage in range(stages)}} for part, tree in found.items()
    }


def outline(training: Training, spec: StageSpec) -> Outline:
    """The outline of a stage whose loss may read the text-focus recogniser."""
    has_focus = comparison.has_text_focus(training.config.stage1)
    frozen = training.focus.template if has_focus else {}
    frozen = frozen | external_variables(training)
    if starts.has_teacher(training.config):
        frozen = frozen | {"teacher": build_prior(training.config.sr).template}
    return word_stages.make_outline(training, spec, frozen=frozen)


SPEC = StageSpec(
    name=names.STAGE1,
    seed=2,
    settings="stage1",
    chosen_by="stage1",
    about="the SR model on pairs of words",
    reads=("lr", "hr"),
    words=TrainingWords.for_sr,
    learns=_learns,
    make=_make,
    outline=outline,
    computes="sr",
    needed=lambda training: training.sr_is_trainable,
)
