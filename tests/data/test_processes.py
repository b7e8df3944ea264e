"""Child processes: results in order, none for one, and word of one that died."""

import os
import signal

import numpy as np
import pytest

from textsr_jax.data import png
from textsr_jax.data.processes import Processes

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 6, 3), np.uint8)
FILES = [png.to_bytes(image, (4, 6, 3)) for image in IMAGES]


@pytest.mark.parametrize("count", [0, 1])
def test_one_process_is_the_caller(count):
    with Processes(count) as processes:
        assert len(processes) == 0
        assert processes.children == []


def test_each_does_its_own_jobs_in_order():
    with Processes(2) as processes:
        for number in (0, 1):
            for part in (FILES[number::4], FILES[number + 2 :: 4]):
                processes.ask(number, png.all_from_bytes, part)
        for number in (0, 1):
            for part in (IMAGES[number::4], IMAGES[number + 2 :: 4]):
                np.testing.assert_array_equal(processes.take(number, "decoded"), part)
        children = processes.children
    assert all(child.returncode == -signal.SIGKILL for child in children)


@pytest.mark.parametrize("count", [1, 2])
def test_jobs_come_back_in_order_and_are_read_as_processes_become_free(count):
    read = []

    def jobs():
        for number in range(5):
            read.append(number)
            yield (FILES[number : number + 1],)

    with Processes(count) as processes:
        for number, made in enumerate(processes.map(png.all_from_bytes, jobs(), "decoded")):
            np.testing.assert_array_equal(made, IMAGES[number : number + 1])
            assert len(read) <= number + 3
    assert read == [0, 1, 2, 3, 4] and number == 4


def test_one_that_died_is_named_by_what_it_did():
    with Processes(2) as processes:
        os.kill(processes.children[1].pid, signal.SIGKILL)
        processes.children[1].wait()
        processes.ask(1, png.all_from_bytes, FILES)
        with pytest.raises(RuntimeError, match="a worker that decoded stopped with status -9"):
            processes.take(1, "decoded")
