"""What a training refuses before it starts: choices that exclude each other, data, devices."""

import operator
import pathlib

import jax

from textsr_jax import text
from textsr_jax.config.settings import DrawnOptimization, Experiment, Optimization
from textsr_jax.data import drawing
from textsr_jax.errors import UserError
from textsr_jax.models import GUIDED
from textsr_jax.train import mesh as meshes
from textsr_jax.train.names import JOINT, STAGE0, STAGE1, STAGE2
from textsr_jax.train.training import Training


def check_devices(config: Experiment, field: str) -> None:
    """Refuses settings that the devices, or the stage's data, cannot do.

    Args:
      config: the experiment.
      field: a stage's settings in it, such as "pretrain.ocr".

    Raises:
      UserError: images of stage 0, or of LMDBs, shall lie on devices, or the devices do not divide
        a batch, or its drawn and read words.
    """
    settings: Optimization = operator.attrgetter(field)(config)
    if settings.on_device and field == STAGE0:
        raise UserError(
            f"config.{field}.on_device=True: photographs are cropped anew; set it False"
        )
    if settings.on_device and field.startswith("pretrain.") and config.data.words:
        raise UserError(
            f"config.{field}.on_device=True: the words of config.data.words are read as they come; "
            "set it False"
        )
    meshes.check_batch_size(settings.batch_size, f"{field}.batch_size", settings.accumulate)
    if isinstance(settings, DrawnOptimization) and settings.drawn:
        _check_drawn(settings, field)


def _check_drawn(settings: DrawnOptimization, field: str) -> None:
    size, devices = settings.batch_size, jax.device_count()
    count = round(settings.drawn * size)
    if count % devices or not count:
        fitting = min(max(1, round(count / devices)) * devices, size) / size
        raise UserError(
            f"config.{field}.drawn={settings.drawn:g}: {count} of {size} words would be drawn, and "
            f"{devices} devices share a whole number of them evenly; take {fitting:g}"
        )


def check_drawing(config: Experiment) -> None:
    """Refuses words that cannot be drawn in a step, before anything is prepared.

    Raises:
      UserError: the fonts or the word list are not installed, or no word has a length that
        `config.data.synthetic` and `config.max_length` allow.
    """
    drawing.draw_settings(
        config.data.synthetic,
        batch_size=1,
        max_length=config.max_length,
        alphabet=text.ALPHABETS[config.alphabet],
    )


def check_joint(chosen: set[str], workdir: pathlib.Path) -> None:
    """Refuses the joint stage and stages 1 and 2 in the same workdir.

    Args:
      chosen: the words of `config.stages`.
      workdir: where stages may have run before.

    Raises:
      UserError: both are chosen, or one is chosen and the other was run.
    """
    for name in (STAGE1, STAGE2) if JOINT in chosen else (JOINT,):
        if name in chosen or (workdir / name).exists():
            raise UserError(
                f"{workdir}: {JOINT} stands in place of {STAGE1} and {STAGE2}, but {name} is "
                "chosen or was run there too; take another --workdir or change --config.stages"
            )


def check_words(training: Training) -> None:
    """Refuses a data set without training or validation words.

    Raises:
      UserError: there are none.
    """
    data_set = training.words.data_set
    if not len(data_set.train) or not len(data_set.validation):
        raise UserError(
            f"{data_set.title}: {len(data_set.train)} training and {len(data_set.validation)} "
            "validation words; training needs some of both (folders train1, train2 or train_*)"
        )


def check_joint_trains(chosen: set[str], training: Training) -> None:
    """Refuses the joint stage for an SR model without parameters, or with a recogniser inside.

    Raises:
      UserError: the joint stage is chosen, and the SR model is one of those.
    """
    if JOINT in chosen and training.config.sr.name in (*GUIDED, "lemma"):
        raise UserError(
            f"config.stages={training.config.stages}: {JOINT} has no loss for the recogniser of "
            f"{training.config.sr.name}; take {STAGE1} and {STAGE2}"
        )
    if JOINT in chosen and not training.sr_is_trainable:
        config = training.config
        raise UserError(
            f"config.stages={config.stages}: {config.sr.name} has nothing to train, so that "
            f"{JOINT} would be {STAGE2}; take that"
        )
