"""Recognises files that are no models: web pages, Git LFS pointers, archives and others.

Only the first bytes of a file are needed.
"""

_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull there"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "an array of numpy (.npy)"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"\xfd7zXZ", "an xz archive: unpack it"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it"),
    (b"\x89PNG", "an image (PNG)"),
    (b"\xff\xd8\xff", "an image (JPEG)"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
)
_WEB = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")
# The format of PyTorch 0.1.
_OLD_TAR = (b"sys_info", b"pickle", b"storages", b"tensors")


# How many of the first bytes `foreign` takes.
LOOKED_AT = 4096


def foreign(start: bytes, suffix: str = "") -> str | None:
    """Returns what a file is, and what to do about it; None where it may be a model.

    Args:
      start: its first `LOOKED_AT` bytes.
      suffix: the suffix of its name, such as ".onnx".
    """
    if not start:
        return "an empty file"
    for first, kind in _STARTS:
        if start.startswith(first):
            return kind
    # A byte order mark and white space may come first.
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.lower().startswith(_WEB):
        return "a web page, not the file itself: download the raw file that it links to"
    if start[257:262] == b"ustar":
        old = start.split(b"\0", 1)[0].removeprefix(b"./") in _OLD_TAR
        return (
            "a checkpoint in the tar format of PyTorch 0.1: load it there and save its state dict "
            "again"
            if old
            else "a tar archive: unpack it"
        )
    # An ONNX file begins with its version and the name of the program that wrote it.
    if suffix.lower() == ".onnx" or (start[:1] == b"\x08" and start[2:3] == b"\x12"):
        return "an ONNX graph, which has no names of a published checkpoint"
    if _is_text(start):
        return "a text"
    return None


def _is_text(start: bytes) -> bool:
    try:
        # The last character may be cut.
        decoded = start.decode() if len(start) < LOOKED_AT else start[:-4].decode(errors="replace")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n\f" for c in decoded) and "\ufffd" not in decoded
