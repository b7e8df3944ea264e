"""`--out`: lines that are appended to a file, so that a stopped run goes on where it was.

A line or a photograph's lines are written at once and whole. What a power failure tore is redone.
"""

import html
import itertools
import json
import os
import pathlib
import re
from collections import Counter

from textsr_jax.errors import UserError, escaped, fix_for

# Where documents of one line name their source, and how they end.
_DOCUMENTS = {
    "hocr": re.compile(r"<\?xml .*<title>(.*?)</title>.*</html>\n"),
    "alto": re.compile(r"<\?xml .*<fileName>(.*?)</fileName>.*</alto>\n"),
}
# Formats whose lines name their source, by which a run knows what it has done.
FORMATS = ("tsv", "jsonl", *_DOCUMENTS)
_FIX = "name another file in --out"


class LineFile:
    """A file of lines of `read.py`, one format.

    Attributes:
      done: how many times each source is in the file already, escaped by `errors.escaped`.
      bad: how many of these could not be read.

    Args:
      path: the file. It is made if it is missing, and its last lines are cut off if it does not
        end with a whole line.
      format: one of `FORMATS`.

    Raises:
      UserError: the format is another one, or the file cannot be read or written, or holds
        something else.
    """

    def __init__(self, path: str, format: str):
        if format not in FORMATS:
            raise UserError(
                f"--out={path}: a run goes on by the sources in its lines, which --format={format} "
                f"does not have; add --format=jsonl, or another of {', '.join(FORMATS)}"
            )
        self._path, self._format = pathlib.Path(path), format
        self.done: Counter[str] = Counter()
        self.bad = 0
        try:
            content = self._path.read_bytes() if self._path.exists() else b""
            self._end = self._read(content)
            # Whatever is not a whole line is written over.
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
            self._file.truncate(self._end)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"--out={path}: {reason}; {fix_for(error, _FIX)}") from error

    def write(self, lines: str) -> None:
        """Appends the lines of one source, which need no end; all of them or none.

        Raises:
          OSError: they cannot be written, as on a full disk.
        """
        content = f"{lines}\n".encode()
        try:
            written = 0
            while written < len(content):
                written += self._file.write(content[written:])
        except OSError as error:
            self._file.truncate(self._end)
            error.filename = str(self._path)
            raise
        self._end += len(content)

    def close(self) -> None:
        """Writes everything to the disk."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _read(self, content: bytes) -> int:
        """Counts the sources of whole lines and returns how many bytes these have."""
        end = content.rfind(b"\n") + 1
        sources, starts, place = [], [], 0
        for number, line in enumerate(content[:end].splitlines(keepends=True), 1):
            sources.append(self._source(line, number))
            starts.append(place)
            place += len(line)
        if end < len(content) and self._format == "tsv":
            # A photograph has a line for each word: all lines of the torn one are redone.
            last = sources[-1] if sources else ""
            while sources and sources[-1] == last:
                sources.pop()
                end = starts.pop()
        if self._format == "tsv":
            # Lines of one photograph follow each other.
            sources = [source for source, _ in itertools.groupby(sources)]
        self.done.update(sources)
        return end

    def _source(self, line: bytes, number: int) -> str:
        try:
            text = line.decode()
            if self._format == "jsonl":
                found = json.loads(text)
                self.bad += "error" in found
                return escaped(found["source"])
            if self._format in _DOCUMENTS:
                document = _DOCUMENTS[self._format].fullmatch(text)
                if not document:
                    raise ValueError
                return html.unescape(document[1])
            source, _, rest = text.partition("\t")
            if not rest:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"--out={self._path}: line {number} is not one of --format={self._format}; {_FIX}"
            ) from None
        return source
