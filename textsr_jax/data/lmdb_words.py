"""The words of LMDBs such as those of MJSynth and SynthText, read as they are while training.

Keys are `image-000000001` and `label-000000001`, counted from 1; `num-samples` states their number.
Nothing is copied, and no list of records is read or kept, so that millions of words open at once.
"""

import functools
import hashlib
import logging
import pathlib
import threading

import numpy as np

from textsr_jax.data import lmdb_pages, lmdb_pairs
from textsr_jax.data.lmdb_pairs import LeftOut
from textsr_jax.data.records import Record, WithTexts
from textsr_jax.errors import UserError, escaped
from textsr_jax.images import HR_SIZE, LR_SIZE, resize
from textsr_jax.text import Alphabet

_EXPECTED = "expected the keys image-000000001, label-000000001 and so on, and num-samples"

_IN_A_ROW = 1000  # unusable records, after which the LMDB is refused
_SAMPLES = 256  # records that the fingerprint takes in

_logger = logging.getLogger(__name__)


class LmdbWords(WithTexts):
    """Random access to the words of an LMDB, which is opened without reading its records.

    HR images are resized to 128x32 by Pillow's bicubic filter, and LR images are made of them by
    the same filter. Labels are read, and records left out, as by `textzoom.TextZoom`; records whose
    label is too long are left out too. In the place of such a record stands the next usable one, so
    that a record depends on its place alone. A warning counts what is left out at the 1st, the
    10th, the 100th such record, and so on.

    Args:
      place: the folder that holds the LMDB, or its file; only read.
      labels: one of `text.LABELS`.
      alphabet: of the characters that count for a label's length.
      max_length: the most characters of a label.

    Raises:
      UserError: there is no such LMDB, it is damaged, or many records in a row are unusable; by
        reading a record too.
    """

    def __init__(self, place: str, *, labels: str, alphabet: Alphabet, max_length: int) -> None:
        path = pathlib.Path(place).expanduser()
        self._file = path / lmdb_pages.FILE if path.is_dir() else path
        self._name = path.name if path.is_dir() or path.stem != "data" else path.parent.name
        self._labels, self._alphabet, self._max_length = labels, alphabet, max_length
        self._values = lmdb_pages.Values(self._file)
        stated = self._values.get(b"num-samples") or b""
        # Keys have nine digits.
        if not stated.strip().isdigit() or not 0 < int(stated[:20]) < 10**9:
            shown = ascii(stated[:24])[2:-1]
            raise UserError(f"{self._file}: its num-samples is '{shown}'; {_EXPECTED}")
        self._count = int(stated)
        self._left_out: dict[int, str] = {}
        self._counting = threading.Lock()
        self.text(0)  # another kind of LMDB is named now

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Record:
        number, label, hr = self._usable(index)
        return Record(f"{self._name}:{number}", resize(hr, LR_SIZE), hr, label)

    def __repr__(self) -> str:
        return f"LmdbWords({self._file})"

    def text(self, index: int) -> tuple[str, str]:
        number, label, _ = self._usable(index)
        return f"{self._name}:{number}", label

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the number of records and of 256 of them, in 16 hexadecimal digits.

        They are spread over the LMDB. The place, size and times of its file do not matter.
        """
        digest = hashlib.sha256(f"{self._labels} {self._count}".encode())
        chosen = np.unique(np.linspace(1, self._count, _SAMPLES).round().astype(int))
        for number in chosen.tolist():
            for field in ("label", "image"):
                value = self._value(field, number) or b""
                digest.update(f"\n{field} {number} {len(value)} ".encode() + value)
        return digest.hexdigest()[:16]

    def _usable(self, index: int) -> tuple[int, str, np.ndarray]:
        """The number, the word and the HR image of the first usable record from a place on."""
        most = min(_IN_A_ROW, self._count)
        for number in range(index + 1, index + 1 + most):
            number = (number - 1) % self._count + 1
            if number in self._left_out:
                continue
            try:
                return number, *self._read(number)
            except LeftOut as reason:
                self._leave_out(number, str(reason))
        raise UserError(
            f"{self._file}: record {index + 1} and the {most - 1} behind it are unusable, first: "
            f"{self._left_out[index + 1]}; {_EXPECTED}"
        )

    def _read(self, number: int) -> tuple[str, np.ndarray]:
        label = self._value("label", number)
        if label is None:
            raise LeftOut("missing label")
        image = self._value("image", number)
        if image is None:
            raise LeftOut("missing image")
        word = lmdb_pairs.word_of(label, self._labels)
        if len(self._alphabet.normalize(word)) > self._max_length:
            raise LeftOut(f"label longer than {self._max_length} characters")
        return word, lmdb_pairs.image_of(image, HR_SIZE)

    def _value(self, field: str, number: int) -> bytes | None:
        return self._values.get(b"%s-%09d" % (field.encode(), number))

    def _leave_out(self, number: int, reason: str) -> None:
        with self._counting:
            self._left_out[number] = reason
            total = len(self._left_out)
            if total != 10 ** (len(str(total)) - 1):
                return
            reasons: dict[str, list[int]] = {}
            for other, why in self._left_out.items():
                reasons.setdefault(why, []).append(other)
        counted = "; ".join(
            f"{len(numbers)} {why}, first: record {min(numbers)}"
            for why, numbers in reasons.items()
        )
        _logger.warning(
            "%s: skipped %d of %d records so far (%s)",
            escaped(str(self._file)),
            total,
            self._count,
            counted,
        )
