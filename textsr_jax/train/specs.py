"""What a stage is: `StageSpec`, and its outline. Each file in `stages/` makes specs."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax

from textsr_jax.config.settings import DrawnOptimization, Experiment, Optimization
from textsr_jax.models import Network, Variables
from textsr_jax.train import loop
from textsr_jax.train.steps import Loss
from textsr_jax.train.training import Training
from textsr_jax.train.words import TrainingSet, TrainingWords


@dataclasses.dataclass(frozen=True)
class Outline:
    """What a stage trains, before anything is loaded or made for it.

    Attributes:
      name: the stage's folder.
      settings: its `optimization` config.
      network: what is trained.
      loss: as of `loop.Stage`.
      frozen: shapes of the frozen variables, as of `loop.Stage`.
      batch: shapes and dtypes of a whole batch.
      records: how many records there are, which make an epoch; 0 where all words are drawn.
      dtype: the compute dtype.
      drawn: how many words of a batch are drawn in the step.
      beside: shapes of what else lies on the devices: images, and what words are drawn from.
    """

    name: str
    settings: Optimization
    network: Network
    loss: Loss
    frozen: Any
    batch: Any
    records: int
    dtype: str
    drawn: int = 0
    beside: Any = None


def _always(training: Training) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class StageSpec:
    """A stage of training: what it is called, trains, reads and starts with.

    Attributes:
      name: its folder in the workdir.
      seed: a number that no other stage has. It decides all that is random in the stage, so it
        must never change: old runs would go on to other bits.
      settings: the field of the config with its `optimization` settings, such as "pretrain.ocr".
      chosen_by: the word in `config.stages` that asks for it.
      about: what it trains, for the line that it begins with.
      reads: which images of a word its loss reads: "hr", or "lr" and "hr".
      words: the words that it learns from; None for a stage that learns from photographs.
      learns: the network that it trains, and its loss on whole batches of images.
      make: loads or makes what the stage needs.
      outline: describes the stage without loading or making anything.
      computes: the part of the config whose `dtype` it computes in: "sr", "ocr" or "focus".
      needed: whether a training that asks for the stage has something to train in it.
    """

    name: str
    seed: int
    settings: str
    chosen_by: str
    about: str
    reads: tuple[str, ...]
    words: Callable[[TrainingWords], TrainingSet] | None
    learns: Callable[[Training], tuple[Network, Loss]]
    make: Callable[[Training, "StageSpec"], loop.Stage]
    outline: Callable[[Training, "StageSpec"], Outline]
    computes: str
    needed: Callable[[Training], bool] = _always

    def settings_of(self, config: Experiment) -> Optimization:
        """The stage's `optimization` settings in a config."""
        settings: Optimization = operator.attrgetter(self.settings)(config)
        return settings

    def dtype(self, config: Experiment) -> str:
        """The stage's compute dtype."""
        dtype: str = config[self.computes].dtype
        return dtype

    def training_set(self, training: Training) -> TrainingSet:
        """The words that the stage learns from; no sources where it draws all of them itself.

        Raises:
          ValueError: it learns from photographs.
        """
        if self.words is None:
            raise ValueError(f"{self.name} learns from photographs, not from words")
        words, config = training.words, training.config
        if not self.drawn(config):
            return self.words(words)
        return words.with_drawn(None if self.draws_all(config) else self.words(words))

    def drawn(self, config: Experiment) -> int:
        """How many words of a batch are drawn in the step."""
        settings = self.settings_of(config)
        if not isinstance(settings, DrawnOptimization):
            return 0
        return round(settings.drawn * settings.batch_size)

    def draws_all(self, config: Experiment) -> bool:
        """Whether all words of a batch are drawn in the step, so that none are read."""
        return self.drawn(config) == self.settings_of(config).batch_size

    def data_seed(self, config: Experiment) -> int:
        """The seed of the order and the changes of the stage's training data."""
        return 3000 * config.seed + self.seed

    def key(self, config: Experiment) -> jax.Array:
        """The random key of the stage: of its fresh parameters, dropout and augmentation."""
        return jax.random.fold_in(jax.random.key(config.seed), self.seed)

    def is_finished(self, training: Training) -> bool:
        """Whether the stage has ended in the training's workdir; see `loop.is_finished`."""
        steps = self.settings_of(training.config).steps
        return loop.is_finished(training.workdir, self.name, steps)


# Variables to start from, by a random key for those that are drawn.
Initial = Callable[[jax.Array], Variables]
