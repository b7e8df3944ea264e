"""Batches at the same time: in their order, compiled once, never too many."""

import concurrent.futures
import contextlib
import os
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from textsr_jax.errors import UserError
from textsr_jax.runtime import concurrency
from textsr_jax.runtime.concurrency import Concurrent


@pytest.fixture
def two_threads(monkeypatch):
    """Whatever cores there are, two."""
    monkeypatch.setattr(concurrency.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    concurrency.threads.cache_clear()
    yield
    concurrency.threads.cache_clear()


class Watched:
    """Doubles a number; the later the number, the sooner. Knows how many calls ran at once."""

    def __init__(self):
        self.running, self.at_once = 0, []
        self.lock = threading.Lock()

    def __call__(self, factor, number):
        with self.lock:
            self.running += 1
            self.at_once.append(self.running)
        time.sleep(0.02 * (5 - number))
        with self.lock:
            self.running -= 1
        return {"doubled": jnp.float32(factor * number)}


def test_results_come_in_order_and_the_first_batch_alone(two_threads):
    watched = Watched()
    concurrent = Concurrent(watched)
    found = [*concurrent(range(5), 2)]
    assert [one["doubled"] for one in found] == [0, 2, 4, 6, 8]
    assert all(isinstance(one["doubled"], np.ndarray) for one in found)
    assert watched.at_once[:2] == [1, 1] and max(watched.at_once) == 2
    # What is compiled starts with all threads.
    watched.at_once.clear()
    assert [one["doubled"] for one in concurrent(range(2), 3)] == [0, 3]
    assert watched.at_once == [1, 2]
    assert [*concurrent([], 2)] == []


def test_a_function_is_compiled_once(two_threads):
    traced = []

    @jax.jit
    def double(batch):
        traced.append(batch.shape)
        return 2 * batch

    batches = [np.full((3, 2), number) for number in range(4)]
    for made, batch in zip(Concurrent(double)(batches), batches, strict=True):
        np.testing.assert_array_equal(made, 2 * batch)
    assert traced == [(3, 2)]


def test_an_error_in_a_batch_is_raised(two_threads):
    def fail(number):
        if number == 2:
            raise ValueError("two")
        return np.float32(number)

    results = Concurrent(fail)(range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


@pytest.mark.parametrize(
    ("backend", "cores", "threads"), [("cpu", 3, 3), ("cpu", 64, 4), ("gpu", 64, 1)]
)
def test_as_many_at_once_as_there_are_cores(monkeypatch, backend, cores, threads):
    monkeypatch.setattr(
        concurrency.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False
    )
    concurrency.threads.cache_clear()
    try:
        assert concurrency.threads(backend, concurrency.MOST)._max_workers == threads
    finally:
        concurrency.threads.cache_clear()


def in_threads(count, function):
    """What `function` gives in each of several threads that start at the same time."""
    together = threading.Barrier(count)

    def run(_):
        together.wait()
        return function()

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [*pool.map(run, range(count))]


def test_eight_threads_compile_a_function_once():
    traced = []

    @jax.jit
    def double(batch):
        traced.append(batch.shape)
        time.sleep(0.1)
        return 2 * batch

    function = Concurrent(double)
    batch = np.full((3, 2), 4)
    for (made,) in in_threads(8, lambda: [*function([batch])]):
        np.testing.assert_array_equal(made, 2 * batch)
    assert traced == [(3, 2)]


def test_eight_threads_make_a_value_once():
    made = []

    @concurrency.once
    def make(size):
        time.sleep(0.05)
        made.append(size)
        return object()

    assert len(set(in_threads(8, lambda: make(1)))) == 1
    assert make(2) is make(2) is not make(1)
    assert made == [1, 2]


def test_a_first_batch_that_fails_leaves_the_next_one_free():
    calls = []

    def fail_once(number):
        calls.append(number)
        if len(calls) == 1:
            raise ValueError("first")
        return np.float32(number)

    function = Concurrent(fail_once)
    with pytest.raises(ValueError, match="first"):
        next(function([1]))
    assert [*function([2, 3])] == [2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
# The fork that JAX, and Python from 3.12 on, warn of is what is tested.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_says_that_it_cannot_read():
    function = Concurrent(jax.jit(lambda batch: 2 * batch))
    assert [*function([np.float32(2)])] == [4]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            next(function([np.float32(2)]))
        except UserError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        message = stream.read()
    os.waitpid(child, 0)
    assert message.startswith("this process was forked from one that had loaded a model")
    assert "'spawn'" in message and "\n" not in message


def test_fewer_at_once_where_a_block_says_so():
    barrier = threading.Barrier(2)

    def meets(batch):
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(0.1)
            return "several at once"
        return "one at a time"

    function = concurrency.Concurrent(meets, "cpu")
    with concurrency.at_most(1):
        assert {*map(str, function(range(3)))} == {"one at a time"}
