"""What the other modules present, as protocols: any object with these attributes will do.

Scores, settings and readings are measured elsewhere; nothing here measures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Scores(Protocol):
    """The scores of one SR model under one recogniser, as `evaluation.protocol.Row` has them.

    Attributes:
      sr: what made the images.
      ocr: which recogniser read them.
      splits: by split `psnr` (dB or None), `psnr_batch`, `ssim`, `accuracy` and `as_written` (per
        cent), `n`.
      mean: the same, as the mean over splits.
    """

    @property
    def sr(self) -> str: ...
    @property
    def ocr(self) -> str: ...
    @property
    def splits(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def mean(self) -> Mapping[str, Any]: ...


class ReadRow(Protocol):
    """What one recogniser read in the images of one SR model, as `evaluation.protocol.Row` has it.

    Attributes:
      sr, ocr: what made the images, and which recogniser read them.
      words: by split, what was read.
      right: by split, whether each word is what its label says.
      confidences: by split, the confidence in each word, in [0, 1].
    """

    @property
    def sr(self) -> str: ...
    @property
    def ocr(self) -> str: ...
    @property
    def words(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def right(self) -> Mapping[str, Sequence[bool]]: ...
    @property
    def confidences(self) -> Mapping[str, Sequence[float]]: ...


class PhotographScores(Protocol):
    """The scores of one way to halve and enlarge photographs.

    Attributes:
      down, up: what halves and what enlarges.
      folders: by folder `psnr` (dB or None), `ssim`, and `n`, the number of images.
    """

    @property
    def down(self) -> str: ...
    @property
    def up(self) -> str: ...
    @property
    def folders(self) -> Mapping[str, Mapping[str, Any]]: ...


class SettingScores(Protocol):
    """What is quantised and how, the size that gives, and the scores.

    Attributes:
      target: "SR", "OCR", "SR + OCR" or "none".
      bits, prior: of everything that is quantised; None where nothing is.
      size_mbit: of the live parameters, 10^6 bits.
      stored_bytes: of the packed file; None where there is none.
      row: the scores.
    """

    @property
    def target(self) -> str: ...
    @property
    def bits(self) -> float | None: ...
    @property
    def prior(self) -> str | None: ...
    @property
    def size_mbit(self) -> float: ...
    @property
    def stored_bytes(self) -> int | None: ...
    @property
    def row(self) -> Scores: ...


class LayerTypeScores(Protocol):
    """The scores of the models with one layer type quantised alone.

    Attributes:
      name: the layer type.
      part: "sr" or "ocr", the network that has it.
      parameters: the number of its parameters.
      rows: the scores by bits.
    """

    @property
    def name(self) -> str: ...
    @property
    def part(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    @property
    def rows(self) -> Mapping[Any, Scores]: ...


class AblatedScores(Protocol):
    """The scores of the models, quantised in one way.

    Attributes:
      selection: what is quantised.
      method: how.
      bits: of all that is quantised.
      size_mbit: of the live parameters, 10^6 bits.
      row: the scores.
    """

    @property
    def selection(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def bits(self) -> float: ...
    @property
    def size_mbit(self) -> float: ...
    @property
    def row(self) -> Scores: ...


class PhotographDetail(Protocol):
    """The middle of a photograph.

    Attributes:
      name: the file's name.
      tiles: (title, uint8 (height, width, 3)); the last one is HR, LR ones have half its sides.
    """

    @property
    def name(self) -> str: ...
    @property
    def tiles(self) -> Sequence[tuple[str, np.ndarray]]: ...


class ReadItem(Protocol):
    """An image that was to be read.

    Attributes:
      source: its file, or a folder and a number.
      error: why it could not be read; empty where it could.
    """

    @property
    def source(self) -> str: ...
    @property
    def error(self) -> str: ...


class ReadText(Protocol):
    """What was read in an image.

    Attributes:
      text: the word.
      confidence: from 0 to 1.
      abstained: whether the word was left out because it was not sure enough; `text` is empty then.
    """

    @property
    def text(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def abstained(self) -> bool: ...
