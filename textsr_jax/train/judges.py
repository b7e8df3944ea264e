"""Judges: each scores a stage's variables on validation data, so that the best can be kept.

Words are judged by the plain mean over the validation splits. A recogniser's score is its accuracy.
An SR model's score is the accuracy of a recogniser on its SR images; PSNR decides between equals.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from textsr_jax import metrics, text
from textsr_jax.data import photograph_folders, records
from textsr_jax.data.batching import Batch, evaluation_batches
from textsr_jax.data.photograph_folders import Photographs
from textsr_jax.data.records import Records
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Network, Variables
from textsr_jax.models.bicubic import enlarge, reduce
from textsr_jax.models.layers.pixels import SCALE, to_gray
from textsr_jax.models.rescaling import round_to_8_bits
from textsr_jax.train import mesh as meshes
from textsr_jax.train import stopping
from textsr_jax.train.training import Training
from textsr_jax.train.validation import Validation

# How many images of a batch a picture in the log shows.
_SHOWN = 8


class RecognizerJudge:
    """Judges a recogniser by its accuracy on HR images, or on what stands in their place.

    Args:
      training: what all stages share.
      splits: validation words by split.
    """

    def __init__(self, training: Training, splits: Mapping[str, Records]):
        self._training, self._splits = training, splits

    def run(self, variables: Variables) -> Validation:
        """Scores a recogniser's variables."""

        def score(batch: Batch, labels: list[str]) -> _Scored:
            images = to_float(batch.hr)
            scores, words = _read(self._training, variables, images, labels)
            return _Scored(scores, [images], words)

        scores = _score_splits(self._training, self._splits, score)
        return scores.validation(scores.means["accuracy"], "images")


class FocusJudge:
    """Judges the text-focus recogniser by the share of words whose characters are all right.

    Each character is predicted from the true ones before it.

    Args:
      training: what all stages share.
    """

    def __init__(self, training: Training):
        self._training = training

        @jax.jit
        def right(variables: Variables, batch: Batch) -> jax.Array:
            inputs, targets, mask = text.focus_tokens(batch.characters)
            logits, _ = training.focus(variables, to_gray(to_float(batch.hr)), inputs)
            wrong = ((logits.argmax(-1) != targets) & (mask > 0)).any(axis=1)
            return 100 * ~wrong

        self._right = right

    def run(self, variables: Variables) -> Validation:
        """Scores the variables of the text-focus recogniser."""

        def score(batch: Batch, labels: list[str]) -> _Scored:
            return _Scored({"words_right": self._right(variables, batch)})

        splits = self._training.words.data_set.validation_splits
        scores = _score_splits(self._training, splits, score)
        return scores.validation(scores.means["words_right"])


# The variables of the SR model, and those of a recogniser that reads its images or None.
SRAndReader = tuple[Variables, Variables | None]


class SRJudge:
    """Judges an SR model by what a recogniser reads in its images, then by their PSNR.

    Without a recogniser no word counts as read, so that PSNR alone decides.

    Args:
      training: what all stages share.
      take: takes the variables of the stage to those of the SR model and of the recogniser.
    """

    def __init__(self, training: Training, take: Callable[[Variables], SRAndReader]):
        self._training, self._take = training, take

        @jax.jit
        def compare(
            variables: Variables, batch: Batch
        ) -> tuple[list[jax.Array], dict[str, jax.Array]]:
            sr = to_float(to_uint8(training.sr(variables, to_float(batch.lr))))
            hr = to_float(batch.hr)
            bicubic = to_float(to_uint8(enlarge(to_float(batch.lr))))
            scores = {
                "psnr": metrics.psnr(sr, hr),
                "psnr_bicubic": metrics.psnr(bicubic, hr),
                "ssim": metrics.ssim(sr, hr),
            }
            return [bicubic, sr, hr], scores

        self._compare = compare

    def run(self, variables: Variables) -> Validation:
        """Scores the variables of the stage."""
        sr, reader = self._take(variables)

        def score(batch: Batch, labels: list[str]) -> _Scored:
            images, scores = self._compare(sr, batch)
            if reader is None:
                return _Scored(scores, images)
            read, words = _read(self._training, reader, images[1], labels)
            return _Scored(read | scores, images, words)

        splits = self._training.words.data_set.validation_splits
        scores = _score_splits(self._training, splits, score)
        accuracy = scores.means.get("accuracy", 0.0)
        return scores.validation([accuracy, scores.means["psnr"]], "bicubic, SR, HR")


class PhotographJudge:
    """Judges stage 0 by the PSNR of the Y channel on the central crops of photographs.

    Args:
      training: what all stages share.
      rescaler: the resampler and EDSR.
      photographs: those held out.
      crop: the side of a crop, in pixels.
    """

    def __init__(self, training: Training, rescaler: Network, photographs: Photographs, crop: int):
        self._training, self._photographs, self._crop = training, photographs, crop

        @jax.jit
        def compare(variables: Variables, hr: jax.Array) -> tuple[jax.Array, ...]:
            hr = to_float(hr)
            sr, made = rescaler(variables, hr)
            sr, bicubic = (
                to_float(to_uint8(images)) for images in (sr, enlarge(round_to_8_bits(reduce(hr))))
            )
            psnr, ssim = metrics.luma_quality(sr, hr, SCALE)
            bicubic_psnr, _ = metrics.luma_quality(bicubic, hr, SCALE)
            return made.images, bicubic, sr, hr, psnr, bicubic_psnr, ssim

        self._compare = compare

    def run(self, variables: Variables) -> Validation:
        """Scores the variables of the resampler and EDSR."""
        sums, pictures = np.zeros(3), dict[str, np.ndarray]()
        batches = photograph_folders.central_crops(
            self._photographs, batch_size=self._training.evaluation_size, crop=self._crop
        )
        for batch in batches:
            stopping.check()
            found = self._compare(variables, self._training.placement.shard_whole(batch.hr))
            lr, bicubic, sr, hr, *scores = meshes.gather(found)
            sums += [float(score[batch.valid].sum()) for score in scores]
            pictures = pictures or {
                "LR": _tiles([lr]),
                "bicubic, SR, HR": _tiles([bicubic, sr, hr]),
            }
        psnr, bicubic_psnr, ssim = sums / len(self._photographs)
        scalars = {"psnr_y": psnr, "psnr_y_bicubic": bicubic_psnr, "ssim_y": ssim}
        return Validation(psnr, scalars, pictures)


@dataclasses.dataclass(frozen=True)
class _Scored:
    """A batch's scores.

    Attributes:
      scores: (batch,) by name.
      images: images in [0, 1], one array for each column of the log's picture; may be empty.
      words: the words that were read; may be empty.
    """

    scores: Mapping[str, Any]
    images: Sequence[jax.Array] = ()
    words: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _Scores:
    """The scores of all validation words.

    Attributes:
      means: the plain mean over splits of each score's mean. With several splits also the accuracy
        of each.
      images: those of the first batch, as in `_Scored`.
      readings: labels of the first batch and what was read.
    """

    means: dict[str, float]
    images: Sequence[np.ndarray]
    readings: Sequence[tuple[str, str]]

    def validation(self, score: float | list[float], columns: str = "") -> Validation:
        """The result with this score; `columns` names the picture, "" for none."""
        pictures, texts = {}, {}
        if columns:
            pictures[columns] = _tiles(self.images)
        if self.readings:
            rows = [f"| {label} | {word} |" for label, word in self.readings]
            texts["readings"] = "\n".join(["| label | read |", "| --- | --- |", *rows])
        return Validation(score, self.means, pictures, texts)


def _score_splits(
    training: Training,
    splits: Mapping[str, Records],
    score: Callable[[Batch, list[str]], _Scored],
) -> _Scores:
    """Scores all words of some splits.

    Args:
      training: what all stages share.
      splits: words by split.
      score: scores a batch, which is split over all devices, given the labels of its words.
    """
    found: dict[str, dict[str, float]] = {}
    images: Sequence[np.ndarray] = ()
    readings: list[tuple[str, str]] = []
    for name, source in splits.items():
        labels, sums = records.labels(source), collections.defaultdict[str, float](float)
        batches = evaluation_batches(
            source,
            batch_size=training.evaluation_size,
            max_length=training.config.max_length,
            alphabet=training.alphabet,
        )
        for batch in batches:
            stopping.check()
            words = [labels[index] for index in batch.index]
            scored = score(training.placement.shard_whole(batch), words)
            if not images:
                images = meshes.gather(list(scored.images))
                readings = list(zip(words, scored.words, strict=False))[:_SHOWN]
            for key, values in meshes.gather(scored.scores).items():
                sums[key] += float(values.astype(np.float64)[batch.valid].sum())
        found[name] = {key: total / len(source) for key, total in sums.items()}
    means = {
        key: float(np.mean([scores[key] for scores in found.values()]))
        for key in next(iter(found.values()))
    }
    if len(found) > 1 and "accuracy" in means:
        means |= {f"accuracy_{name}": scores["accuracy"] for name, scores in found.items()}
    return _Scores(means, images, readings)


def _read(
    training: Training, variables: Variables, images: jax.Array, labels: list[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads images and compares the words with their labels.

    Returns:
      "accuracy", 100 where the word is its label in 0-9a-z, else 0; "as_written", the same for the
      whole label; and "confidence", the word's probability in per cent; each (batch,). And the
      words.
    """
    tokens, _, log_probability = meshes.gather(training.read(variables, images))
    words = training.alphabet.decode_tokens(tokens)
    scores = {
        "accuracy": 100.0 * metrics.correct_words(words, labels),
        "as_written": 100.0 * metrics.correct_words(words, labels, as_written=True),
        "confidence": 100 * np.exp(np.asarray(log_probability, np.float64)),
    }
    return scores, words


def _tiles(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The first images of each column side by side: uint8 (height, width, 3)."""
    stacked = [np.concatenate(np.asarray(to_uint8(images[:_SHOWN]))) for images in columns]
    return np.concatenate(stacked, axis=1)
