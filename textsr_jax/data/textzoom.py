"""TextZoom, or any data set in its LMDB format, as a TFDS data set prepared from a local folder.

Broken records are left out and counted; the counts stay with the prepared set.
"""

import hashlib
import io
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from textsr_jax import text
from textsr_jax.data import lmdb_folders, records
from textsr_jax.data.generation import WordPair
from textsr_jax.errors import UserError
from textsr_jax.images import FORMATS

_EXPECTED = "expected TextZoom's LMDB folders, such as train1, train2, test/easy, test/medium"

_logger = logging.getLogger(__name__)


def folders(root: str | os.PathLike) -> list[str]:
    """Names the LMDB folders below `root`: `train*`, sorted, then `test/*`, sorted.

    Raises:
      UserError: `root` is not a folder or has no such folders.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: is not a folder; {_EXPECTED} in the data root")
    found = [path for path in sorted(root.glob("train*")) if path.is_dir()]
    found += [path for path in sorted(root.glob("test/[!.]*")) if path.is_dir()]
    if not found:
        raise UserError(f"{root}: has no data; {_EXPECTED} in the data root")
    return [path.relative_to(root).as_posix() for path in found]


class TextZoom(records.LocalBuilder):
    """TFDS builder `textzoom` (Wang et al., "Scene Text Image Super-Resolution in the Wild").

    Each folder named by `folders` becomes one split, in the LMDB's order; `info.metadata` tells
    how many records it has and which were left out. Images are resized, where need be, to 64x16
    (LR) and 128x32 (HR) by Pillow's bicubic filter, as the reference does. Records whose label
    has nothing of 0-9a-z in it cannot be scored and are left out.

    Args:
      root: the folder that holds the LMDB folders; only read, never written.
      data_dir: TFDS's data folder, for the prepared copy; None for TFDS's default. The copy is
        named by the path of `root` and the size and time of every data.mdb, so a changed source
        is read again.

    Raises:
      UserError: `root` has no data, or one of its folders holds no such LMDB.
    """

    name = "textzoom"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, root: str | os.PathLike, data_dir: str | os.PathLike | None = None):
        self._root = Path(root).expanduser().absolute()
        self._folders = folders(self._root)
        config = tfds.core.BuilderConfig(name=_fingerprint(self._root, self._folders))
        super().__init__(config=config, data_dir=data_dir)
        # For pickling, which builds the object again from its arguments.
        self._original_state = {"root": root, "data_dir": data_dir}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Word images at two resolutions with labels, read from {self._root}.",
            features=records.features(),
            metadata=tfds.core.MetadataDict(folders={}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager  # Everything is on the disk already.
        generators = {}
        for folder in self._folders:
            examples = self._generate_examples(folder)
            # TFDS cannot write a split without examples, so see whether there is one.
            first = next(examples, None)
            if first is not None:
                generators[_split(folder)] = itertools.chain([first], examples)
        if not generators:
            reasons = "; ".join(self.skipped())
            raise UserError(f"{self._root}: has no usable record ({reasons}); mend the data root")
        return generators

    def _generate_examples(self, folder: str) -> Iterator[tuple[int, dict]]:
        skipped: dict[str, list[int]] = {}
        with lmdb_folders.open_samples(self._root / folder, _EXPECTED) as samples:
            total = len(samples)
            self.info.metadata["folders"][folder] = {"records": total, "skipped": skipped}
            for number in range(1, total + 1):
                try:
                    pair = _read(samples, number)
                except _SkippedError as skip:
                    count, first = skipped.get(skip.reason, (0, number))
                    skipped[skip.reason] = [count + 1, first]
                else:
                    yield number, records.example(f"{folder}:{number}", pair.encoded())

    @property
    def splits(self) -> dict[str, str | None]:
        """The prepared split of each folder; None where a folder has no usable record."""
        written = {folder: _split(folder) for folder in self._folders}
        return {f: split if split in self.info.splits else None for f, split in written.items()}

    def skipped(self) -> list[str]:
        """One line for each folder that lost records, how many and why, or that never had any."""
        lines = []
        for folder, account in self.info.metadata["folders"].items():
            if not account["records"]:
                lines.append(f"{folder}: has no records")
            elif account["skipped"]:
                total = sum(count for count, _ in account["skipped"].values())
                reasons = "; ".join(
                    f"{count} {reason}, first: record {first}"
                    for reason, (count, first) in account["skipped"].items()
                )
                lines.append(
                    f"{folder}: skipped {total} of {account['records']} records ({reasons})"
                )
        return lines


class _SkippedError(Exception):
    """A record that has to be left out, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _read(samples: lmdb_folders.Samples, number: int) -> WordPair:
    """Reads record `number`, counted from 1; raises `_SkippedError` where it is unusable."""
    label = samples.get("label", number)
    hr = samples.get("image_hr", number)
    lr = samples.get("image_lr", number)
    if label is None:
        raise _SkippedError("missing label")
    if hr is None or lr is None:
        raise _SkippedError("missing image")
    try:
        label = label.decode()
    except UnicodeDecodeError as error:
        raise _SkippedError("label not UTF-8") from error
    if not text.normalize(label):
        raise _SkippedError("empty label")
    return WordPair(_decode(lr, records.LR_SHAPE), _decode(hr, records.HR_SHAPE), label)


def _decode(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes an image to uint8 RGB of `shape`, resized by Pillow's bicubic filter."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as image:
            image = image.convert("RGB")
    except Exception as error:
        # Pillow's decoders raise a dozen kinds of exception for broken data.
        raise _SkippedError("undecodable image") from error
    size = shape[1], shape[0]
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _split(folder: str) -> str:
    """A folder's name as a TFDS split, which may hold only word characters."""
    name = folder.replace("/", "_")
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"_{ord(match[0]):x}_", name)


def _fingerprint(root: Path, names: list[str]) -> str:
    """Names the state of the sources: the path, and each data.mdb's size and time."""
    digest = hashlib.sha256(os.fsencode(root))
    for name in names:
        file = root / name / "data.mdb"
        if not file.is_file():
            raise UserError(f"{file}: does not exist; {_EXPECTED} with a data.mdb in each")
        stat = file.stat()
        digest.update(f"\n{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def load(root: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> TextZoom:
    """Prepares TextZoom's folders below `root` where needed, and warns of what was left out.

    Raises:
      UserError: bad input (see `TextZoom`), or `data_dir` cannot be written.
    """
    builder = TextZoom(root=root, data_dir=data_dir)
    records.prepare(builder)
    for line in builder.skipped():
        _logger.warning("%s", line)
    return builder
