"""Drives a reader: writes lines for each image while reading goes on, and pictures.

`textsr_jax.report.readings` says what the line of a crop looks like, `page_lines` those of a page.
"""

import contextlib
import dataclasses
import pathlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from textsr_jax.cli import page_lines
from textsr_jax.cli.line_file import LineFile
from textsr_jax.cli.page_lines import PageReader
from textsr_jax.cli.pictures import check_png
from textsr_jax.data.sources import Item
from textsr_jax.errors import UserError, escaped
from textsr_jax.images import HR_SIZE, to_rgb
from textsr_jax.reading import Reader, Reading, batches, layouts
from textsr_jax.report import figures, readings
from textsr_jax.runtime import atomic
from textsr_jax.runtime.progress import Progress

# The most words in a grid: a picture of all words of a data set could not be opened.
GRID_WORDS = 200


@dataclasses.dataclass(frozen=True)
class Output:
    """What is written.

    Attributes:
      format: of the lines, one of `report.readings.FORMATS`; of pages, of `photos.page.FORMATS`.
      save_sr: a folder for the images that were read, as PNG; None for none.
      grid: a PNG that shows the first `GRID_WORDS` words; None for none.
      pages: reads whole photographs.
      file: where lines go; None to print them.
    """

    format: str = "text"
    save_sr: str | None = None
    grid: str | None = None
    pages: PageReader = dataclasses.field(default_factory=lambda: PageReader(False))
    file: LineFile | None = None


def write_lines(
    items: Iterable[Item], total: int | None, load: Callable[[], Reader], output: Output
) -> int:
    """Reads all items and writes a line for each crop and the lines of each page, in their order.

    Memory holds one batch of images, and small copies of those that the grid shows. An item that
    cannot be read gets a line on standard error; in jsonl it also gets an object with its error.

    Args:
      items: what to read.
      total: the number of items; None where it is not known.
      load: gives the reader. It is called when there is an image to read.
      output: what is written.

    Returns:
      The number of items that could not be read.

    Raises:
      UserError: what `load` raises, or a folder or file cannot be written.
    """
    folder = _made_folder(output.save_sr)
    if output.grid:
        check_png("grid", output.grid)
    pages = output.pages
    names: Counter[str] = Counter()
    shown: list[tuple[Item, Reading, np.ndarray]] = []
    reader, bad = None, 0
    # A photograph takes seconds, so that none waits for others.
    checked, most = (items, 1) if pages.wanted else (map(_checked, items), 64)
    with Progress(total=total, unit="image", disable=None) as progress, logging_redirect_tqdm():
        for batch in batches(checked, lambda item: item.image, most):
            readable = [item for item in batch if item.image is not None]
            if readable and reader is None:
                reader = load()
            words = [item for item in readable if not pages.surely(item)]
            pixels = [item.image for item in words if item.image is not None]
            results = reader.read_and_show(pixels) if reader is not None and pixels else []
            found = dict(zip(map(id, words), results, strict=True))
            for item in batch:
                reading, picture = found.get(id(item), (None, None))
                page = None
                if item.image is not None and reader is not None:
                    page = pages.page(item, reading, reader)
                with _above(progress):
                    if item.image is None:
                        bad += 1
                        _complain(readings.error_line(item))
                    if page is not None:
                        text = page_lines.text(page, item.source, output.format)
                    elif item.image is None and pages.wanted:
                        text = page_lines.error_text(item, output.format)
                    else:
                        text = readings.line(item, reading, output.format)
                    if text:
                        (output.file.write if output.file else print)(text)
                    if pages.tells(item, reading, page):
                        _complain(pages.line(item, page))
                if page is not None or reading is None or picture is None or item.image is None:
                    continue
                if folder is not None:
                    _save(picture, folder / free_name(item.source, names))
                if output.grid and len(shown) < GRID_WORDS:
                    shown.append((_thumbnail(item), reading, picture))
            sys.stdout.flush()
            progress.update(len(batch))
    if output.grid and shown:
        _save(figures.grid([_word(*one) for one in shown]), pathlib.Path(output.grid))
    return bad


def free_name(source: str, names: Counter[str]) -> str:
    """Returns a PNG's name for the image of a source; images of the same name are numbered.

    Names are escaped by `errors.escaped`, and cut to a length that file systems allow.

    Args:
      source: of the item.
      names: how often each name was given; it is counted on.
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


def _checked(item: Item) -> Item:
    """The item; where its image is too wide to be read, it has the reason instead of the image."""
    if item.image is None:
        return item
    try:
        layouts.check(item.image)
    except UserError as error:
        return dataclasses.replace(item, image=None, error=f"{item.source}: {error}")
    return item


def _complain(line: str) -> None:
    # After the lines that were printed before it, also where both streams go to one file.
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)


def _thumbnail(item: Item) -> Item:
    """The item with an image of no more pixels than a grid shows of a word, doubled."""
    assert item.image is not None
    most = 4 * HR_SIZE[0] * HR_SIZE[1]
    return dataclasses.replace(item, image=to_rgb(Image.fromarray(item.image), most))


def _word(item: Item, reading: Reading, picture: np.ndarray) -> figures.Word:
    assert item.image is not None
    return figures.Word(
        name=escaped(pathlib.PurePath(item.source).name),
        given=item.image,
        read=picture,
        text=reading.text,
        confidence=reading.confidence,
        label=item.label,
    )


@contextlib.contextmanager
def _above(progress: tqdm) -> Iterator[None]:
    """Removes the bar while lines are printed, where a terminal shows it."""
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


def _save(picture: np.ndarray | Image.Image, path: pathlib.Path) -> None:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with atomic.replacing(path) as stream:
        picture.save(stream, format="PNG")
