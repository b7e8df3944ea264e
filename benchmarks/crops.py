"""Rules of reading: python -m benchmarks.crops --data_root=TEXTZOOM --words=LMDB [--model=FILE]

What to read as it is, what in windows: accuracy of each rule that `textsr_jax.reading.crops` could
follow; and how words are read that are turned, stacked, apart, or in much blank space.
Prints tables and writes JSON.
Choose rules with better models again, never on words of a test.
"""

import itertools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image, ImageDraw
from rich.table import Table
from tqdm import tqdm

from benchmarks import needs_extra
from textsr_jax import reading, text
from textsr_jax.cli.scripts import run_script
from textsr_jax.data.synthetic import backgrounds, colours, fonts, vocabulary
from textsr_jax.errors import UserError
from textsr_jax.images import HR_SIZE, decode_rgb, resize
from textsr_jax.reading import crops
from textsr_jax.report.tables import print_table
from textsr_jax.runtime.atomic import write_json
from textsr_jax.storage.shipped import SHIPPED

with needs_extra(__name__):
    from textsr_jax.data import lmdb_folders

DETAILS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05)
# Width of a window and what it shares with the next, in heights.
WINDOWS = ((4.0, 1.5), (5.0, 2.0), (6.0, 2.0))
ASPECTS = (2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0, 24.0)
SEED = 0
# A wrong text of a greater confidence misleads.
SURE = 0.8
GROUNDS = ("plain", "noise", "busy")
TITLES = {
    "sharp": "what is enlarged, accuracy in %",
    "wide": "width of strings in heights, accuracy in %",
    "layouts": f"layouts, in %; sure is above {100 * SURE:g}",
}

Words = Sequence[tuple[np.ndarray, str]]


def main(arguments: list[str]) -> None:
    asked = flags.FLAGS
    if arguments or not asked.data_root or not asked.words:
        wrong = f"{arguments[0]!r}: takes flags only; name" if arguments else "name"
        raise UserError(f"{wrong} training words in --data_root and --words")
    reader = reading.load(asked.model)
    results: dict[str, Any] = {"model": pathlib.Path(asked.model or SHIPPED).name}
    measures = {
        "sharp": lambda: sharp(reader, real_words(asked.data_root, asked.words, asked.limit)),
        "wide": lambda: wide(reader, asked.drawn),
        "layouts": lambda: layouts(reader, _side(asked.words, "image", asked.limit), asked.drawn),
    }
    for name in asked.measure or measures:
        results[name] = measures[name]()
        _print(TITLES[name], results[name])
    if asked.out:
        write_json(asked.out, results)


def real_words(data_root: str, crops_of: str, limit: int) -> dict[str, Words]:
    """Some `limit` words of each set: training words' LR sides, these enlarged, HR sides; crops."""
    sets: dict[str, Words] = {}
    for folder in sorted(pathlib.Path(data_root).glob("train*")):
        low, high = (_side(folder, side, limit) for side in ("image_lr", "image_hr"))
        sets[f"{folder.name} LR"] = low
        # As big as HR, and no sharper than LR.
        sets[f"{folder.name} LR, bicubic"] = [(resize(i, HR_SIZE), label) for i, label in low]
        sets[f"{folder.name} HR"] = high
    if not sets:
        raise UserError(f"--data_root={data_root}: has no folder train*; name one that has")
    sets[pathlib.Path(crops_of).name] = _side(crops_of, "image", limit)
    return sets


def _side(folder: str | pathlib.Path, name: str, limit: int) -> Words:
    folder, words = pathlib.Path(folder), []
    with lmdb_folders.open_samples(folder, f"expected keys such as {name}-000000001") as samples:
        for number in samples.numbers[:: max(1, len(samples.numbers) // limit)]:
            image, label = samples.get(name, number), samples.get("label", number)
            if image is not None and label is not None and text.normalize(label.decode()):
                place = f"{folder}:{number}"
                words.append((decode_rgb(image, place), text.normalize(label.decode())))
    return words


def sharp(reader: reading.Reader, sets: dict[str, Words]) -> list[dict[str, Any]]:
    """Accuracy by what is read as it is: nothing, all, by height, by detail; or both ways."""
    rows = []
    for name, words in tqdm(sets.items(), desc="sharp", disable=None):
        images = [image for image, _ in words]
        enlarged = reader.read_enhanced(reader.enhance(images))
        plain = reader.read_enhanced(np.stack([resize(image, HR_SIZE) for image in images]))
        details = np.array([crops.detail(image) for image in images])
        surer = [a.confidence < b.confidence for a, b in zip(enlarged, plain, strict=True)]
        rules = {
            "SR always": np.zeros(len(words), bool),
            "never": np.ones(len(words), bool),
            "height > 16": np.array([len(image) > 16 for image in images]),
            **{f"detail {least:g}": details >= least for least in DETAILS},
            "surer of both": np.array(surer),
        }
        row: dict[str, Any] = {"what": name, "words": len(words)}
        for rule, taken in rules.items():
            chosen = [b if t else a for a, b, t in zip(enlarged, plain, taken, strict=True)]
            row[rule] = _accuracy(chosen, words)
        rows.append(row)
    rules = list(rows[0])[2:]
    mean = {rule: float(np.mean([row[rule] for row in rows])) for rule in rules}
    return [*rows, {"what": "mean", "words": sum(row["words"] for row in rows), **mean}]


def wide(reader: reading.Reader, drawn: int) -> list[dict[str, Any]]:
    """Accuracy on drawn strings by their aspect: in one piece, and in windows of several sizes."""
    rows = []
    for low, high in tqdm([*itertools.pairwise(ASPECTS)], desc="wide", disable=None):
        words = [_string(low, high, seed) for seed in range(drawn)]
        trimmed = [crops.trimmed(image) for image, _ in words]
        # They are sharp. Not by `read`, which would cut wide windows into windows once more.
        whole = reader.read_enhanced(np.stack([resize(image, HR_SIZE) for image in trimmed]))
        row: dict[str, Any] = {"what": f"{low:g} to {high:g}", "words": len(words)}
        row["letters"] = float(np.mean([len(label) for _, label in words]))
        row["one piece"] = _accuracy(whole, words)
        for size, overlap in WINDOWS:
            parts = [crops.windows(image, size, size, overlap) for image in trimmed]
            pieces = [resize(place.image, HR_SIZE) for places in parts for place in places]
            read = iter(reader.read_enhanced(np.stack(pieces), cut=True))
            found = []
            for places in parts:
                texts = [next(read).text for _ in places]
                found.append(reading.Reading(crops.join(texts, places), 0.0))
            row[f"{size:g}, {overlap:g}"] = _accuracy(found, words)
        rows.append(row)
    return rows


def layouts(reader: reading.Reader, words: Words, drawn: int) -> list[dict[str, Any]]:
    """How images are read that are no upright word: accuracy, and the part that is sure and wrong.

    Args:
      words: real ones.
      drawn: how many words are drawn of each kind.
    """
    strings = [_string(2.0, 4.0, seed) for seed in range(drawn)]
    sets: dict[str, Words] = {}
    for kind, upright in (("real words", words), ("drawn words", strings)):
        for turn, name in enumerate(("upright", "turned left", "upside down", "turned right")):
            turned = [(np.rot90(image, turn).copy(), label) for image, label in upright]
            sets[f"{kind}, {name}"] = turned
    seeds = range(drawn)
    sets["drawn words, blank around"] = [
        _blank_around(*word, seed) for seed, word in enumerate(strings)
    ]
    sets["single letters that are tall"] = [_letter(seed) for seed in seeds]
    sets["letters below each other"] = [_stacked(seed) for seed in seeds]
    for ground in GROUNDS:
        sets[f"two words apart, {ground}"] = [_apart(ground, seed) for seed in seeds]
    sets["one word, letters apart"] = [_spaced(seed) for seed in seeds]
    rows = []
    for name, images in tqdm(sets.items(), desc="layouts", disable=None):
        found = reader.read([image for image, _ in images])
        wrong = [
            one.text != label and one.confidence > SURE
            for one, (_, label) in zip(found, images, strict=True)
        ]
        rows.append(
            {
                "what": name,
                "words": len(images),
                "right": _accuracy(found, images),
                "sure and wrong": 100 * float(np.mean(wrong)),
            }
        )
    return rows


def _blank_around(image: np.ndarray, label: str, seed: int) -> tuple[np.ndarray, str]:
    """The word in an image of its ground up to seven times as high and four times as wide."""
    rng = np.random.default_rng([SEED, 2, seed])
    height, width = image.shape[:2]
    down, across = rng.integers(height, 3 * height, 2), rng.integers(0, 2 * width, 2)
    shape = height + down.sum(), width + across.sum(), 3
    # `_drawn` leaves its ground in the corner.
    whole = image[:3, :3].mean() + np.repeat(rng.normal(0, 4, (*shape[:2], 1)), 3, axis=2)
    whole[down[0] : down[0] + height, across[0] : across[0] + width] = image
    return np.clip(whole, 0, 255).astype(np.uint8), label


def _apart(ground: str, seed: int) -> tuple[np.ndarray, str]:
    """Two words on a line, one to two heights of theirs apart, and their texts."""
    rng = np.random.default_rng([SEED, 3, seed])
    pair = [vocabulary.sample("dictionary", 2, 8, rng) for _ in range(2)]
    gap = rng.uniform(1.0, 2.0)
    mask = _line(pair, fonts.choose("".join(pair), rng, basic=True), gap)
    colour, letters = colours.pair(rng)
    picture = np.broadcast_to(colour, (*mask.shape, 3))
    if ground == "busy":
        picture = backgrounds.draw(colour, letters, mask.shape, rng)
    if ground == "noise":
        picture = picture + rng.normal(0, rng.uniform(3, 20), picture.shape)
    ink = mask[..., None] / 255
    picture = np.clip(picture + ink * (letters - picture), 0, 255).astype(np.uint8)
    height = int(rng.integers(24, 65))
    size = max(1, round(height * mask.shape[1] / mask.shape[0])), height
    return resize(picture, size), "".join(map(text.normalize, pair))


def _spaced(seed: int) -> tuple[np.ndarray, str]:
    """A word whose letters stand 0.3 to one height apart."""
    rng = np.random.default_rng([SEED, 4, seed])
    word = vocabulary.sample("dictionary", 3, 8, rng)
    mask = _line(list(word), fonts.choose(word, rng, basic=True), rng.uniform(0.3, 1.0))
    picture = np.stack([230 - mask * rng.uniform(0.5, 0.9)] * 3, axis=-1).astype(np.uint8)
    return resize(picture, (max(1, round(32 * mask.shape[1] / mask.shape[0])), 32)), text.normalize(
        word
    )


def _line(parts: Sequence[str], face: fonts.Face, gap: float) -> np.ndarray:
    """A mask of texts on one line, 64 pixels high, `gap` heights of theirs apart, float (64, W)."""
    font = fonts.load(face)
    boxes = [font.getbbox(part, anchor="ls") for part in parts]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    margin, space = 0.12 * (bottom - top), gap * (bottom - top)
    width = sum(box[2] - box[0] for box in boxes) + space * (len(parts) - 1) + 2 * margin
    mask = Image.new("L", (math.ceil(width), math.ceil(bottom - top + 2 * margin)))
    x = margin
    for part, box in zip(parts, boxes, strict=True):
        ImageDraw.Draw(mask).text((x - box[0], margin - top), part, 255, font, "ls")
        x += box[2] - box[0] + space
    size = max(1, round(64 * mask.width / mask.height)), 64
    return np.asarray(mask.resize(size, Image.Resampling.BICUBIC), float)


def _stacked(seed: int) -> tuple[np.ndarray, str]:
    """A word whose letters stand below each other."""
    rng = np.random.default_rng([SEED, 5, seed])
    word = vocabulary.sample("dictionary", 3, 8, rng)
    word = word.upper() if rng.random() < 0.6 else word
    font = fonts.load(fonts.choose(word, rng, basic=True))
    boxes = [font.getbbox(letter) for letter in word]
    high, wide = max(box[3] for box in boxes), max(box[2] - box[0] for box in boxes)
    pitch, margin = round(high * rng.uniform(1.0, 1.5)), round(0.2 * wide)
    ink, ground = rng.permutation([rng.integers(0, 80), rng.integers(160, 256)])
    image = Image.new("L", (wide + 2 * margin, pitch * len(word) + 2 * margin), int(ground))
    for row, (letter, box) in enumerate(zip(word, boxes, strict=True)):
        x = margin + (wide - box[2] + box[0]) // 2 - box[0]
        ImageDraw.Draw(image).text((x, margin + row * pitch), letter, int(ink), font)
    width = int(rng.integers(24, 49))
    size = width, max(1, round(width * image.height / image.width))
    return resize(np.asarray(image.convert("RGB")), size), text.normalize(word)


def _string(low: float, high: float, seed: int) -> tuple[np.ndarray, str]:
    """One to several words drawn without spaces, `low` to `high` heights wide, and its label."""
    rng = np.random.default_rng([SEED, seed])
    while True:
        letters = vocabulary.sample("dictionary", 3, 10, rng)
        face = fonts.choose(letters, rng, basic=True)
        for _ in range(20):
            image = _drawn(letters, face, rng)
            aspect = image.shape[1] / image.shape[0]
            if low <= aspect < high:
                return image, text.normalize(letters)
            if aspect >= high:
                break
            letters += vocabulary.sample("dictionary", 3, 10, rng)


def _letter(seed: int) -> tuple[np.ndarray, str]:
    rng = np.random.default_rng([SEED, 1, seed])
    while True:
        letter = str(rng.choice(list(text.ALPHANUMERIC.characters)))
        image = _drawn(letter, fonts.choose(letter, rng, basic=True), rng)
        if image.shape[0] > crops.TALL * image.shape[1]:
            return image, letter


def _drawn(letters: str, face: fonts.Face, rng: np.random.Generator) -> np.ndarray:
    """Dark letters on light or light on dark, 32 pixels high, a little noisy."""
    font = fonts.load(face)
    box = font.getbbox(letters)
    margin = (box[3] - box[1]) // 6
    size = box[2] - box[0] + 2 * margin, box[3] - box[1] + 2 * margin
    ink, ground = rng.permutation([rng.integers(0, 80), rng.integers(160, 256)])
    image = Image.new("L", size, int(ground))
    place = margin - box[0], margin - box[1]
    ImageDraw.Draw(image).text(place, letters, fill=int(ink), font=font)
    width = max(1, round(32 * size[0] / size[1]))
    pixels = np.asarray(image.resize((width, 32), Image.Resampling.BICUBIC), float)
    noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    return np.stack([noisy] * 3, axis=-1)


def _accuracy(readings: Sequence[reading.Reading], words: Words) -> float:
    right = [one.text == label for one, (_, label) in zip(readings, words, strict=True)]
    return 100 * float(np.mean(right))


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        shown = [f"{v:.1f}" if isinstance(v, float) else str(v) for v in row.values()]
        table.add_row(*shown)
    print_table(table)


def _define_flags() -> None:
    # Not on import: tests import several benchmarks, whose flags share names.
    flags.DEFINE_string("data_root", None, "TextZoom's LMDB folders, of which train* are read.")
    flags.DEFINE_string("words", None, "An LMDB of a recognition benchmark's training words.")
    flags.DEFINE_multi_enum("measure", None, list(TITLES), "What is measured; default: all.")
    flags.DEFINE_string("model", None, "A packed file or workdir; default: the shipped models.")
    flags.DEFINE_integer("limit", 300, "About how many words of each set.", lower_bound=1)
    flags.DEFINE_integer("drawn", 100, "Strings drawn for each range.", lower_bound=1)
    flags.DEFINE_string("out", None, "The JSON file; default: none.")


if __name__ == "__main__":
    _define_flags()
    run_script(main)
