"""Pre-training, two stages: the recogniser, and the recogniser inside the text-focus loss.

Both learn from HR images of words. A recogniser that `config.init` names takes a stage's place.
"""

from textsr_jax.models import Network
from textsr_jax.train import comparison, loop, names, starts, steps, word_stages
from textsr_jax.train.judges import FocusJudge, RecognizerJudge
from textsr_jax.train.specs import Initial, StageSpec
from textsr_jax.train.training import Training
from textsr_jax.train.words import TrainingWords


def _learns_ocr(training: Training) -> tuple[Network, steps.Loss]:
    return training.ocr, steps.recognizer_loss(training.ocr)


def _make_ocr(training: Training, spec: StageSpec) -> loop.Stage:
    return word_stages.make_stage(
        training,
        spec,
        spec.training_set(training).everything,
        initial=_initial_ocr(training, spec),
        judge=RecognizerJudge(training, training.words.data_set.validation_splits),
    )


def _initial_ocr(training: Training, spec: StageSpec) -> Initial:
    init = training.config.init.pretrain
    if not init:
        return training.ocr.init
    start = starts.load_recognizer(training, spec, init, f"config.init.pretrain={init}")
    return lambda key: start


def _learns_focus(training: Training) -> tuple[Network, steps.Loss]:
    return training.focus, steps.focus_loss(training.focus)


def _make_focus(training: Training, spec: StageSpec) -> loop.Stage:
    return word_stages.make_stage(
        training,
        spec,
        spec.training_set(training).everything,
        initial=training.focus.init,
        judge=FocusJudge(training),
    )


def _focus_is_needed(training: Training) -> bool:
    config = training.config
    has_loss = comparison.has_text_focus(config.stage1)
    return training.sr_is_trainable and not config.init.focus and has_loss


OCR = StageSpec(
    name=names.PRETRAIN_OCR,
    seed=0,
    settings="pretrain.ocr",
    chosen_by="pretrain",
    about="the recogniser on words",
    reads=("hr",),
    words=TrainingWords.for_recognizers,
    learns=_learns_ocr,
    make=_make_ocr,
    outline=word_stages.make_outline,
    computes="ocr",
    needed=lambda training: not training.config.init.ocr,
)

FOCUS = StageSpec(
    name=names.PRETRAIN_FOCUS,
    seed=1,
    settings="pretrain.focus",
    chosen_by="pretrain",
    about="the recogniser of the text-focus loss on words",
    reads=("hr",),
    words=TrainingWords.for_recognizers,
    learns=_learns_focus,
    make=_make_focus,
    outline=word_stages.make_outline,
    computes="focus",
    needed=_focus_is_needed,
)
