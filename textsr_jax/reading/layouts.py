"""Layouts of an image: upright, turned, with its words apart, or with letters below each other.

If an image allows several layouts, all are read once, and what was read chooses one.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self

import numpy as np

from textsr_jax.decoding import Words, log_ratio
from textsr_jax.errors import UserError
from textsr_jax.reading import contents, crops
from textsr_jax.reading.crops import Window

# The most windows of one image, which is some 160 heights of text; and the most windows of a line
# that is read in one piece although its words could be read apart.
MOST_WINDOWS, MOST_IN_ONE_PIECE = 64, 8

# What is added to the log odds that a layout's text is right. The values were fitted on turned
# training words and tall drawn letters (docs/results/reading_rules.md). First the usual number of
# letters in a height, and the cost of more or fewer, by the logarithm. Then bonuses: tall crops are
# mostly upright, wide ones nearly always, and several letters that stand apart are a word.
_LETTERS, _DENSITY = 1.5, 3.0
_TALL_UPRIGHT, _WIDE_UPRIGHT, _WORDS_APART = 1.0, 3.5, 4.0
# Letters that an edge or a frame may be read as.
_STROKES = frozenset("il1I|!")
# The greatest log-confidence that counts: confidences of 0.999 and 1 are the same.
_SUREST = -1e-3

# A wide image is also read upside down if its text is less sure than this, and less likely to be
# English than this (`decoding.log_ratio`).
UNSURE, ENGLISH = 0.9, 10.0


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way to read an image.

    Attributes:
      words: the windows of each word, from left to right.
      prior: log odds for the layout before anything is read.
      tall: whether the image is tall; then the number of letters in a height counts.
      turned: by how many quarters, counter-clockwise, the image was turned for it; 0 to 3.
    """

    words: tuple[tuple[Window, ...], ...]
    prior: float = 0.0
    tall: bool = False
    turned: int = 0

    @classmethod
    def of(
        cls, words: Sequence[np.ndarray], prior: float = 0.0, tall: bool = False, turned: int = 0
    ) -> Self:
        """Returns the layout of words, uint8 (height, width, 3), side by side.

        Raises:
          UserError: they are wider than any line of text.
        """
        if sum(map(crops.count_windows, words)) > MOST_WINDOWS:
            height, width = words[0].shape[0], sum(word.shape[1] for word in words)
            raise UserError(
                f"the image shows a line of {width}x{height} pixels, and at most "
                f"{MOST_WINDOWS * (crops.WINDOW - crops.OVERLAP):.0f} times its height is read; "
                "cut it into shorter images"
            )
        return cls(tuple(tuple(crops.windows(word)) for word in words), prior, tall, turned)

    @property
    def windows(self) -> list[Window]:
        """All windows, word by word."""
        return [window for word in self.words for window in word]

    @property
    def cut(self) -> list[bool]:
        """For each window, whether its edges cut words."""
        return [len(word) > 1 for word in self.words for _ in word]

    def upside_down(self) -> Self:
        """Returns the same line, turned by 180 degrees."""
        words = []
        for word in reversed(self.words):
            end = word[-1].right
            words.append(
                tuple(
                    Window(np.rot90(part.image, 2), end - part.right, end - part.left)
                    for part in reversed(word)
                )
            )
        prior, turned = self.prior - _WIDE_UPRIGHT, (self.turned + 2) % 4
        return dataclasses.replace(self, words=tuple(words), prior=prior, turned=turned)


@dataclasses.dataclass(frozen=True)
class Found:
    """What was read in a layout.

    Attributes:
      layout: the layout.
      pictures: what the recogniser saw, uint8 (windows of the layout, 32, 128, 3).
      texts: the text of each word.
      log_confidence: the natural logarithm of the confidence in all texts, before temperature.
      letters: the same of each letter of `text`, float64 (length of the text,). A space between two
        words is as sure as can be.
      space: what stands between two words.
    """

    layout: Layout
    pictures: np.ndarray
    texts: tuple[str, ...]
    log_confidence: float
    letters: np.ndarray
    space: str = ""

    @property
    def text(self) -> str:
        """The text of all words that have one."""
        return self.space.join(filter(None, self.texts))

    @property
    def picture(self) -> np.ndarray:
        """What the recogniser saw, as one picture, uint8 (32, width, 3)."""
        pictures, done = [], 0
        for word in self.layout.words:
            pictures.append(crops.side_by_side(self.pictures[done : done + len(word)], word))
            done += len(word)
        return np.concatenate(pictures, axis=1)

    @property
    def evidence(self) -> float:
        """The log odds for the layout, up to a constant."""
        sure = min(self.log_confidence, _SUREST)
        evidence = sure - math.log(-math.expm1(sure)) + self.layout.prior
        if len(self.texts) > 1 and min(map(len, self.texts)) > 1:
            evidence += _WORDS_APART
        if self.layout.tall:
            heights = sum(word[-1].right - word[0].left for word in self.layout.words)
            density = (len(self.text) + 0.3) / heights
            evidence -= _DENSITY * abs(math.log(density / _LETTERS))
        return evidence


class Recognize(Protocol):
    """Reads pictures, uint8 (n, 32, 128, 3); `again` as `WordSearch.read` takes it."""

    def __call__(self, images: np.ndarray, cut: Sequence[bool], again: bool, /) -> Words: ...


def possible(image: np.ndarray) -> list[Layout]:
    """Returns the layouts in which an image may be read; none if it holds no text.

    Args:
      image: uint8 (height, width, 3).

    Raises:
      UserError: the image is wider than any line of text.
    """
    if contents.is_blank(image):
        return []
    image = crops.trimmed(image)
    height, width = image.shape[:2]
    if height <= crops.TALL * width:
        return _lines(image)
    found = [Layout.of([image], _TALL_UPRIGHT, tall=True)]
    for turned in (1, 3):
        found += _lines(crops.trimmed(np.rot90(image, turned)), tall=True, turned=turned)
    letters = crops.unstacked(image)
    return found if letters is None else [*found, Layout.of([letters], tall=True)]


def check(image: np.ndarray) -> None:
    """Raises the `UserError` that reading an image, uint8 (height, width, 3), would raise."""
    if max(map(crops.count_windows, (image, np.rot90(image)))) > MOST_WINDOWS:
        possible(image)


def _lines(image: np.ndarray, tall: bool = False, turned: int = 0) -> list[Layout]:
    """Returns a line in one piece and, if it has wide space in it, its words apart."""
    words = crops.apart(image)
    apart = Layout.of(words, tall=tall, turned=turned)
    if len(words) == 1 and words[0].shape == image.shape:
        return [apart]
    if crops.count_windows(image) > MOST_IN_ONE_PIECE:
        return [apart]
    return [Layout.of([image], tall=tall, turned=turned), apart]


def read(
    images: Sequence[np.ndarray],
    sharpen: Callable[[Sequence[np.ndarray]], np.ndarray],
    recognize: Recognize,
    space: str = "",
) -> list[Found | None]:
    """Reads images, each in the layout with the most evidence.

    If an image allows several layouts, each is read once to choose one. A wide image with an unsure
    text is then also read upside down. The evidence for other texts reduces the confidence in the
    chosen one.

    Args:
      images: uint8 (height, width, 3), of any size.
      sharpen: makes uint8 (n, 32, 128, 3) of n windows.
      recognize: reads these.
      space: what stands between two words of a text.

    Returns:
      What was read in each image; None if it holds no text.

    Raises:
      UserError: an image is wider than any line of text.
    """
    options = [possible(image) for image in images]
    pictures = iter(_sharpened([layout for some in options for layout in some], sharpen))
    shown = [[next(pictures) for _ in some] for some in options]
    several = [number for number, some in enumerate(options) if len(some) > 1]
    shares: dict[int, float] = {}
    read_layouts = functools.partial(_read, recognize=recognize, space=space)
    looks = iter(
        read_layouts(
            [layout for number in several for layout in options[number]],
            [picture for number in several for picture in shown[number]],
            again=False,
        )
    )
    for number in several:
        best, shares[number] = _best([next(looks) for _ in options[number]])
        options[number], shown[number] = [best.layout], [best.pictures]
    some = [number for number, layouts in enumerate(options) if layouts]
    chosen = [options[number][0] for number in some]
    first = [shown[number][0] for number in some]
    found: dict[int, Found] = dict(zip(some, read_layouts(chosen, first, again=True), strict=True))

    unsure = [number for number, one in found.items() if _may_be_upside_down(one)]
    # For a first reading, the pictures that were sharpened upright are good enough.
    turned = [found[number].layout.upside_down() for number in unsure]
    around = [found[number].pictures[::-1, ::-1, ::-1] for number in unsure]
    second = zip(unsure, read_layouts(turned, around, again=False), strict=True)
    likely = [(n, look.layout) for n, look in second if look.evidence > found[n].evidence]
    chosen = [layout for _, layout in likely]
    read_again = read_layouts(chosen, _sharpened(chosen, sharpen), again=True)
    for (number, _), one in zip(likely, read_again, strict=True):
        found[number], shares[number] = _best([found[number], one])
    for number, share in shares.items():
        one = found[number]
        found[number] = dataclasses.replace(
            one, log_confidence=one.log_confidence + share, letters=one.letters + share
        )
    return [found.get(number) for number in range(len(images))]


def _sharpened(
    layouts: Sequence[Layout], sharpen: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> list[np.ndarray]:
    """Returns the pictures of each layout."""
    pictures = sharpen([window.image for layout in layouts for window in layout.windows])
    ends = np.cumsum([len(layout.windows) for layout in layouts])
    return np.split(pictures, ends[:-1]) if layouts else []


def _read(
    layouts: Sequence[Layout],
    pictures: Iterable[np.ndarray],
    recognize: Recognize,
    space: str,
    again: bool,
) -> list[Found]:
    """Returns what was read in each layout."""
    if not layouts:
        return []
    cut = [flag for layout in layouts for flag in layout.cut]
    pictures = list(pictures)
    words = recognize(np.concatenate(pictures), cut, again)
    found, done = [], 0
    for layout, shown in zip(layouts, pictures, strict=True):
        texts: list[str] = []
        letters: list[float] = []
        start = done
        for word in layout.words:
            kept = crops.joined_letters(words.texts[done : done + len(word)], word)
            if kept and letters:
                letters.extend([0.0] * len(space))
            texts.append("".join(words.texts[done + window][place] for window, place in kept))
            letters.extend(words.letters[done + window][place] for window, place in kept)
            done += len(word)
        sure = float(words.log_confidence[start:done].sum())
        sure_letters = np.array(letters, np.float64)
        found.append(Found(layout, shown, tuple(texts), sure, sure_letters, space))
    return found


def _best(found: Sequence[Found]) -> tuple[Found, float]:
    """Returns the one with the most evidence, and the log share of the evidence for its text."""
    evidence = np.array(
        [
            one.evidence - _WORDS_APART * any(_leaves_out_word(one, other) for other in found)
            for one in found
        ]
    )
    best = found[int(evidence.argmax())]
    alike = [one.text == best.text for one in found]
    share = np.logaddexp.reduce(evidence[alike]) - np.logaddexp.reduce(evidence)
    return best, min(0.0, float(share))


def _leaves_out_word(one: Found, other: Found) -> bool:
    """Whether the text of `one` is that of `other` without its first or last words."""
    # A line that is read in one piece may hold its spaces, or lack them.
    letters = "".join(one.text.split())
    words = ["".join(text.split()) for text in other.texts]
    return any(
        letters == kept and left_out and left_out not in _STROKES
        for cut in range(1, len(words))
        for kept, left_out in itertools.permutations(("".join(words[:cut]), "".join(words[cut:])))
    )


def _may_be_upside_down(found: Found) -> bool:
    return (
        not found.layout.tall
        and found.log_confidence < math.log(UNSURE)
        and log_ratio(found.text) < ENGLISH
    )
