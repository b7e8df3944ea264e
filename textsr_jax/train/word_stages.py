"""What all stages that learn from words share: their loss, their batches, and their outline."""

import functools

import jax
import numpy as np

from textsr_jax.data import batching, records
from textsr_jax.data.records import Records
from textsr_jax.models import Variables
from textsr_jax.train import augmentation, loop, steps
from textsr_jax.train.specs import Initial, Outline, StageSpec
from textsr_jax.train.training import Training
from textsr_jax.train.validation import Judge


def make_loss(training: Training, spec: StageSpec) -> steps.Loss:
    """The stage's loss as its step computes it: images taken from devices, and changed at random.

    Both are as `settings.on_device` and `settings.augment` say.
    """
    settings = spec.settings_of(training.config)
    _, loss = spec.learns(training)
    if settings.augment:
        change = augmentation.change_pairs if "lr" in spec.reads else augmentation.change_words
        loss = steps.with_augmentation(loss, change)
    return steps.with_device_images(loss) if settings.on_device else loss


def make_stage(
    training: Training,
    spec: StageSpec,
    source: Records,
    *,
    initial: Initial,
    judge: Judge,
    frozen: Variables | None = None,
    attention: np.ndarray | None = None,
) -> loop.Stage:
    """A stage that learns from words, ready to run.

    Args:
      training: what all stages share.
      spec: the stage.
      source: the records that it learns from.
      initial: makes the variables to start from.
      judge: chooses the best model.
      frozen: variables that the loss reads and no step changes; None for none.
      attention: as `batching.train_batches` takes it.
    """
    config, settings = training.config, spec.settings_of(training.config)
    held: Variables | steps.DeviceData = frozen or {}
    if settings.on_device:
        lr = records.images(source, "lr") if "lr" in spec.reads else None
        held = steps.DeviceData(frozen or {}, lr, records.images(source, "hr"))
    batches = batching.train_batches(
        source,
        batch_size=settings.batch_size // jax.process_count(),
        max_length=config.max_length,
        alphabet=training.alphabet,
        seed=spec.data_seed(config),
        attention=attention,
        images=not settings.on_device,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return loop.Stage(
        name=spec.name,
        initial=initial,
        loss=make_loss(training, spec),
        frozen=held,
        settings=settings,
        batches=batches,
        key_of=functools.partial(_key, source),
        judge=judge,
        data=spec.training_set(training).fingerprints,
    )


def make_outline(
    training: Training, spec: StageSpec, *, copies: int = 1, frozen: Variables | None = None
) -> Outline:
    """The outline of a stage that learns from words.

    Args:
      training: what all stages share.
      spec: the stage.
      copies: how many images of each word the stage learns from.
      frozen: shapes of variables that the loss reads and no step changes; None for none.
    """
    config, settings = training.config, spec.settings_of(training.config)
    count = copies * len(spec.training_set(training).everything)
    network, _ = spec.learns(training)
    held: Variables | steps.DeviceData = frozen or {}
    if settings.on_device:
        images = batching.shapes(count, config.max_length)
        held = steps.DeviceData(frozen or {}, images.lr if "lr" in spec.reads else None, images.hr)
    return Outline(
        name=spec.name,
        settings=settings,
        network=network,
        loss=make_loss(training, spec),
        frozen=held,
        batch=batching.shapes(
            settings.batch_size, config.max_length, images=not settings.on_device
        ),
        records=count,
    )


def _key(source: Records, number: int) -> str:
    return records.keys(source)[number]
