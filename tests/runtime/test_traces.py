"""What is read from a profiler's trace: a device's lines, nested operations, and idle time."""

import gzip
import json

import pytest

from textsr_jax.runtime import traces


def process(pid, name):
    return {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}


def line(pid, tid, name):
    return {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def event(pid, tid, name, ts, dur, **args):
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": ts, "dur": dur, "args": args}


def test_own_time_of_operations_on_a_cpu():
    events = [
        process(7, "/host:CPU"),
        event(7, 1, "while.5", 0, 100, hlo_op="while.5"),
        event(7, 1, "dot.12", 10, 30, hlo_op="dot.12"),
        event(7, 1, "dot.3", 50, 20, hlo_op="dot.3"),
        event(7, 1, "Execute", 0, 500),  # no operation
        event(7, 2, "sort.1", 150, 50, hlo_op="sort.1"),
    ]
    found = traces.count(events)
    own = {one.name: (one.count, round(1e6 * one.seconds)) for one in found.operations}
    assert own == {"while": (1, 50), "dot": (2, 50), "sort": (1, 50)}
    assert 1e6 * found.window_s == pytest.approx(200)
    # Between 100 and 150 nothing ran.
    assert found.idle == pytest.approx(0.25)
    assert [one.share for one in found.operations] == pytest.approx([0.25] * 3)


def test_streams_of_two_gpus_share_the_window():
    events = [
        *(process(1, "/device:GPU:0"), process(2, "/device:GPU:1"), process(7, "/host:CPU")),
        *(line(1, 13, "Stream #13(Compute)"), line(2, 13, "Stream #13(Compute)")),
        line(1, 99, "Launch Stats"),
        event(1, 13, "gemm", 0, 60),
        event(1, 13, "loop_add_fusion_3", 60, 40),
        event(2, 13, "gemm", 0, 100),
        event(1, 99, "gemm", 0, 100),
        event(7, 1, "dot.1", 0, 1000, hlo_op="dot.1"),
    ]
    found = traces.count(events)
    assert [(one.name, one.count) for one in found.operations] == [
        ("gemm", 2),
        ("loop_add_fusion", 1),
    ]
    assert [one.share for one in found.operations] == pytest.approx([0.8, 0.2])
    assert found.idle == pytest.approx(0)


def test_a_tpu_has_a_line_of_operations():
    events = [
        *(process(3, "/device:TPU:0"), line(3, 1, "Steps"), line(3, 3, "XLA Ops")),
        event(3, 1, "1", 0, 100),
        event(3, 3, "fusion.7", 0, 90),
    ]
    assert [one.name for one in traces.count(events).operations] == ["fusion"]


def test_the_newest_trace_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trace there"):
        traces.newest_trace(tmp_path)
    folder = tmp_path / "plugins" / "profile" / "2026_01_01"
    folder.mkdir(parents=True)
    events = [process(7, "/host:CPU"), event(7, 1, "dot.1", 0, 10, hlo_op="dot.1")]
    with gzip.open(folder / "host.trace.json.gz", "wt") as stream:
        json.dump({"traceEvents": events}, stream)
    (one,) = traces.operations(traces.newest_trace(tmp_path)).operations
    assert (one.name, one.count) == ("dot", 1)
