"""Reads the traces that `jax.profiler` writes: which operations of the devices took most time.

The files are in Chrome's trace event format, times in microseconds.
"""

import collections
import dataclasses
import gzip
import itertools
import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

_MICROSECONDS = 1e6  # of a second
# The number that XLA gives each of several alike, as in "fusion.12", "loop_add_fusion_3.clone".
_NUMBER = re.compile(r"([._]\d+|\.clone|\.remat\d*)+$")


@dataclasses.dataclass(frozen=True)
class Operation:
    """One kind of operation or kernel in a trace.

    Attributes:
      name: its name, without the number that tells it from others alike.
      count: how often it ran, on all devices.
      seconds: how long it ran, on all devices, without operations that ran inside it.
      share: `seconds` as a part of the window. On a CPU several threads run at once, so that all
        parts together may be more than 1; on accelerators they are shares of all devices' time.
    """

    name: str
    count: int
    seconds: float
    share: float


@dataclasses.dataclass(frozen=True)
class Operations:
    """What the devices did in a trace.

    Attributes:
      window_s: seconds from the first operation's beginning to the last one's end.
      idle: the part of the window in which a device ran no operation, the mean of all devices.
      operations: those that took most time first.
    """

    window_s: float
    idle: float
    operations: tuple[Operation, ...]


def newest_trace(folder: pathlib.Path) -> pathlib.Path:
    """The folder of the newest trace below one that was given to `jax.profiler.start_trace`.

    Raises:
      FileNotFoundError: there is none.
    """
    traces = [path for path in folder.glob("plugins/profile/*") if path.is_dir()]
    if not traces:
        raise FileNotFoundError(f"{folder}: no trace there")
    return max(traces, key=lambda path: path.stat().st_mtime)


def operations(trace: pathlib.Path) -> Operations:
    """What the devices did in the trace in a folder, as `newest_trace` returns it.

    Raises:
      FileNotFoundError: there is no file of a trace.
    """
    (path, *_) = sorted(trace.glob("*.trace.json.gz")) or [trace / "HOST.trace.json.gz"]
    with gzip.open(path, "rb") as stream:
        return count(json.load(stream)["traceEvents"])


def count(events: Iterable[dict[str, Any]]) -> Operations:
    """What the devices did by a trace's events.

    On accelerators they are the events of a device's streams, or of its line "XLA Ops" where it has
    one; on a CPU, those that name an operation of XLA.
    """
    events = list(events)
    processes = _names(events, "process_name", ("pid",))
    lines = _names(events, "thread_name", ("pid", "tid"))
    devices = {pid for (pid,), name in processes.items() if name.startswith("/device:")}
    with_line = {pid for (pid, _), name in lines.items() if name == "XLA Ops" and pid in devices}
    by_line: dict[tuple[Any, Any], list[dict[str, Any]]] = collections.defaultdict(list)
    for event in events:
        if event.get("ph") != "X" or event.get("dur", 0) <= 0:
            continue
        place = event["pid"], event["tid"]
        if devices:
            line = lines.get(place, "")
            counts = place[0] in devices and (
                line == "XLA Ops" if place[0] in with_line else line.startswith("Stream")
            )
        else:
            counts = "hlo_op" in event.get("args", {})
        if counts:
            by_line[place].append(event)
    if not by_line:
        return Operations(0.0, 1.0, ())
    found = list(itertools.chain.from_iterable(by_line.values()))
    begin = min(event["ts"] for event in found)
    window = max(event["ts"] + event["dur"] for event in found) - begin
    at_once = len({pid for pid, _ in by_line})
    busy = sum(
        _union([event for place in by_line for event in by_line[place] if place[0] == pid])
        for pid in {pid for pid, _ in by_line}
    )
    seconds: dict[str, float] = collections.defaultdict(float)
    counts_by_name: collections.Counter[str] = collections.Counter()
    for line_events in by_line.values():
        for name, own in _own_times(line_events):
            seconds[_NUMBER.sub("", name)] += own / _MICROSECONDS
            counts_by_name[_NUMBER.sub("", name)] += 1
    window_s = window / _MICROSECONDS
    return Operations(
        window_s=window_s,
        idle=1 - busy / (window * at_once),
        operations=tuple(
            Operation(name, counts_by_name[name], spent, spent / (window_s * at_once))
            for name, spent in sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
        ),
    )


def _names(events: list[dict[str, Any]], kind: str, keys: tuple[str, ...]) -> dict[Any, str]:
    return {
        tuple(event.get(key) for key in keys): event["args"]["name"]
        for event in events
        if event.get("ph") == "M" and event.get("name") == kind
    }


def _own_times(events: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Names and durations of one line's events, each without the events inside it."""
    open_events: list[tuple[float, int]] = []
    found: list[tuple[str, float]] = []
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        begin, end = event["ts"], event["ts"] + event["dur"]
        while open_events and open_events[-1][0] <= begin:
            open_events.pop()
        if open_events:
            around_end, around = open_events[-1]
            name, own = found[around]
            found[around] = name, own - (min(end, around_end) - begin)
        open_events.append((end, len(found)))
        found.append((event["name"], event["dur"]))
    return found


def _union(events: list[dict[str, Any]]) -> float:
    """For how long at least one of the events ran."""
    total, reached = 0.0, float("-inf")
    for event in sorted(events, key=lambda event: event["ts"]):
        end = event["ts"] + event["dur"]
        total += max(0.0, end - max(reached, event["ts"]))
        reached = max(reached, end)
    return total
