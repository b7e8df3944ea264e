"""The entries of JAX's compilation cache: those that a kill or a disk spoiled are removed.

JAX writes them in place, warns of one that it cannot read, and never replaces it. So each is looked
at before JAX reads any, by a digest; one without a digest is new, and must be whole.
"""

import contextlib
import hashlib
import importlib
import json
import os
import pathlib
import tempfile
import zlib

_SUFFIX = "-cache"
_DIGESTS = "digests.json"
# All entries together; the oldest go first.
_MOST_BYTES = 1 << 30


def remove_spoiled(folder: pathlib.Path) -> None:
    """Removes the entries that are not as they were written, and the oldest where there are many.

    Raises:
      OSError: the folder cannot be read or written.
    """
    known = _read_digests(folder)
    digests, ages = {}, []
    for path in folder.glob(f"*{_SUFFIX}"):
        # Another process may remove it at the same time.
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if known.get(path.name, digest) != digest or (
                path.name not in known and not _is_whole(content)
            ):
                path.unlink()
                continue
            digests[path.name] = digest
            ages.append((path.stat().st_mtime, path, len(content)))
    size = sum(length for _, _, length in ages)
    for _, path, length in sorted(ages):
        if size <= _MOST_BYTES:
            break
        path.unlink(missing_ok=True)
        del digests[path.name]
        size -= length
    if digests != known:
        handle, partial = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w") as stream:
            json.dump(digests, stream)
        os.replace(partial, folder / _DIGESTS)


def _read_digests(folder: pathlib.Path) -> dict[str, str]:
    try:
        digests = json.loads((folder / _DIGESTS).read_text())
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def _is_whole(content: bytes) -> bool:
    """Whether an entry can be expanded: it is compressed, by what JAX finds installed."""
    if content[:4] != b"\x28\xb5\x2f\xfd":
        try:
            expander = zlib.decompressobj()
            expander.decompress(content)
        except zlib.error:
            return False
        return expander.eof and not expander.unused_data
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            try:
                importlib.import_module(name).decompress(content)
            except Exception:  # both modules have errors of their own
                return False
            return True
    # Nor could JAX expand it.
    return False
