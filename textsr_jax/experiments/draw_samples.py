"""Shows what the generator draws: python -m textsr_jax.experiments.draw_samples [--out=docs]

Writes a contact sheet of a hundred synthetic words, and the list of fonts with their licences.
"""

import collections
import pathlib
import textwrap

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from textsr_jax.cli.scripts import run_script
from textsr_jax.data.synthetic import fonts, generation
from textsr_jax.errors import UserError
from textsr_jax.runtime import atomic

SHEET, FONTS = "synthetic_words.png", "fonts.md"
WORDS, COLUMNS = 100, 5
_GAP, _TEXT = 8, 15
_INK = (40, 40, 40)


def contact_sheet(pairs: list[generation.WordPair], columns: int = COLUMNS) -> Image.Image:
    """The high-resolution pictures of words, pixel by pixel, row by row, each above its label.

    Args:
      pairs: as `generation.draw` gives them, all of one size.
      columns: words a row.
    """
    height, width = pairs[0].hr.shape[:2]
    rows = -(-len(pairs) // columns)
    across, down = width + _GAP, height + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * across + _GAP, rows * down + _GAP), "white")
    # Pillow's own font has no pound sign.
    (face, *_), *_ = fonts.find(["open-sans"])
    canvas, font = ImageDraw.Draw(sheet), ImageFont.truetype(face.path, 11)
    for number, pair in enumerate(pairs):
        left = _GAP + number % columns * across
        top = _GAP + number // columns * down
        sheet.paste(Image.fromarray(np.asarray(pair.hr)), (left, top))
        canvas.text((left, top + height), pair.label, fill=_INK, font=font)
    return sheet


def font_list() -> str:
    """The font families in Markdown: package, version, faces drawn, licence; then copyrights.

    Raises:
      UserError: a font package is not installed.
    """
    described = {family: fonts.about(family) for family in fonts.FAMILIES}
    faces = {family[0].family: len(family) for family in fonts.families()}
    licences = collections.Counter(about.licence for about in described.values())
    lines = [
        "# The fonts of the synthetic words",
        "",
        f"{len(faces)} families with {sum(faces.values())} faces: "
        + ", ".join(f"{count} under {licence}" for licence, count in licences.most_common())
        + ".",
        "Each family is a PyPI package that carries the text of its licence.",
        "Faces are the weights and slopes that words are drawn in.",
        "Written by `python -m textsr_jax.experiments.draw_samples`.",
        "",
        "| family | package | version | faces | licence |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {about.name} | `{fonts.package(family)}` | {about.version} | {faces[family]}"
        f" | {about.licence} |"
        for family, about in described.items()
    ]
    lines += ["", "## Copyright", ""]
    for about in described.values():
        notice = f"- {about.name}: {' '.join(about.copyright.split())}"
        lines += textwrap.wrap(notice, 100, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def write(folder: str | pathlib.Path, words: int = WORDS) -> list[pathlib.Path]:
    """Writes both into a folder and returns their paths.

    The words are the first of the training split that the settings' defaults draw.

    Raises:
      UserError: a font package is not installed, or the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    listed, sheet = folder / FONTS, folder / SHEET
    atomic.write_text(listed, font_list(), parents=True)
    settings = generation.GeneratorSettings()
    drawn = tqdm(range(words), desc="drawing", unit="word", disable=None)
    picture = contact_sheet([generation.draw(settings, "train", index) for index in drawn])
    with atomic.replacing(sheet) as stream:
        picture.save(stream, format="PNG", optimize=True)
    return [sheet, listed]


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: textsr_jax.experiments.draw_samples takes flags only")
    print(*write(flags.FLAGS.out), sep="\n")


if __name__ == "__main__":
    flags.DEFINE_string("out", "docs", "The folder to write into.")
    run_script(main)
