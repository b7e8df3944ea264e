"""Readings as lines: for people (text), for tables (tsv) or for programs (jsonl)."""

import json

from textsr_jax.errors import escaped
from textsr_jax.report.values import ReadItem, ReadText

FORMATS = ("text", "tsv", "jsonl")


def line(item: ReadItem, reading: ReadText | None, format: str) -> str:
    """Returns the line of one image.

    The formats are:
      text: `photo.png: open (93 %)`; `(nothing)` where there is no text, and `(not sure enough)`
        where it was left out.
      tsv: source, text and confidence between tabs.
      jsonl: an object with `source`, `text` and `confidence`. Without a reading the last two are
        null, and `error` stands beside them. Where a text was left out `abstained` is true.

    text and tsv escape names by `errors.escaped`; jsonl has its own escapes.

    Args:
      item: the image.
      reading: what was read in it; None where it could not be read.
      format: one of `FORMATS`.

    Returns:
      The line without its end. It is empty where there is no reading and the format is not jsonl.
    """
    if format == "jsonl":
        if reading is None:
            about: dict[str, str | float | bool | None]
            about = {"text": None, "confidence": None, "error": item.error}
        else:
            about = {"text": reading.text, "confidence": reading.confidence}
            if reading.abstained:
                about["abstained"] = True
        return json.dumps({"source": item.source, **about}, allow_nan=False)
    if reading is None:
        return ""
    if format == "tsv":
        return f"{escaped(item.source)}\t{reading.text}\t{reading.confidence:.4f}"
    text = reading.text or ("(not sure enough)" if reading.abstained else "(nothing)")
    return f"{escaped(item.source)}: {text} ({100 * reading.confidence:.0f} %)"


def error_line(item: ReadItem) -> str:
    """Returns the line that says why an image could not be read."""
    return f"error: {escaped(item.error)}"


def photograph_line(item: ReadItem, missing: str = "") -> str:
    """Returns the line that warns of a whole photograph, and says what to do with it.

    Args:
      item: the image.
      missing: why its words could not be found; empty where that is not known.
    """
    why = f" ({missing})" if missing else ""
    return (
        f"warning: {escaped(item.source)}: seems to be a whole photograph, of which no text can be "
        f"trusted; find its words with --page{why}, or crop its words, an image each, and read "
        "these"
    )


def page_line(item: ReadItem) -> str:
    """Returns the line about an image that was read as a whole photograph without being asked."""
    return (
        f"note: {escaped(item.source)}: is a whole photograph, so that its words were found first, "
        "as with --page; --nopage reads it as one word"
    )
