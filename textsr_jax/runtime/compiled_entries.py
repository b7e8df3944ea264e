"""The entries of JAX's compilation cache: removes those that a kill or a disk has spoiled.

JAX writes entries in place, warns of one that it cannot read, and never replaces it. So each entry
is compared with its digest before JAX reads any. An entry without a digest is new; it must be
complete.
"""

import contextlib
import hashlib
import importlib
import json
import pathlib
import zlib

_SUFFIX = "-cache"
_DIGESTS = "digests.json"
# For all entries together; the oldest are removed first.
_MOST_BYTES = 1 << 30


def remove_spoiled(folder: pathlib.Path) -> None:
    """Removes entries that have changed since they were written, and the oldest of too many.

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
        # Where two processes write at once, or one is killed, what is there is no JSON. It then
        # counts as missing, and the next start writes it again.
        (folder / _DIGESTS).write_text(json.dumps(digests))


def _read_digests(folder: pathlib.Path) -> dict[str, str]:
    try:
        digests = json.loads((folder / _DIGESTS).read_text())
    except (OSError, ValueError):
        return {}
    return digests if isinstance(digests, dict) else {}


def _is_whole(content: bytes) -> bool:
    """Whether an entry can be decompressed; JAX compresses with Zstandard or else with zlib."""
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
    # JAX could not decompress it either.
    return False
