"""Reading order: which boxes stand on one line, and which line comes after which."""

from collections.abc import Sequence

import numpy as np

from textsr_jax.photos import quadrilaterals

# Two boxes stand on one line if their directions differ by at most this many degrees, one is no
# more than so many times as high as the other, their middles are level within this part of the
# lower one's height, and at most so many heights are between them.
_TURNED, _HIGHER, _LEVEL, _BETWEEN = 10.0, 1.7, 0.4, 1.5
# Two columns are this far apart, in heights of a usual line, and have so many lines at least.
_GUTTER, _IN_COLUMN = 1.0, 2


def on_lines(boxes: Sequence[np.ndarray]) -> list[list[int]]:
    """Returns which boxes stand on one line, from its beginning to its end.

    Args:
      boxes: corners, float (4, 2) each, clockwise from the upper left of the text.

    Returns:
      Numbers of boxes, each once; one list a line, in no order.
    """
    lines = [[number] for number in range(len(boxes))]
    # From left to right along the text, so that a line grows at its end.
    order = sorted(lines, key=lambda line: _along(boxes[line[0]]))
    done: list[list[int]] = []
    for line in order:
        fits = [other for other in done if _follows(boxes[other[-1]], boxes[line[0]])]
        if fits:
            nearest = min(fits, key=lambda other: _distance(boxes[other[-1]], boxes[line[0]]))
            nearest += line
        else:
            done.append(line)
    return done


def in_order(boxes: Sequence[np.ndarray]) -> list[int]:
    """Returns the numbers of lines in reading order, by recursive cuts between them.

    Columns with a wide gutter are read one after the other, from the left; everything else from the
    top (Nagy and Seth, "Hierarchical representation of optically scanned documents", 1984).

    Args:
      boxes: the lines' corners, float (4, 2) each.
    """
    if not len(boxes):
        return []
    corners = np.array([(box.min(axis=0), box.max(axis=0)) for box in boxes])
    usual = float(np.median([min(quadrilaterals.sides(box)) for box in boxes]))
    return _ordered(list(range(len(boxes))), corners, usual)


def _ordered(lines: list[int], corners: np.ndarray, usual: float) -> list[int]:
    if len(lines) < 2:
        return lines

    def columns(some: list[int]) -> list[list[int]]:
        return _cut(some, corners[:, :, 0], _GUTTER * usual)

    parts = columns(lines)
    if len(parts) == 1 or min(map(len, parts)) < _IN_COLUMN:
        # Rows with the same gutter stay together, so that their columns are seen.
        parts = []
        for row in _cut(lines, corners[:, :, 1], 0.0):
            if parts and len(columns(parts[-1] + row)) > 1:
                parts[-1] = parts[-1] + row
            else:
                parts.append(row)
        if len(parts) == 1:
            parts = _cut(lines, corners[:, :, 1], 0.0)
        if len(parts) == 1:
            parts = columns(lines)
    if len(parts) > 1:
        return [line for part in parts for line in _ordered(part, corners, usual)]
    middles = corners.mean(axis=1)
    return sorted(lines, key=lambda line: (middles[line, 1], middles[line, 0]))


def _cut(lines: list[int], ends: np.ndarray, least: float) -> list[list[int]]:
    """Returns groups of lines with more than `least` pixels between them along one direction."""
    groups: list[list[int]] = []
    reached = -np.inf
    for line in sorted(lines, key=lambda line: ends[line, 0]):
        if ends[line, 0] - reached > least:
            groups.append([])
        groups[-1].append(line)
        reached = max(reached, ends[line, 1])
    return groups


def _along(box: np.ndarray) -> float:
    right = box[1] - box[0]
    return float(box[0] @ right / max(float(np.linalg.norm(right)), 1e-9))


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.linalg.norm((after[0] + after[3] - before[1] - before[2]) / 2))


def _follows(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a box goes on with the line of another one."""
    right, other = before[1] - before[0], after[1] - after[0]
    lengths = float(np.linalg.norm(right) * np.linalg.norm(other))
    if right @ other < np.cos(np.radians(_TURNED)) * lengths:
        return False
    heights = quadrilaterals.sides(before)[1], quadrilaterals.sides(after)[1]
    if max(heights) > _HIGHER * min(heights):
        return False
    right = right / np.linalg.norm(right)
    step = (after[0] + after[3] - before[1] - before[2]) / 2
    forward, aside = float(step @ right), float(abs(right[0] * step[1] - right[1] * step[0]))
    lower = min(heights)
    return -lower / 2 <= forward <= _BETWEEN * lower and aside <= _LEVEL * lower
