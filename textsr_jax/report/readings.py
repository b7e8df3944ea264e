"""Readings as lines on standard output, written while reading goes on, and as pictures.

Lines are for people (text), for tables (tsv) or for programs (jsonl).
"""

import contextlib
import dataclasses
import json
import pathlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from textsr_jax.data.sources import Item
from textsr_jax.errors import UserError, escaped
from textsr_jax.images import HR_SIZE, to_rgb
from textsr_jax.reading import Reader, Reading, batches, contents, layouts
from textsr_jax.runtime.progress import Progress
from textsr_jax.storage import atomic

FORMATS = ("text", "tsv", "jsonl")

# Words in a grid; one of all words of a data set could not be opened.
GRID_WORDS = 200


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is written.

    Attributes:
      format: one of `FORMATS`.
      save_sr: a folder for the images that were read, PNG; None for none.
      grid: the picture of the first `GRID_WORDS` words, PNG; None for none.
    """

    format: str = "text"
    save_sr: str | None = None
    grid: str | None = None


def write(
    items: Iterable[Item], total: int | None, load: Callable[[], Reader], settings: Settings
) -> int:
    """Reads all items and writes a line each, batch by batch, in their order.

    Of the images only a batch is in memory, and small copies of those for the grid. An item without
    an image gets a line on standard error, and an object with its error in jsonl.

    Args:
      items: what to read.
      total: how many they are; None where that is not known.
      load: gives the reader; called when there is an image to read.
      settings: what is written.

    Returns:
      How many could not be read.

    Raises:
      UserError: what `load` raises; a folder or file that cannot be written.
    """
    folder = _made_folder(settings.save_sr)
    _check_grid(settings.grid)
    names: Counter[str] = Counter()
    shown: list[tuple[Item, Reading, np.ndarray]] = []
    reader, bad = None, 0
    with Progress(total=total, unit="image", disable=None) as progress, logging_redirect_tqdm():
        for batch in batches(map(_checked, items), lambda item: item.image):
            readable = [item for item in batch if item.image is not None]
            if readable and reader is None:
                reader = load()
            results = reader.read_and_show([item.image for item in readable]) if readable else []
            found = dict(zip(map(id, readable), results, strict=True))
            with _above(progress):
                for item in batch:
                    reading, picture = found.get(id(item), (None, None))
                    if reading is None:
                        bad += 1
                        sys.stdout.flush()
                        print(f"error: {escaped(item.error)}", file=sys.stderr, flush=True)
                    if text := line(item, reading, settings.format):
                        print(text)
                    if reading is None:
                        continue
                    if contents.is_photograph(item.image, reading.text, reading.confidence):
                        sys.stdout.flush()
                        print(_photograph(item), file=sys.stderr, flush=True)
                    if folder is not None:
                        _save(picture, folder / free_name(item.source, names))
                    if settings.grid and len(shown) < GRID_WORDS:
                        shown.append((_thumbnail(item), reading, picture))
                sys.stdout.flush()
            progress.update(len(batch))
    if settings.grid and shown:
        _write_grid(settings.grid, shown)
    return bad


def _checked(item: Item) -> Item:
    """The item; without its image, and with the reason, where that is too wide to be read."""
    if item.image is None:
        return item
    try:
        layouts.check(item.image)
    except UserError as error:
        return dataclasses.replace(item, image=None, error=f"{item.source}: {error}")
    return item


def _photograph(item: Item) -> str:
    return (
        f"warning: {escaped(item.source)}: seems to be a whole photograph, of which no text can be "
        "trusted; crop its words, an image each, and read these"
    )


def line(item: Item, reading: Reading | None, format: str) -> str:
    """How an item's reading is written; empty where there is none and the format has no errors.

    text: `photo.png: open (93 %)`; tsv: source, text and confidence; jsonl: an object with
    `source`, `text` and `confidence`, both null without a reading, and `error` beside them. Names
    are as `errors.escaped` has them, but for jsonl, which has escapes of its own.
    """
    if format == "jsonl":
        if reading is None:
            about = {"text": None, "confidence": None, "error": item.error}
        else:
            about = {"text": reading.text, "confidence": reading.confidence}
        return json.dumps({"source": item.source, **about}, allow_nan=False)
    if reading is None:
        return ""
    if format == "tsv":
        return f"{escaped(item.source)}\t{reading.text}\t{reading.confidence:.4f}"
    return (
        f"{escaped(item.source)}: {reading.text or '(nothing)'} ({100 * reading.confidence:.0f} %)"
    )


def free_name(source: str, names: Counter[str]) -> str:
    """A PNG's name for the image of a source; images of the same name are numbered.

    Names are as `errors.escaped` has them, and cut where they are too long for a file's.

    Args:
      source: of the item.
      names: how often each was given; counted on.
    """
    path, _, number = source.rpartition(":")
    numbered = number.isdigit()
    stem = pathlib.Path(path).name if numbered else pathlib.Path(source).stem
    stem = escaped(stem).encode()[:200].decode(errors="ignore")
    stem += f"_{number}" if numbered else ""
    name = f"{stem}_sr.png"
    while names[name]:
        names[name] += 1
        name = f"{stem}_sr_{names[name]}.png"
    names[name] += 1
    return name


def _thumbnail(item: Item) -> Item:
    """The item with no more pixels than a grid shows of a word, twice over."""
    most = 4 * HR_SIZE[0] * HR_SIZE[1]
    return dataclasses.replace(item, image=to_rgb(Image.fromarray(item.image), most))


@contextlib.contextmanager
def _above(progress: tqdm) -> Iterator[None]:
    """Takes the bar away while lines are printed, where a terminal shows it."""
    if progress.disable:
        yield
        return
    progress.clear()
    yield
    progress.refresh()


def _made_folder(name: str | None) -> pathlib.Path | None:
    if name is None:
        return None
    folder = pathlib.Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--save_sr={folder}: cannot make the folder ({error.strerror}); name another"
        ) from error
    return folder


def _check_grid(name: str | None) -> None:
    if name is None:
        return
    if not name.lower().endswith(".png"):
        raise UserError(f"--grid={name}: name a file that ends in .png")
    if not pathlib.Path(name).absolute().parent.is_dir():
        raise UserError(f"--grid={name}: its folder is not there; make it or name another")


def _save(picture: np.ndarray | Image.Image, path: pathlib.Path) -> None:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with atomic.replacing(path) as stream:
        picture.save(stream, format="PNG")


def _write_grid(name: str, shown: list[tuple[Item, Reading, np.ndarray]]) -> None:
    # Brings the evaluation along, which reading does without.
    from textsr_jax.report import figures

    words = [
        figures.Word(
            escaped(pathlib.PurePath(item.source).name),
            item.image,
            picture,
            reading.text,
            reading.confidence,
            item.label,
        )
        for item, reading, picture in shown
    ]
    _save(figures.grid(words), pathlib.Path(name))
