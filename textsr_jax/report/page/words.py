"""Words as HTML cards: their images, and below each what was read in it, right letters green."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from textsr_jax.report import figures

# What a word is said to be, by whether bicubic and SR images were read rightly.
OUTCOMES = {
    (True, True): "both",
    (False, True): "gained",
    (True, False): "lost",
    (False, False): "neither",
}
_SIZES = {"LR": (64, 16)}


def card(words: Mapping[str, Any], number: int) -> str:
    """Returns the card of a word of a words file (`word_file.content`) as an HTML article."""
    word, names, readings = words["words"][number], words["images"], words["readings"]
    judged = word["readings"][words["judged"]]
    tiles = []
    for name, image in zip(names, word["images"], strict=True):
        width, height = _SIZES.get(name, (128, 32))
        found = [
            (about["recognizer"], reading)
            for about, reading in zip(readings, word["readings"], strict=True)
            if about["image"] == name
        ]
        # Who read it stands there where several did.
        read = [
            _read(reading, word["label"], recognizer if len(found) > 1 else "")
            for recognizer, reading in found
        ]
        tiles.append(
            f'<figure><img src="data:image/webp;base64,{escape(image)}" width="{width}" '
            f'height="{height}" alt="{escape(name)} image of {escape(word["label"])}">'
            f"<figcaption><b>{escape(name)}</b>{''.join(read)}</figcaption></figure>"
        )
    texts = " ".join([word["label"], *(found["text"] for found in word["readings"])])
    about = {
        "split": word["split"],
        "text": texts.lower(),
        "label": word["label"].lower(),
        "sure": f"{judged['confidence']:.6f}",
        "wrong": wrong_letters(judged["text"], word["label"]),
        "gain": f"{judged['confidence'] - _before(words, word)['confidence']:.6f}",
        "outcome": OUTCOMES[bool(_before(words, word)["right"]), bool(judged["right"])],
        "number": number,
    }
    attributes = "".join(f' data-{name}="{escape(str(value))}"' for name, value in about.items())
    return (
        f'<article class="word"{attributes}><h4>{escape(word["label"])} '
        f"<small>{escape(word['split'])} {word['number']}</small></h4>"
        f'<div class="tiles">{"".join(tiles)}</div></article>'
    )


def cards(words: Mapping[str, Any], numbers: Sequence[int]) -> str:
    """Returns the cards of some words, in their order."""
    return "".join(card(words, number) for number in numbers)


def wrong_letters(word: str, label: str) -> int:
    """Returns how many letters of a word that was read are wrong, or else are missing in it."""
    right = sum(figures.right_letters(word, label))
    return max(len(word), len(label)) - right


def _before(words: Mapping[str, Any], word: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reading of the bicubic image; the judged reading where there is none."""
    for about, found in zip(words["readings"], word["readings"], strict=True):
        if about["image"] == "bicubic":
            return dict(found)
    return dict(word["readings"][words["judged"]])


def _read(found: Mapping[str, Any], label: str, recognizer: str) -> str:
    text, sure = found["text"], f"{100 * found['confidence']:.0f}&nbsp;%"
    tags = ["ins" if right else "del" for right in figures.right_letters(text, label)]
    letters = "".join(
        f"<{tag}>{escape(letter)}</{tag}>" for tag, letter in zip(tags, text, strict=True)
    )
    mark = "right" if found["right"] else "wrong"
    by = f"<small>{escape(recognizer)}</small> " if recognizer else ""
    return (
        f'<span class="read {mark}">{by}{letters or "<del>(nothing)</del>"} '
        f"<small>{sure}</small></span>"
    )
