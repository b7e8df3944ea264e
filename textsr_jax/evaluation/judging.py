"""SR models under judges: who reads what, what was read before, and what is gained over bicubic.

Several trainings of one network are one row: mean and deviation.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from textsr_jax import metrics, text
from textsr_jax.errors import UserError
from textsr_jax.evaluation import gains
from textsr_jax.evaluation.protocol import Images
from textsr_jax.runtime import atomic

BICUBIC, HR = "bicubic", "HR"

# Words that were read, by split.
Words = dict[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Judge:
    """A reader of all test words.

    Attributes:
      name: in tables.
      version: differs between two judges of one name.
      read: reads images.
    """

    name: str
    version: str
    read: Callable[[Images], Words]


@dataclasses.dataclass(frozen=True)
class Shown:
    """Images that are judged.

    Attributes:
      name: of what made them; the trainings of one network have one name.
      source: the name of its file or workdir; empty for bicubic and HR images.
      images: by split.
    """

    name: str
    source: str
    images: Images


class Readings:
    """What judges read, kept in a file: nothing is read twice, by one judge in the same images.

    Args:
      path: the JSON file; it need not exist.

    Raises:
      UserError: the file is there and cannot be read.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._found: dict[str, dict[str, Words]] = {}
        if path.is_file():
            try:
                self._found = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: cannot read it ({error}); delete it") from error

    def of(self, judge: Judge, images: Images) -> Words:
        """Returns what the judge reads in the images; an answer is written at once."""
        known = self._found.setdefault(f"{judge.name}, {judge.version}", {})
        key = digest([images[split] for split in sorted(images)])
        if key not in known:
            known[key] = judge.read(images)
            atomic.write_json(self._path, self._found)
        return known[key]


def digest(arrays: Sequence[Any]) -> str:
    """Returns 16 hexadecimal digits that tell these arrays from others, by values and dtypes."""
    sha = hashlib.sha256()
    for array in map(np.asarray, arrays):
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def compare(
    shown: Sequence[Shown],
    judges: Sequence[Judge],
    labels: Mapping[str, Sequence[str]],
    readings: Readings,
) -> list[dict[str, Any]]:
    """A row for each judge and each of the images.

    Args:
      shown: bicubic images first; HR images are one of them.
      judges: each reads all images before the next begins.
      labels: the true words by split.
      readings: what was read before, and gets what is read now.

    Returns:
      Rows with the names of the `judge`, of the network (`sr`) and of its `source`; the accuracy in
      per cent in `splits` and their plain `mean` (case and accents apart, letters and digits only);
      and of SR images the mean `gain` over bicubic ones in points, with the standard `error` of
      pairs of words.
    """
    rows = []
    folded = {split: list(map(text.fold, words)) for split, words in labels.items()}
    for judge in judges:
        bicubic: dict[str, np.ndarray] = {}
        for one in shown:
            words = readings.of(judge, one.images)
            right = {
                split: metrics.correct_words(list(map(text.fold, words[split])), truth)
                for split, truth in folded.items()
            }
            splits = {split: 100 * float(found.mean()) for split, found in right.items()}
            row: dict[str, Any] = {"judge": judge.name, "sr": one.name, "source": one.source}
            row |= {"splits": splits, "mean": float(np.mean(list(splits.values())))}
            if one.name == BICUBIC:
                bicubic = right
            elif one.source:
                found = [gains.gain("", split, bicubic[split], right[split]) for split in labels]
                mean = gains.mean_gains(found)[""]
                row |= {"gain": mean["points"], "error": mean["error"]}
            rows.append(row)
    return rows


def over_seeds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each network under each judge: what its trainings have in common.

    Args:
      rows: what `compare` gives.

    Returns:
      Rows with `judge`, `sr`, the number of `trainings`, the `mean` of their mean accuracies in per
      cent, the mean `gain` in points, the `deviation` of the gain over trainings (None for one),
      the mean `error` of a training's gain, and the `strength` of the judge: its accuracy of HR
      images. Rows are in the order in which the judges and networks come.
    """
    strength = {row["judge"]: row["mean"] for row in rows if row["sr"] == HR}
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["source"]:
            found.setdefault((row["judge"], row["sr"]), []).append(row)
    return [
        {
            "judge": judge,
            "sr": sr,
            "trainings": len(same),
            "mean": float(np.mean([row["mean"] for row in same])),
            "gain": float(np.mean([row["gain"] for row in same])),
            "deviation": _deviation([row["gain"] for row in same]),
            "error": float(np.mean([row["error"] for row in same])),
            "strength": strength[judge],
        }
        for (judge, sr), same in found.items()
    ]


def _deviation(values: Sequence[float]) -> float | None:
    """Of a sample; None for one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
