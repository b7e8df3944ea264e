"""How the suite starts: with other versions of XLA, and without pytest's cache."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.conftest import XLA_FLAGS, known_flags


@pytest.mark.slow
def test_flags_that_are_gone_are_left_out():
    gone = "--xla_a_flag_that_is_gone=true"
    known = known_flags(XLA_FLAGS)
    assert "--xla_backend_optimization_level=0" in known
    assert known_flags([XLA_FLAGS[0], gone]) == [XLA_FLAGS[0]]
    assert known_flags([gone]) == []


@pytest.mark.slow
def test_a_group_stays_in_one_worker():
    """Some versions of pytest and pytest-xdist share the tests of a group out, and say nothing."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-n2", "--dist=loadgroup"),
            *("tests/test_text.py", "tests/test_metrics.py"),
        ],
        cwd=pathlib.Path(__file__).parents[1],
        env={key: value for key, value in os.environ.items() if key != "PYTEST_XDIST_WORKER"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\] .* PASSED (tests/\w+\.py)::", done.stdout)
    assert len({worker for worker, _ in ran}) == 2
    assert len(set(ran)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n2", "--dist=loadgroup")])
def test_without_pytest_s_cache(workers):
    started = ("PYTEST_XDIST_WORKER", "JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers),
            "tests/test_errors.py",
        ],
        cwd=pathlib.Path(__file__).parents[1],
        env={name: value for name, value in os.environ.items() if name not in started},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
