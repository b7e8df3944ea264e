"""The protocol over test splits: PSNR, SSIM and word accuracy of SR models under a recogniser.

SR images are clipped to [0, 1] and rounded to 8 bits, as files hold them, before they are scored.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Iterator
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax import data, metrics, text
from textsr_jax.config.settings import Experiment
from textsr_jax.decoding.search import Decoded
from textsr_jax.decoding.word_search import Words, WordSearch
from textsr_jax.errors import UserError, require_finite
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Network, Variables
from textsr_jax.models.bicubic import enlarge
from textsr_jax.models.recognizer import Recognizer
from textsr_jax.runtime.batches import batches
from textsr_jax.runtime.concurrency import Concurrent
from textsr_jax.runtime.progress import Progress

# Images by split, uint8 (n, 32, 128, 3).
Images = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """The scores of one SR model under one recogniser.

    Attributes:
      sr: what made the images: "bicubic", an SR model's name, or "HR".
      ocr: the recogniser that read them.
      splits: the scores by split: `psnr` (mean over images, dB; None for HR), `psnr_batch` (dB, as
        the published code computes it), `ssim`, `accuracy` (per cent), `as_written` (per cent: the
        accuracy where case, punctuation and spaces count), `n` (the number of words).
      mean: the plain mean of each score over the splits; `n` is their sum.
      words: the words that were read, by split.
      right: for each word, whether it is what the label says, as `accuracy` counts it, by split.
      confidences: in each word, in [0, 1], by split; empty where they are not known.
    """

    sr: str
    ocr: str
    splits: dict[str, dict[str, Any]]
    mean: dict[str, Any]
    words: dict[str, list[str]]
    right: dict[str, list[bool]] = dataclasses.field(default_factory=dict)
    confidences: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"sr": self.sr, "ocr": self.ocr, "splits": self.splits, "mean": self.mean}


def open_pairs(config: Experiment, data_root: str | None = None) -> data.WordPairs:
    """Opens the data set of a config, or the one in `data_root` with the config's settings.

    Raises:
      UserError: the data cannot be read.
    """
    settings = config.data if data_root is None else config.data.replace(root=data_root)
    return data.load(settings)


class Evaluation:
    """Test splits in memory, and the compiled functions that enlarge and read them.

    Attributes:
      title, fingerprint: those of the data set.
      skipped: by folder of the data set, the number of words left out, by reason.
      search: how words are searched.
      lr, hr: images by split, uint8 (n, 16, 64, 3) and (n, 32, 128, 3).
      labels: the true words by split.

    Args:
      config: the experiment. Its `decoding` says how words are searched (`WordSearch`). Its
        `evaluation` holds:
        batch_size: images that are computed at once; it changes no score.
        psnr_batch: images that `psnr_batch` pools, as the published code does.
        punctuation: how words are scored whose labels hold more than 0-9a-z. "strip" drops
          everything else from both sides, as TextZoom does. "skip" leaves these words out of all
          scores, as most recognition benchmarks do. "keep" wants the whole label, case apart, which
          a recogniser of 0-9a-z cannot read.
      pairs: the data set; its test splits are read.

    Raises:
      UserError: there is no test split, or one has no words.
    """

    def __init__(self, config: Experiment, pairs: data.WordPairs):
        self.title, self.fingerprint = pairs.title, pairs.fingerprint
        self.skipped = {folder: dict(reasons) for folder, reasons in pairs.skipped.items()}
        settings = config.evaluation
        self._keep_punctuation = settings.punctuation == "keep"
        self._psnr_batch = settings.psnr_batch
        self._temperature = config.decoding.temperature
        if not pairs.test:
            raise UserError(f"{pairs.title} has no test split; it needs folders such as test/easy")
        for name, source in pairs.test.items():
            if not len(source):
                raise UserError(
                    f"{pairs.title}: test/{name} has no readable word; remove or repair it"
                )
        self._batch_size = settings.batch_size
        self.lr: Images = {}
        self.hr: Images = {}
        self.labels: dict[str, list[str]] = {}
        for name, source in pairs.test.items():
            records = [source[index] for index in range(len(source))]
            if settings.punctuation == "skip":
                plain = [record for record in records if _is_plain(record.label)]
                if left_out := len(records) - len(plain):
                    self.skipped.setdefault(f"test/{name}", {})["punctuation"] = left_out
                records = plain
            if not records:
                raise UserError(
                    f"{pairs.title}: every label of test/{name} holds punctuation; set "
                    "config.evaluation.punctuation to strip"
                )
            self.lr[name] = np.stack([record.lr for record in records])
            self.hr[name] = np.stack([record.hr for record in records])
            self.labels[name] = [record.label for record in records]
        self.search = WordSearch.of(config.decoding, text.ALPHABETS[config.alphabet])
        # Each network is compiled once.
        self._enlarger = functools.cache(_enlarger)
        self._reader = functools.cache(functools.partial(_reader, self.search))
        self._search_of = functools.cache(functools.partial(_search_of, self.search))
        self._bicubic = Concurrent(jax.jit(lambda lr: _rounded(enlarge(to_float(lr)))))
        self._quality = jax.jit(_quality)

    @classmethod
    def open(cls, config: Experiment, data_root: str | None = None) -> Self:
        """Opens the test splits of the config's data set, or of the one in `data_root`.

        Raises:
          UserError: the data cannot be read, or have no test split.
        """
        return cls(config, open_pairs(config, data_root))

    def bicubic(self) -> Images:
        """Returns LR images enlarged by bicubic interpolation."""
        return self._made(self._bicubic, "bicubic")

    def enhance(self, sr: Network, variables: Variables) -> Images:
        """Returns the SR images of all splits.

        Raises:
          UserError: they are not finite.
        """
        return self._made(self._enlarger(sr), "SR", variables)

    def read(self, ocr: Network, variables: Variables, images: Images) -> dict[str, list[str]]:
        """Returns the words that the recogniser reads in `images`, by split.

        Raises:
          UserError: their probabilities are not finite.
        """
        found = self.read_surely(ocr, variables, images)
        return {name: words.texts for name, words in found.items()}

    def read_surely(self, ocr: Network, variables: Variables, images: Images) -> dict[str, Words]:
        """Returns what `read` does, with the log confidence in each word at temperature 1."""

        def beams(rows: np.ndarray) -> Decoded:
            # The batches of a second look are added to the total.
            bar.total = max(bar.total, bar.n + self._batches(rows))
            parts = self._results(self._reader(ocr), rows, bar, variables)
            decoded = Decoded(*map(np.concatenate, zip(*parts, strict=True)))
            require_finite(not np.isnan(decoded.log_probability).any(), "the recogniser")
            return decoded

        search = self._search_of(ocr)
        with self._progress(images, "reading") as bar:
            return {name: search.read(beams, rows) for name, rows in images.items()}

    def read_row(
        self, sr: str, ocr: str, images: Images, network: Network, variables: Variables
    ) -> Row:
        """Reads `images` and scores them; the row has the confidence in each word.

        Args:
          sr, ocr, images: as `row` takes them.
          network, variables: the recogniser. Confidences are at the temperature of the config.

        Raises:
          UserError: as `read`.
        """
        found = self.read_surely(network, variables, images)
        row = self.row(sr, ocr, images, {name: words.texts for name, words in found.items()})
        confidences = {
            name: np.exp(words.log_confidence / self._temperature).tolist()
            for name, words in found.items()
        }
        return dataclasses.replace(row, confidences=confidences)

    def row(self, sr: str, ocr: str, images: Images, words: dict[str, list[str]]) -> Row:
        """Scores `images` against HR, and `words` against the labels.

        Args:
          sr, ocr: the names of what made the images and of what read them.
          images: the images by split.
          words: the words that were read in them, by split.
        """
        splits, right = {}, {}
        for name, hr in self.hr.items():
            psnr, squared, ssim = (
                np.concatenate(parts)
                for parts in zip(
                    *(
                        [np.asarray(score)[:count] for score in self._quality(image, target)]
                        for (image, count), (target, _) in zip(
                            batches(images[name], self._batch_size),
                            batches(hr, self._batch_size),
                            strict=True,
                        )
                    ),
                    strict=True,
                )
            )
            groups = np.split(squared, range(self._psnr_batch, len(squared), self._psnr_batch))
            with np.errstate(divide="ignore"):
                pooled = np.mean([-10 * np.log10(group.mean()) for group in groups])
            correct = metrics.correct_words(
                words[name], self.labels[name], keep_punctuation=self._keep_punctuation
            )
            right[name] = correct.tolist()
            splits[name] = {
                "psnr": _finite(psnr.mean()),
                "psnr_batch": _finite(pooled),
                "ssim": float(ssim.mean()),
                "accuracy": 100 * float(correct.mean()),
                "as_written": 100
                * metrics.word_accuracy(words[name], self.labels[name], as_written=True),
                "n": len(hr),
            }
        return Row(sr, ocr, splits, _mean(splits), words, right)

    def _batches(self, rows: np.ndarray) -> int:
        return math.ceil(len(rows) / self._batch_size)

    def _progress(self, images: Images, what: str) -> Progress:
        total = sum(map(self._batches, images.values()))
        return Progress(total=total, desc=what, unit="batch", leave=False, disable=None)

    def _made(self, function: Concurrent, what: str, *arguments: object) -> Images:
        made: Images = {}
        with self._progress(self.lr, what) as bar:
            for name, rows in self.lr.items():
                images, finite = zip(*self._results(function, rows, bar, *arguments), strict=True)
                require_finite(np.concatenate(finite).all(), f"the model of {what} images")
                made[name] = np.concatenate(images)
        return made

    def _results(
        self, function: Concurrent, rows: np.ndarray, bar: Progress, *arguments: object
    ) -> Iterator[Any]:
        """Yields what `function(*arguments, batch)` returns for each batch, without the filling."""
        filled, counts = zip(*batches(rows, self._batch_size), strict=True)
        for count, made in zip(counts, function(filled, *arguments), strict=True):
            bar.update()
            yield jax.tree.map(operator.itemgetter(slice(count)), made)


def _enlarger(sr: Network) -> Concurrent:
    return Concurrent(jax.jit(lambda variables, lr: _rounded(sr(variables, to_float(lr)))))


def _rounded(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns images (n, H, W, 3) as uint8, and whether each was finite, (n,)."""
    return to_uint8(images), jnp.isfinite(images).all(axis=(1, 2, 3))


def _reader(search: WordSearch, ocr: Network) -> Concurrent:
    read = search.recognizer(ocr)
    return Concurrent(lambda variables, images: read(variables, to_float(images)))


def _search_of(search: WordSearch, ocr: Network) -> WordSearch:
    """The same search for what a recogniser writes; a judge may have another alphabet."""
    return dataclasses.replace(search, alphabet=cast(Recognizer, ocr.skeleton()).alphabet)


def _is_plain(label: str) -> bool:
    return text.normalize(label) == label.lower()


def _quality(images: jax.Array, hr: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    images, hr = to_float(images), to_float(hr)
    squared = jnp.mean((images - hr) ** 2, axis=(1, 2, 3))
    return metrics.psnr(images, hr), squared, metrics.ssim(images, hr)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(splits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the plain mean over splits, as in the paper's tables."""
    mean: dict[str, Any] = {}
    for name in ("psnr", "psnr_batch", "ssim", "accuracy", "as_written"):
        values = [scores[name] for scores in splits.values()]
        mean[name] = None if None in values else float(np.mean(values))
    mean["n"] = sum(scores["n"] for scores in splits.values())
    return mean
