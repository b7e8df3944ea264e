"""Finds lines of text in a photograph with PP-OCRv6's small detector, in ONNX Runtime.

The model's file comes with the package `rapidocr`, under Apache-2.0; nothing else of it is used.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import ndimage

from textsr_jax.errors import MissingPackage, UserError, installing, needs
from textsr_jax.photos import quadrilaterals
from textsr_jax.runtime.concurrency import bind_to_process, once

# The package that has the file, its place there, and the package that runs it.
PACKAGE, FILE, RUNTIME = "rapidocr", "models/PP-OCRv6_det_small.onnx", "onnxruntime"

# A photograph is enlarged until its longer side has so many pixels, at most so much, and reduced
# until that side has no more than so many, as RapidOCR does.
ENLARGED, MOST_ENLARGED, LONGEST = 1280, 2.0, 2000
# The network sees it at these parts of that size. A detector misses text that is much larger than
# what it was trained with, and joins words at one size that it parts at another.
LOOKS = (1.0, 0.5, 0.25)
# Sides of what the network takes are multiples of this.
_MULTIPLE = 32

# RapidOCR's settings: pixels of text have this probability, lines this one in the mean over their
# rectangle, and a line reaches further by this ratio of its area to its circumference.
_TEXT, _LINE, _FURTHER = 0.3, 0.5, 1.6
# A line's least height in the network's image, in pixels, before and after it reaches further.
_LEAST, _LEAST_GROWN = 3.0, 5.0

# Text that is lower than this in the network's image, in pixels, is looked for again in tiles of
# the photograph as it is. A tile shares so many pixels with its neighbours on each side.
SMALL, _TILE, _SHARED = 8.0, 1280, 64


class Detector:
    """Finds lines of text: differentiable binarisation (Liao et al., 2020), as PP-OCRv6 trained it.

    Args:
      model: the ONNX file of a detector of PP-OCR.
    """

    def __init__(self, model: pathlib.Path):
        # Imported here, since `model_file` has no use for it.
        with needs("photos"):
            import onnxruntime

        bind_to_process()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        (self._input,) = (value.name for value in self._session.get_inputs())

    def looks(self, image: np.ndarray) -> list[np.ndarray]:
        """Returns the boxes of the lines in a photograph, as it looks at each of several sizes.

        The same text may be found at several sizes, in one box or in many. Where the first look
        shows traces of small text (`SMALL`) because the photograph was reduced, those parts are
        looked at again as they are, and their boxes belong to that look.

        Args:
          image: uint8 (height, width, 3), RGB.

        Returns:
          For each of `LOOKS`, from the largest size to the smallest, float64 (n, 4, 2), in no
          order: corners x, y in pixels, clockwise. The first side is the upper one of a line that
          is turned by at most 45 degrees.
        """
        height, width = image.shape[:2]
        longer = max(height, width)
        scale = min(max(1.0, ENLARGED / longer), MOST_ENLARGED, LONGEST / longer)
        looks = []
        for number, part in enumerate(LOOKS):
            least = SMALL if number == 0 and scale < 1 else 0.0
            found, traces = self._look(image, part * scale, least)
            if traces:
                again = np.array(self._small(image, traces)).reshape(-1, 4, 2)
                known = quadrilaterals.overlapping(again, np.array(found).reshape(-1, 4, 2))
                found += list(again[~known.any(axis=1)])
            looks.append(_inside(np.array(found).reshape(-1, 4, 2), width, height))
        return looks

    def _look(
        self, image: np.ndarray, scale: float, least: float
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns boxes at a scale, and those that are lower than `least` pixels there."""
        text = self._probabilities(image, scale)
        # Both sides are rounded, so that they have scales of their own.
        scales = np.array([text.shape[1] / image.shape[1], text.shape[0] / image.shape[0]])
        found, low = [], []
        for box, probability in _rectangles(text):
            if min(quadrilaterals.sides(box)) < least:
                low.append(box / scales)
            elif probability >= _LINE:
                found.append(box / scales)
        return found, low

    def _small(self, image: np.ndarray, traces: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the boxes of text in those tiles of a photograph in which there are traces.

        The tiles' probabilities are joined first, so that no line ends where a tile does.
        """
        least, most = (np.array([end(box, axis=0) for box in traces]) for end in (np.min, np.max))
        joined = np.zeros(image.shape[:2], np.uint8)
        for rows in _tiles(image.shape[0]):
            for columns in _tiles(image.shape[1]):
                (top, bottom), (left, right) = rows, columns
                reached = (least < (right, bottom)) & (most > (left, top))
                if not reached.all(axis=1).any():
                    continue
                above, before = max(0, top - _SHARED), max(0, left - _SHARED)
                tile = image[above : bottom + _SHARED, before : right + _SHARED]
                text = self._probabilities(tile, 1.0)
                text = np.asarray(Image.fromarray(text).resize(tile.shape[1::-1]))
                inner = text[top - above : bottom - above, left - before : right - before]
                joined[top:bottom, left:right] = np.round(255 * inner.clip(0, 1))
        boxes = _rectangles(joined)
        return [box for box, probability in boxes if probability >= 255 * _LINE]

    def _probabilities(self, image: np.ndarray, scale: float) -> np.ndarray:
        """Returns for each pixel of an image at about a scale how likely it is text, float32."""
        size = tuple(
            max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE)
            for side in image.shape[1::-1]
        )
        resized = Image.fromarray(image)
        if resized.size != size:
            resized = resized.resize(size, Image.Resampling.BILINEAR)
        # Blue first, in [-1, 1].
        pixels = np.asarray(resized, np.float32)[..., ::-1] / 127.5 - 1
        feed = {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
        (found,) = self._session.run(None, feed)
        return found[0, 0]


@once
def shipped() -> Detector:
    """Returns the detector that `rapidocr` brings; it is loaded once. Raises as `model_file`."""
    return Detector(model_file())


def model_file() -> pathlib.Path:
    """Returns the file of the detector that `rapidocr` brings, without importing anything.

    Raises:
      MissingPackage: the package, or what runs the model, is not installed.
      UserError: the package lacks the file.
    """
    for package in (RUNTIME, PACKAGE):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingPackage(
                f"{package} is not installed; it comes with the extra [photos]: "
                f"{installing('photos')}"
            )
    assert spec is not None and spec.submodule_search_locations
    file = pathlib.Path(spec.submodule_search_locations[0], FILE)
    if not file.is_file():
        raise UserError(f"{file}: is missing; install rapidocr 3.10, which has it")
    return file


def _rectangles(text: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Yields the rectangles of connected text, with the mean of `text` in each before it grew.

    The mean is 0 where a rectangle is too low for a line.

    Args:
      text: how likely each pixel is text, float32 in [0, 1] or uint8 up to 255, (height, width).
    """
    most = 255 if text.dtype == np.uint8 else 1
    labels, _ = ndimage.label(text > _TEXT * most, np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        rows, columns = place
        if max(rows.stop - rows.start, columns.stop - columns.start) < _LEAST:
            continue
        mask = labels[place] == number
        # The ends of each row, at the middle of the pixels.
        row = np.flatnonzero(mask.any(axis=1))
        first, last = mask[row].argmax(axis=1), mask.shape[1] - 1 - mask[row, ::-1].argmax(axis=1)
        points = np.stack([np.concatenate([first, last]), np.tile(row, 2)], axis=1) + 0.5
        box = quadrilaterals.smallest_rectangle(points)
        width, height = quadrilaterals.sides(box)
        probability = _mean_inside(text[place], box)
        corner = np.array([columns.start, rows.start])
        further = width * height * _FURTHER / (2 * (width + height))
        low = min(width, height) < _LEAST or min(width, height) + 2 * further < _LEAST_GROWN
        yield quadrilaterals.grown(box + corner, further), 0.0 if low else probability


def _mean_inside(values: np.ndarray, box: np.ndarray) -> float:
    """Returns the mean of the pixels whose middles are in a rectangle."""
    y, x = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    inside = np.ones(values.shape, bool)
    for axis in (box[1] - box[0], box[3] - box[0]):
        along = (x - box[0, 0]) * axis[0] + (y - box[0, 1]) * axis[1]
        inside &= (along >= -1e-6) & (along <= axis @ axis + 1e-6)
    return float(values[inside].mean()) if inside.any() else 0.0


def _tiles(length: int) -> list[tuple[int, int]]:
    """Returns where tiles begin and end along a side, without what they share."""
    count = math.ceil(length / (_TILE - 2 * _SHARED))
    ends = [round(length * number / count) for number in range(count + 1)]
    return list(itertools.pairwise(ends))


def _inside(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns the boxes with corners moved into the photograph, without those that it lacks."""
    boxes = boxes.clip(0, (width, height))
    kept = [box for box in boxes if min(quadrilaterals.sides(box)) >= _LEAST]
    return np.array(kept).reshape(-1, 4, 2)
