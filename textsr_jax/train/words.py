"""The words that the stages of a training learn from, opened when a stage first asks for them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from textsr_jax import data, text
from textsr_jax.config.settings import Data, Experiment
from textsr_jax.data import drawing
from textsr_jax.data.batching import Concatenated
from textsr_jax.data.lmdb_words import LmdbWords
from textsr_jax.data.records import Records
from textsr_jax.storage import digests
from textsr_jax.train.names import DRAWN, LMDBS, SYNTHETIC, WORDS


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What a stage learns from.

    Attributes:
      sources: "train", the data set's training words, and perhaps "synthetic". None where the stage
        draws all words in its steps.
      fingerprints: one for each source, by what checkpoints call it (`names`).
      beside: LMDBs that are read beside the sources, as of `batching.train_batches`.
    """

    sources: dict[str, Records]
    fingerprints: Mapping[str, str]
    beside: Sequence[tuple[Records, float]] = ()

    @property
    def everything(self) -> Records:
        """All sources, one after the other, without what is read beside them."""
        sources = list(self.sources.values())
        return sources[0] if len(sources) == 1 else Concatenated(sources)

    @property
    def count(self) -> int:
        """The number of all records."""
        return len(self.everything) + sum(len(others) for others, _ in self.beside)


class TrainingWords:
    """The data set of a config, and the synthetic words that may stand beside it.

    Args:
      config: the experiment.
      load: opens the data set of a `config.data`: `data.load`, or `data.count`, which only counts.
      reads: whether some stage reads training words. If none does, and the data set is synthetic,
        it is prepared with one of them alone.
    """

    def __init__(
        self, config: Experiment, load: Callable[[Data], data.WordPairs], *, reads: bool = True
    ):
        self._config, self._load, self._reads = config, load, reads

    @functools.cached_property
    def data_set(self) -> data.WordPairs:
        """The data set that `config.data` names."""
        # The other splits have the same words, however many are for training.
        changes = {} if self._reads else {"synthetic": {"train": 1}}
        return self._load(self._config.data.replace(**changes))

    @functools.cached_property
    def _synthetic(self) -> data.WordPairs:
        return self._load(self._config.data.replace(root=""))

    @functools.cached_property
    def lmdbs(self) -> Sequence[tuple[LmdbWords, float]]:
        """The LMDBs of `config.data.words`, and their parts."""
        config = self._config
        return data.load_words(config.data, text.ALPHABETS[config.alphabet], config.max_length)

    def for_recognizers(self) -> TrainingSet:
        """What recognisers are pre-trained on: LMDBs, and synthetic words by `pretrain.synthetic`.

        Synthetic words are not prepared where the LMDBs give all words.
        """
        lmdbs = self.lmdbs
        found = self._training_set(synthetic=sum(part for _, part in lmdbs) < 1)
        if not lmdbs:
            return found
        marks = digests.of_json([[words.fingerprint, part] for words, part in lmdbs])
        return TrainingSet(found.sources, {**found.fingerprints, LMDBS: marks[:16]}, lmdbs)

    def for_sr(self) -> TrainingSet:
        """What SR models are trained on, in the joint stage too; see `stage1.synthetic`."""
        return self._training_set(synthetic=self._config.stage1.synthetic)

    def for_fine_tuning(self) -> TrainingSet:
        """Whose SR or HR images the recogniser is fine-tuned on; see `stage2.synthetic`."""
        return self._training_set(synthetic=self._config.stage2.synthetic)

    def with_drawn(self, read: TrainingSet | None) -> TrainingSet:
        """The words that a stage reads, None for none, and those that it draws in its steps."""
        known = TrainingSet({}, {}) if read is None else read
        marks = {**known.fingerprints, DRAWN: drawing.fingerprint()}
        return dataclasses.replace(known, fingerprints=marks)

    def _training_set(self, synthetic: bool) -> TrainingSet:
        sources, fingerprints = {"train": self.data_set.train}, {WORDS: self.data_set.training}
        # Without a root the data set itself is synthetic. Words are drawn only if they are needed.
        if synthetic and self._config.data.root and self._config.pretrain.synthetic:
            sources["synthetic"] = self._synthetic.train
            fingerprints[SYNTHETIC] = self._synthetic.training
        return TrainingSet(sources, fingerprints)
