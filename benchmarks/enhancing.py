"""PSNR of words in enlarged photographs: python -m benchmarks.enhancing --photos=FOLDER

Each photograph is halved and enlarged again: by filters, by our enlargement without the SR model,
and with it. The words are those of labels.json, so that no detector is needed.
"""

import math
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from benchmarks.labelled_photographs import SIZES, Photograph, labelled, reduced
from textsr_jax import reading
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.errors import UserError
from textsr_jax.images import resize
from textsr_jax.photos.enhancing import enhance_page
from textsr_jax.photos.page import Line, Page, Word
from textsr_jax.report.tables import new_table, print_table
from textsr_jax.runtime import provenance
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

# A row for words of less than so many pixels in height, in the photograph that is enlarged.
HEIGHTS = (8, 16, 24, 32, math.inf)

# A photograph and its labelled words to the photograph at twice its size.
Enlarge = Callable[[np.ndarray, Page], np.ndarray]


def main(arguments: list[str]) -> None:
    refuse(arguments)
    asked = flags.FLAGS
    if not asked.photos:
        raise UserError("--photos: name a folder of photographs with labels.json")
    reader = reading.load(asked.model)
    ways: dict[str, Enlarge] = {
        "bicubic": lambda image, page: resize(image, (2 * page.width, 2 * page.height)),
        "Lanczos": lambda image, page: _lanczos(image),
        "ours, no SR": lambda image, page: enhance_page(
            image, Page((), page.width, page.height), reader
        ),
        "ours": lambda image, page: enhance_page(image, page, reader),
    }
    rows, measured = [], ["words", *ways]
    for folder in asked.photos:
        chosen, name = labelled(folder, asked.limit), pathlib.Path(folder).name
        for truth, given in (("full", "half"), ("half", "quarter")):
            factors = SIZES[truth], SIZES[given]
            scores = np.array([row for one in chosen for row in measure(one, *factors, ways)])
            rows += [{"photographs": name, "enlarged": given} | row for row in means(scores, ways)]
    table = new_table("words of enlarged photographs, PSNR in dB", ["enlarged", "height"], measured)
    for row in rows:
        psnr = (f"{row['psnr'][name]:.2f}" for name in ways)
        table.add_row(row["enlarged"], row["height"], str(row["n"]), *psnr)
    print_table(table, keys=2)
    if asked.json:
        about = {"provenance": provenance.code(), "rows": rows}
        write_json(asked.json, about)


def measure(
    photograph: Photograph, truth: int, given: int, ways: dict[str, Enlarge]
) -> Iterator[list[float]]:
    """Yields for each word its height and the PSNR in dB of each way to enlarge it.

    Args:
      photograph: as it is.
      truth: the factor by which it is reduced for what is compared with.
      given: the same for what is enlarged, twice as large.
      ways: what enlarges.
    """
    height, width = (side // given * 2 for side in photograph.image.shape[:2])
    whole = reduced(photograph, truth).image[:height, :width]
    small = resize(whole, (width // 2, height // 2))
    boxes = [box / given for _, box in photograph.words]
    corners = [np.array([(x, y), (z, y), (z, w), (x, w)]) for x, y, z, w in boxes]
    lines = tuple(Line((Word("", 1.0, box),), box) for box in corners)
    page = Page(lines, width // 2, height // 2)
    made = [enlarge(small, page).astype(np.float64) for enlarge in ways.values()]
    for left, top, right, bottom in boxes:
        word = np.s_[int(2 * top) : math.ceil(2 * bottom), int(2 * left) : math.ceil(2 * right)]
        errors = [np.square(image[word] - whole[word]).mean() for image in made]
        yield [bottom - top, *(10 * math.log10(255**2 / max(error, 1e-3)) for error in errors)]


def means(scores: np.ndarray, ways: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields the means over all words, and over those of each height.

    Args:
      scores: what `measure` yields, (words, 1 + ways).
      ways: their names.
    """
    names, least = list(ways), 0.0
    parts = [("all", scores)]
    for most in HEIGHTS:
        inside = (scores[:, 0] >= least) & (scores[:, 0] < most)
        parts.append((f"from {least:.0f}", scores[inside]))
        least = most
    for height, chosen in parts:
        if len(chosen):
            psnr = dict(zip(names, chosen[:, 1:].mean(axis=0).tolist(), strict=True))
            yield {"height": height, "n": len(chosen), "psnr": psnr}


def _lanczos(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.asarray(
        Image.fromarray(image).resize((2 * width, 2 * height), Image.Resampling.LANCZOS)
    )


if __name__ == "__main__":
    flags.DEFINE_multi_string(
        "photos",
        [],
        "A folder with labels.json: {file: [[word, [left, top, right, bottom]], ...]}.",
    )
    flags.DEFINE_string("model", str(SHIPPED), "A packed file or workdir with the SR model.")
    flags.DEFINE_integer("limit", None, "So many photographs of a folder.", lower_bound=1)
    flags.DEFINE_string("json", None, "A file for the record.")
    run_script(main)
