"""What all stages that learn from words share: their loss, their batches, and their outline."""

import functools
from typing import Any

import jax
import numpy as np

from textsr_jax.data import batching, drawing, records
from textsr_jax.data.drawing import DrawSettings
from textsr_jax.data.records import Records
from textsr_jax.models import Variables
from textsr_jax.train import augmentation, drawn_words, loop, steps
from textsr_jax.train.specs import Initial, Outline, StageSpec
from textsr_jax.train.training import Training
from textsr_jax.train.validation import Judge


def make_loss(training: Training, spec: StageSpec) -> steps.Loss:
    """The stage's loss as its step computes it: images taken from devices, and changed at random.

    Both are as `settings.on_device` and `settings.augment` say. Where words are drawn, the step
    takes images from devices before the loss.
    """
    settings = spec.settings_of(training.config)
    _, loss = spec.learns(training)
    if settings.augment:
        change = augmentation.change_pairs if "lr" in spec.reads else augmentation.change_words
        loss = steps.with_augmentation(loss, change)
    on_device = settings.on_device and not spec.drawn(training.config)
    return steps.with_device_images(loss) if on_device else loss


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
      source: the records that it learns from, without those that its training set has beside
        them; not read where it draws all words in its steps.
      initial: makes the variables to start from.
      judge: chooses the best model.
      frozen: variables that the loss reads and no step changes; None for none.
      attention: as `batching.train_batches` takes it.
    """
    config, settings = training.config, spec.settings_of(training.config)
    learned = spec.training_set(training)
    drawn, reads = spec.drawn(config), not spec.draws_all(config)
    held: Any = frozen or {}
    batches: Any = None
    if reads and settings.on_device:
        lr = records.images(source, "lr") if "lr" in spec.reads else None
        held = steps.DeviceData(frozen or {}, lr, records.images(source, "hr"))
    if reads:
        batches = batching.train_batches(
            source,
            batch_size=(settings.batch_size - drawn) // jax.process_count(),
            max_length=config.max_length,
            alphabet=training.alphabet,
            seed=spec.data_seed(config),
            beside=learned.beside,
            attention=attention,
            images=not settings.on_device,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
    around = None
    if drawn:
        held = drawn_words.DrawingData(held, _drawing(training, drawn))
        batches = drawn_words.UnfilledBatches(batches, drawn // jax.process_count())
        around = functools.partial(
            drawn_words.with_drawn_words, sharding=training.placement.batch_sharding
        )
    return loop.Stage(
        name=spec.name,
        initial=initial,
        loss=make_loss(training, spec),
        frozen=held,
        settings=settings,
        batches=batches,
        key_of=functools.partial(
            _key, batching.Concatenated([source, *(others for others, _ in learned.beside)])
        ),
        judge=judge,
        data=learned.fingerprints,
        around=around,
        dtype=spec.dtype(config),
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
    count = copies * spec.training_set(training).count
    network, _ = spec.learns(training)
    drawn = spec.drawn(config)
    held: Any = frozen or {}
    beside: list[Any] = []
    if settings.on_device and not spec.draws_all(config):
        images = batching.shapes(count, config.max_length)
        lr = images.lr if "lr" in spec.reads else None
        if drawn:
            beside += [lr, images.hr]
        else:
            held = steps.DeviceData(held, lr, images.hr)
    if drawn:
        beside.append(jax.tree.map(jax.typeof, _drawing(training, drawn)))
    return Outline(
        name=spec.name,
        settings=settings,
        network=network,
        loss=make_loss(training, spec),
        frozen=held,
        batch=batching.shapes(
            settings.batch_size, config.max_length, images=bool(drawn) or not settings.on_device
        ),
        records=count,
        dtype=spec.dtype(config),
        drawn=drawn,
        beside=beside,
    )


def _drawing(training: Training, count: int) -> DrawSettings:
    config = training.config
    return drawing.draw_settings(
        config.data.synthetic,
        batch_size=count,
        max_length=config.max_length,
        alphabet=training.alphabet,
    )


def _key(source: Records, number: int) -> str:
    # `records.keys` would read the keys of all records, which takes an hour for 14 million.
    return source[number].key
