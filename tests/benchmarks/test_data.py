"""The data benchmark: what it counts, and that every row reads what it says."""

import json
import subprocess
import sys
import time

import pytest

from benchmarks import data
from tests.benchmarks.test_commands import ROOT


def test_the_rate_leaves_the_first_item_out(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def words():
        for wait in (7.0, 0.5, 0.25, 0.25, 1.0, 50.0):
            clock[0] += wait
            yield wait

    assert data.rate(words(), 4, size=8) == (7.0, 16.0)


def test_numbers_of_workers():
    assert data._counts(["1", "3"]) == [1, 3]
    with pytest.raises(data.UserError, match=r"--workers=1,0: give numbers from 1"):
        data._counts(["1", "0"])


@pytest.mark.slow
def test_every_row_is_measured(data_root, tmp_path):
    out = tmp_path / "data.json"
    command = [sys.executable, "-m", "benchmarks.data", "--words=256", "--workers=1,2"]
    command += [f"--data_root={data_root}", f"--out={out}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = json.loads(out.read_text())["rows"]
    assert [(row["what"], row["count"]) for row in rows] == [
        ("generator", 1),
        ("generator", 2),
        ("LMDB to prepared set", 1),
        ("batches", 1),
        ("batches", 2),
    ]
    assert all(row["pairs_per_s"] > 1 for row in rows)
    assert all(row["per_worker"] == row["pairs_per_s"] / row["count"] for row in rows)
    assert "LMDB to prepared set" in run.stdout
