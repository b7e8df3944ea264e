"""TextZoom, or any data set in its LMDB format, as a TFDS data set prepared from a local folder.

Unusable records are left out and counted; the prepared set keeps the counts.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from textsr_jax.data import lmdb_folders, lmdb_pages, lmdb_pairs, records
from textsr_jax.data.processes import Processes
from textsr_jax.data.records import Example
from textsr_jax.errors import UserError, needs

with needs("train"):
    import tensorflow_datasets as tfds

_EXPECTED = "expected TextZoom's LMDB folders, such as train1, train2, test/easy, test/medium"

_CHUNK = 256  # records that go to a process at once

_logger = logging.getLogger(__name__)


def folders(root: str | os.PathLike[str]) -> list[str]:
    """Names the LMDB folders below `root`: `train*`, sorted, then `test/*`, sorted.

    Raises:
      UserError: `root` is not a folder, has no such folders, or is one of them.
    """
    root = Path(root)
    if lmdb_pages.is_lmdb(root):
        folder = root if root.is_dir() else root.parent
        above = folder.parent.parent if folder.parent.name == "test" else folder.parent
        raise UserError(f"{root}: is one LMDB; name the folder above its train* or test/*: {above}")
    if not root.is_dir():
        raise UserError(f"{root}: is not a folder; {_EXPECTED} in the data root")
    found = [path for path in sorted(root.glob("train*")) if path.is_dir()]
    found += [path for path in sorted(root.glob("test/[!.]*")) if path.is_dir()]
    if not found:
        raise UserError(f"{root}: has no data; {_EXPECTED} in the data root")
    return [path.relative_to(root).as_posix() for path in found]


class TextZoom(records.LocalBuilder):
    """TFDS builder `textzoom` (Wang et al., "Scene Text Image Super-Resolution in the Wild").

    Each folder named by `folders` becomes one split, in the LMDB's order. `info.metadata` holds
    the number of records, which were left out, and a digest of what the LMDB holds. Images are
    opened as by `images.decode_rgb`. Those of other sizes are resized to 64x16 (LR) and 128x32 (HR)
    by Pillow's bicubic filter, as the reference does. Records whose label holds none of 0-9a-z
    cannot be scored and are left out.

    Args:
      root: the folder that holds the LMDB folders; only read, never written.
      labels: one of `text.LABELS`. "strip" leaves labels as they are; scoring then drops every
        letter other than 0-9a-z (`café` is `caf`). "fold" turns them into plain letters
        (`text.fold`).
      data_dir: TFDS's data folder, for the prepared copy; None for TFDS's default. The copy's name
        depends on `labels`, the path of `root`, and the size and times of every data.mdb, so
        changed LMDBs are read again.

    Raises:
      UserError: `root` has no data, or one of its folders holds no such LMDB.
    """

    name = "textzoom"
    # To be raised when the same LMDBs begin to give other records.
    VERSION = tfds.core.Version("2.0.0")

    def __init__(
        self,
        *,
        root: str | os.PathLike[str],
        labels: str = "strip",
        data_dir: str | os.PathLike[str] | None = None,
    ):
        self._root = Path(root).expanduser().absolute()
        self._folders = folders(self._root)
        self._labels = labels
        config = tfds.core.BuilderConfig(name=_name(self._root, self._folders, labels))
        super().__init__(config=config, data_dir=data_dir)
        # For pickling, which builds the object again from its arguments.
        self._original_state = {"root": root, "labels": labels, "data_dir": data_dir}

    def _info(self) -> records.LocalInfo:
        return records.LocalInfo(
            builder=self,
            description=f"Word images at two resolutions with labels, read from {self._root}.",
            features=records.features(),
            metadata=tfds.core.MetadataDict(folders={}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, Example]]]:
        del dl_manager  # Everything is on the disk already.
        # A damaged LMDB is named now, and not when hours were spent on others.
        for folder in self._folders:
            with lmdb_folders.open_samples(self._root / folder, _EXPECTED):
                pass
        return {_split(folder): self._generate_examples(folder) for folder in self._folders}

    def _download_and_prepare(self, dl_manager: object, download_config: object) -> None:
        super()._download_and_prepare(dl_manager, download_config)
        if not self.info.splits:
            reasons = "; ".join(self.complaints())
            raise UserError(f"{self._root}: has no usable record ({reasons}); check the data root")

    def _generate_examples(self, folder: str) -> Iterator[tuple[int, Example]]:
        skipped: dict[str, list[int]] = {}
        digest = hashlib.sha256()
        with lmdb_folders.open_samples(self._root / folder, _EXPECTED) as samples:
            numbers = samples.numbers
            account = {
                "records": len(numbers),
                "skipped": skipped,
                "complaint": samples.complaint,
            }
            self.info.metadata["folders"][folder] = account

            def chunks() -> Iterator[tuple[list[lmdb_pairs.Values], str]]:
                for start in range(0, len(numbers), _CHUNK):
                    chunk = numbers[start : start + _CHUNK]
                    yield [_values(samples, number, digest) for number in chunk], self._labels

            with Processes(records.process_count(len(numbers))) as processes:
                made = processes.map(lmdb_pairs.encoded, chunks(), f"prepared {folder}")
                for start, pairs in enumerate(made):
                    for place, pair in enumerate(pairs, start * _CHUNK):
                        number = numbers[place]
                        if isinstance(pair, str):
                            count, first = skipped.get(pair, (0, number))
                            skipped[pair] = [count + 1, first]
                        else:
                            yield number, records.example(f"{folder}:{number}", pair)
        account["digest"] = digest.hexdigest()

    @property
    def splits(self) -> dict[str, str | None]:
        """The prepared split of each folder; None where a folder has no usable record."""
        written = {folder: _split(folder) for folder in self._folders}
        return {f: split if split in self.info.splits else None for f, split in written.items()}

    @property
    def skipped(self) -> dict[str, dict[str, int]]:
        """The number of records left out, by folder and reason."""
        return {
            folder: {reason: count for reason, (count, _) in account["skipped"].items()}
            for folder, account in self.info.metadata["folders"].items()
        }

    def fingerprint(self, folders: str = "") -> str:
        """A digest of what the LMDBs hold, in 16 hexadecimal digits.

        The fields of every record decide it, and how labels are read. It does not depend on the
        place, size and times of files, or on other keys in an LMDB.

        Args:
          folders: the prefix of the names of the folders that count.
        """
        digest = hashlib.sha256(self._labels.encode())
        for folder, account in sorted(self.info.metadata["folders"].items()):
            if folder.startswith(folders):
                digest.update(f"\n{folder} {account['digest']}".encode())
        return digest.hexdigest()[:16]

    def complaints(self) -> list[str]:
        """A line for each folder that lost records, has none, or states a wrong number."""
        lines = []
        for folder, account in self.info.metadata["folders"].items():
            if account["complaint"]:
                lines.append(f"{folder}: {account['complaint']}")
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


def _values(
    samples: lmdb_folders.Samples, number: int, digest: "hashlib._Hash"
) -> lmdb_pairs.Values:
    """The fields of a record, which `digest` takes in."""
    values = [samples.get(field, number) for field in lmdb_pairs.FIELDS]
    sizes = [-1 if value is None else len(value) for value in values]
    digest.update(f"{number} {sizes}".encode())
    for value in values:
        digest.update(value or b"")
    return values


def _split(folder: str) -> str:
    """A folder's name as a TFDS split, which may hold only word characters."""
    name = folder.replace("/", "_")
    return re.sub(r"[^A-Za-z0-9_]", lambda match: f"_{ord(match[0]):x}_", name)


def _name(root: Path, names: list[str], labels: str) -> str:
    """Names the state of the LMDBs, and how labels are read.

    The state is the path, and each data.mdb's size and times. Users cannot set the last of these.
    """
    digest = hashlib.sha256(os.fsencode(root))
    digest.update(f"\nlabels {labels}".encode())
    for name in names:
        file = root / name / "data.mdb"
        if not file.is_file():
            raise UserError(f"{file}: does not exist; {_EXPECTED} with a data.mdb in each")
        stat = file.stat()
        state = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        digest.update(f"\n{name} {state}".encode())
    return digest.hexdigest()[:16]


def load(
    root: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    labels: str = "strip",
) -> TextZoom:
    """Prepares TextZoom's folders below `root` where needed, and logs `TextZoom.complaints`.

    Args:
      root, data_dir, labels: as for `TextZoom`.

    Raises:
      UserError: bad input (see `TextZoom`), or `data_dir` cannot be written.
    """
    builder = TextZoom(root=root, labels=labels, data_dir=data_dir)
    records.prepare(builder)
    for line in builder.complaints():
        _logger.warning("%s", line)
    return builder
