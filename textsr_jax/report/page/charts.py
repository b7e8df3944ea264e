"""Line charts as inline SVG; the page's script shows the point below the pointer."""

import dataclasses
import json
import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 36
# Colours of the style sheet; lines after them begin again, with dashes.
_COLOURS = 7


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      name: in the legend.
      points: (x, y), finite, in the order in which they are joined.
      notes: what stands beside each point when it is pointed at; empty for the name and the values.
    """

    name: str
    points: Sequence[tuple[float, float]]
    notes: Sequence[str] = ()


def chart(
    title: str,
    lines: Sequence[Line],
    x: str,
    *,
    level: float | None = None,
    level_name: str = "",
    logarithmic: bool = False,
) -> str:
    """Returns a chart as an HTML figure with a legend; empty where no line has a point.

    Args:
      title: what is drawn, with its unit.
      lines: the lines.
      x: what is below the horizontal axis.
      level: a horizontal line, such as of the unquantised models; None for none.
      level_name: what it is.
      logarithmic: whether the horizontal axis is logarithmic, base 2; x must be above 0 then.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    across = _Axis([a for line in lines for a, _ in line.points], logarithmic)
    levels = [] if level is None else [level]
    upward = _Axis([b for line in lines for _, b in line.points] + levels)

    def place(a: float, b: float) -> tuple[float, float]:
        inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        down = _TOP + inner_height * (1 - upward.share(b))
        return round(_LEFT + inner_width * across.share(a), 1), round(down, 1)

    marks = []
    for tick in upward.ticks():
        _, down = place(across.low, tick)
        marks.append(f'<path class="grid" d="M{_LEFT} {down}H{WIDTH - _RIGHT}"/>')
        marks.append(f'<text x="{_LEFT - 5}" y="{down + 3}" class="end">{_short(tick)}</text>')
    for tick in across.ticks():
        right, _ = place(tick, upward.low)
        marks.append(f'<path class="grid" d="M{right} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        text = f'<text x="{right}" y="{HEIGHT - _BOTTOM + 13}" class="middle">'
        marks.append(f"{text}{_short(tick)}</text>")
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    marks.append(f'<text x="{middle}" y="{HEIGHT - 6}" class="middle">{escape(x)}</text>')
    if level is not None:
        _, down = place(across.low, level)
        marks.append(f'<path class="level" d="M{_LEFT} {down}H{WIDTH - _RIGHT}"/>')
    legend, hover = [], []
    for number, line in enumerate(lines):
        style = f"c{number % _COLOURS}" + " dashed" * (number // _COLOURS % 2)
        places = [place(a, b) for a, b in line.points]
        if len(places) > 1:
            path = "L".join(f"{right} {down}" for right, down in places)
            marks.append(f'<path class="line {style}" d="M{path}"/>')
        if len(places) <= 40:
            marks += [f'<circle class="{style}" cx="{a}" cy="{b}" r="2.6"/>' for a, b in places]
        legend.append(f'<span><i class="{style}"></i>{escape(line.name)}</span>')
        notes = line.notes or [f"{line.name}: {b:.5g}, {x} {a:g}" for a, b in line.points]
        hover += [[*at, note] for at, note in zip(places, notes, strict=True)]
    if level is not None:
        legend.append(f'<span><i class="level"></i>{escape(level_name)} {level:.4g}</span>')
    points = escape(json.dumps(hover, separators=(",", ":"), ensure_ascii=False))
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        f'data-points="{points}">{"".join(marks)}<circle class="here" r="5"/></svg>'
        # The title names a single line.
        + (f'<p class="legend">{"".join(legend)}</p>' if len(legend) > 1 else "")
        + "</figure>"
    )


class _Axis:
    """From the least to the greatest of some values, with a little space around them."""

    def __init__(self, values: Sequence[float], logarithmic: bool = False):
        self._logarithmic = logarithmic
        least, greatest = self._at(min(values)), self._at(max(values))
        space = 0.05 * (greatest - least) or 0.05 * abs(least) or 0.5
        self._least, self._greatest = least - space, greatest + space

    @property
    def low(self) -> float:
        return 2**self._least if self._logarithmic else self._least

    def share(self, value: float) -> float:
        """Where a value is on the axis, from 0 to 1."""
        return (self._at(value) - self._least) / (self._greatest - self._least)

    def ticks(self) -> list[float]:
        """Round values on the axis: powers of two, or some six steps of 1, 2 or 5 x 10^n."""
        if self._logarithmic and self._greatest - self._least >= 2:
            first, last = math.ceil(self._least), math.floor(self._greatest)
            return [2.0**power for power in range(first, last + 1)]
        low, high = self.low, 2**self._greatest if self._logarithmic else self._greatest
        rough = (high - low) / 5
        ten = 10 ** math.floor(math.log10(rough))
        step = next(ten * times for times in (1, 2, 5, 10) if ten * times >= rough)
        first, last = math.ceil(low / step), math.floor(high / step)
        return [number * step for number in range(first, last + 1)]

    def _at(self, value: float) -> float:
        return math.log2(value) if self._logarithmic else value


def _short(value: float) -> str:
    """A number of a tick: 0.02, 1500, 20k, 3e-05."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{round(value, 10):g}".replace("e-0", "e-")
