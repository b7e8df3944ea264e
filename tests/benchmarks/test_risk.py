"""The benchmark of abstention: held-out words set thresholds, test words are counted."""

import numpy as np
import pytest

from benchmarks import risk
from textsr_jax.data.records import Record
from textsr_jax.reading import Reading


def records(shades):
    hr = np.zeros((32, 128, 3), np.uint8)
    return [Record("w", np.full((16, 64, 3), shade, np.uint8), hr, "open") for shade in shades]


def read(images):
    """Is the surer the brighter an image is, and wrong where that is odd."""
    shades = [int(image.max()) for image in images]
    return [Reading("opem" if shade % 2 else "open", shade / 100) for shade in shades]


def test_a_reader_is_measured():
    held_out, test = records([*range(50, 70, 2), 71, *range(80, 96, 2)]), records([60, 71, 73, 90])
    found = risk.measure("brightness", read, held_out, test)
    assert (found["held_out"], found["test"], found["accuracy"]) == (19, 4, 0.5)
    assert found["coverage"] == [0.25, 0.5, 0.75, 1]
    assert found["selective_risk"] == pytest.approx([0, 1 / 2, 2 / 3, 2 / 4])
    assert found["area"] == pytest.approx(np.mean(found["selective_risk"]))
    points = {point["asked"]: point for point in found["points"]}
    # 19 words show no risk below 1 in 20; of 10 % one of them may be wrong.
    assert points[0.02]["coverage"] == 0
    assert np.exp(points[0.05]["threshold"]) == pytest.approx(0.71, rel=1e-5)
    assert (points[0.05]["coverage"], points[0.05]["risk"]) == (0.5, 0.25)
    assert (points[0.1]["threshold"], points[0.1]["risk"]) == (None, 0.5)
