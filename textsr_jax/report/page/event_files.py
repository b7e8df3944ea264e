"""Reads the scalars that training wrote into TensorBoard's event files."""

import math
import pathlib

from textsr_jax.errors import needs
from textsr_jax.runtime import paths

# What a curve is thinned to: more points than a chart of a page has pixels for.
MOST_POINTS = 300

Points = list[tuple[float, float]]


def read_scalars(folder: pathlib.Path) -> dict[str, Points]:
    """Returns the curves of a folder of event files, by name, such as "train/loss".

    Steps that a later start took again count once. Values that are not finite are left out. A long
    curve is thinned to `MOST_POINTS`, its last point kept.

    Args:
      folder: of the event files, such as `stage1/logs` of a workdir.

    Returns:
      (step, value) in the order of steps.

    Raises:
      MissingPackage: TensorBoard is not installed.
    """
    with needs("train"):
        from tensorboard.backend.event_processing.event_accumulator import (
            SCALARS,
            EventAccumulator,
        )

    with paths.folder_on_disk(folder) as local:
        # 0 keeps every scalar.
        events = EventAccumulator(str(local), size_guidance={SCALARS: 0})
        events.Reload()
    curves = {}
    for name in events.Tags()[SCALARS]:
        points = [
            (float(event.step), float(event.value))
            for event in events.Scalars(name)
            if math.isfinite(event.value)
        ]
        if points:
            curves[name] = thinned(points)
    return curves


def thinned(points: Points) -> Points:
    """Returns at most `MOST_POINTS` of the points, evenly spread, the last one among them."""
    every = -(-len(points) // MOST_POINTS)
    return points[::-1][::every][::-1]
