"""Killed at any moment and started again, train.py ends where an undisturbed run does, bit for bit.

Also what a full disk leaves: the last good checkpoint, one line and exit status 2.
"""

import random
import subprocess
import time

import pytest

from tests.conftest import same
from tests.train import test_processes
from tests.train.test_processes import finish, last, last_step, sr_network, start
from textsr_jax.storage import checkpoints

pytestmark = pytest.mark.slow

config_file = test_processes.config_file
# More than run between the kills, also where the cores are shared.
STEPS = 60


def kill_at_random(process, workdir, seed):
    """Ends the process some moment after its first checkpoint of this run."""
    before = newest(workdir)
    while process.poll() is None and newest(workdir) == before:
        time.sleep(0.01)
    time.sleep(random.Random(seed).random())
    process.kill()


def kill_while_saving(process, workdir, seed):
    """Ends the process when a checkpoint has begun to be written and is not there yet."""
    folder = workdir / "stage1" / "checkpoints"
    left = {path.name for path in folder.glob("*tmp*")}
    # A start sweeps away what an earlier kill left; what comes then is being written.
    while process.poll() is None:
        now = {path.name for path in folder.glob("*tmp*")}
        left &= now
        if now - left:
            time.sleep(random.Random(seed).random() * 0.02)
            break
    process.kill()


def newest(workdir):
    steps = [path.name for path in (workdir / "stage1" / "checkpoints").glob("*")]
    return max((int(step) for step in steps if step.isdigit()), default=0)


def test_kills_at_any_moment_change_nothing(tmp_path, config_file):
    config = config_file(steps=STEPS, every=1, reads=False, apply_stn="never")
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    finish([start(config, plain)])
    unfinished = []
    for seed in range(5):
        process = start(config, killed)
        (kill_at_random if seed % 2 else kill_while_saving)(process, killed, seed)
        process.communicate()
        assert process.returncode == -9, "it ended before it was killed"
        unfinished += list((killed / "stage1" / "checkpoints").glob("*tmp*"))
    assert unfinished, "no kill met a checkpoint that was being written"
    (printed,) = finish([start(config, killed)])
    assert "stage1: resumed at step" in printed and "Traceback" not in printed
    (step, state, record), (_, expected, expected_record) = (
        last(workdir, "never") for workdir in (killed, plain)
    )
    assert step == STEPS
    assert same(state, expected) and record == expected_record
    template = checkpoints.abstract(sr_network("never").template)
    best, other = (checkpoints.load_best(w, "stage1", template) for w in (killed, plain))
    assert same(best[0], other[0]) and best[1] == other[1]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB of its own, or none where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small file system takes a privilege that this user does not have")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(
    small_disk, config_file, monkeypatch
):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(small_disk.parent / "compiled"))
    config = config_file(steps=100_000, every=3, reads=False, apply_stn="never")
    workdir = small_disk / "w"
    process = start(config, workdir)
    test_processes.wait_for_checkpoint(workdir, 3, [process])
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
    (printed,) = finish([process], status=2)
    assert "the disk is full; the checkpoints before are kept" in printed.strip().splitlines()[-1]
    assert "Traceback" not in printed
    kept = last_step(workdir)
    assert kept >= 3
    step, _, record = last(workdir, "never")
    assert step == kept and record["drawn"] == kept
    # With space again the same command goes on from there.
    filler.unlink()
    process = start(config, workdir)
    test_processes.wait_for_checkpoint(workdir, kept + 3, [process])
    process.terminate()
    (printed,) = finish([process], status=130)
    assert f"stage1: resumed at step {kept}" in printed
