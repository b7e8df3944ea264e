"""The file of an evaluation's words, `results_words.json`: images, and what was read in them.

`evaluate.py` writes it; the page of a run shows it.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from textsr_jax.report import figures
from textsr_jax.report.values import ReadRow

NAME = "results_words.json"
# The images of a file, in base64, take at most so many bytes: a page of them stays below 10 MB.
MOST_BYTES = 6_000_000
# How many words stand for all, and how many of the worst and of the luckiest are shown.
IN_FIGURE, EXTREME = 10, 12
# WebP's quality: at 90 no difference is seen at four times the size.
QUALITY = 90

Place = tuple[str, int]


def content(
    images: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, Sequence[str]],
    rows: Sequence[ReadRow],
) -> dict[str, Any]:
    """Returns the content of a words file, for JSON.

    It has "images" (the names of what made them), "readings" (of each row its "image" and
    "recognizer"), "judged" (the row that words are sorted by), "all" (how many words there are),
    "words", and "figure", "worst" and "luckiest": numbers of words. A word has "split", "number"
    in its split from 1 on, "label", "images" (WebP in base64, in the order of the names) and
    "readings" (of each row "text", "confidence" in [0, 1] and "right").

    Where all words together are too large, "words" has the ones of the three lists, and as many
    others as stand for all of them (`figures.representative`).

    Args:
      images: by the name of what made them ("LR" and "HR" among them), the images of each split,
        uint8 (n, height, width, 3).
      labels: the true words of each split.
      rows: the readings; of images that are in `images`. Each has confidences.
    """
    places = [(split, number) for split in labels for number in range(len(labels[split]))]
    texts = [[row.words[split][number] for split, number in places] for row in rows]
    right = [[row.right[split][number] for split, number in places] for row in rows]
    sure = [[row.confidences[split][number] for split, number in places] for row in rows]
    judged = judged_row([row.sr for row in rows])
    truth = [labels[split][number] for split, number in places]
    shown = {
        "figure": figures.representative(truth, texts, IN_FIGURE),
        **_extremes(right[judged], sure[judged]),
    }
    first = list(dict.fromkeys(number for numbers in shown.values() for number in numbers))
    encoded = {number: _encoded(images, places[number]) for number in first}
    spent = sum(map(_size, encoded.values()))
    # 0.95, because other words may be larger than these.
    fit = int(0.95 * MOST_BYTES / spent * len(first)) if spent else 0
    for number in figures.representative(truth, texts, fit):
        if number not in encoded:
            made = _encoded(images, places[number])
            spent += _size(made)
            if spent > MOST_BYTES:
                break
            encoded[number] = made
    kept = sorted(encoded)
    order = {number: position for position, number in enumerate(kept)}
    words = [
        {
            "split": places[number][0],
            "number": places[number][1] + 1,
            "label": truth[number],
            "images": encoded[number],
            "readings": [
                {
                    "text": texts[row][number],
                    "confidence": sure[row][number],
                    "right": right[row][number],
                }
                for row in range(len(rows))
            ],
        }
        for number in kept
    ]
    return {
        "images": list(images),
        "readings": [{"image": row.sr, "recognizer": row.ocr} for row in rows],
        "judged": judged,
        "all": len(places),
        "words": words,
        **{name: [order[number] for number in numbers] for name, numbers in shown.items()},
    }


def judged_row(made_by: Sequence[str]) -> int:
    """Returns which reading words are judged by: the last one of the first SR model's images.

    Args:
      made_by: of each row, what made its images: "bicubic", an SR model's name, or "HR".
    """
    models = [name for name in made_by if name not in ("bicubic", "HR")]
    wanted = models[0] if models else made_by[0]
    return max(number for number, name in enumerate(made_by) if name == wanted)


def _extremes(right: Sequence[bool], sure: Sequence[float]) -> dict[str, list[int]]:
    """The words that are wrong and most sure, and those that are right and least sure."""
    numbers = range(len(right))
    wrong = sorted((n for n in numbers if not right[n]), key=lambda n: (-sure[n], n))
    lucky = sorted((n for n in numbers if right[n]), key=lambda n: (sure[n], n))
    return {"worst": wrong[:EXTREME], "luckiest": lucky[:EXTREME]}


def _encoded(images: Mapping[str, Mapping[str, np.ndarray]], place: Place) -> list[str]:
    split, number = place
    made = []
    for splits in images.values():
        stream = io.BytesIO()
        Image.fromarray(splits[split][number]).save(stream, "WEBP", quality=QUALITY, method=4)
        made.append(base64.b64encode(stream.getvalue()).decode())
    return made


def _size(encoded: Sequence[str]) -> int:
    return sum(map(len, encoded))
