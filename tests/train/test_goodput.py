"""The account of a stage's time: what counts as what, and what a kill makes of it."""

import json
import threading

import pytest

from textsr_jax.train import goodput
from textsr_jax.train.goodput import Goodput


class Clock:
    """Seconds that pass only when a test says so."""

    now = 100.0

    def __call__(self):
        return self.now


class Result:
    """What a step returns when it ends."""

    def __init__(self):
        self._ended = threading.Event()

    def block_until_ready(self):
        self._ended.wait()
        return self

    def end(self, account):
        self._ended.set()
        account._step_end.result()


@pytest.fixture
def clock():
    return Clock()


def spend(clock, seconds):
    clock.now += seconds


def steps(clock, account, seconds):
    with account.during("steps"):
        spend(clock, seconds)


def test_all_time_is_counted_once_and_inner_blocks_count_otherwise(tmp_path, clock):
    account = Goodput(tmp_path, begun=97.0, clock=clock)
    account.go_on(0)
    with account.during("steps"):
        for seconds in (5, 1):
            with account.compiling():  # the first call alone compiles
                spend(clock, seconds)
        with account.during("validating"):
            spend(clock, 2)
            with account.during("saving"):
                spend(clock, 4)
    expected = {"preparing": 3, "compiling": 5, "steps": 1, "validating": 2, "saving": 4}
    assert account.seconds == dict.fromkeys(goodput.KINDS, 0) | expected
    assert account.shares()["steps"] == pytest.approx(1 / 15)
    assert account.summary() == (
        "6.7 % of 15 s in steps that were kept, compiling 33.3 %, saving 26.7 %, preparing 20.0 %, "
        "validating 13.3 %"
    )


def test_a_wait_counts_as_far_as_no_step_hides_it(tmp_path, clock):
    account = Goodput(tmp_path, clock=clock)
    with account.during("steps"):
        with account.waiting():  # before the first step
            spend(clock, 3)
        hidden, seen = Result(), Result()
        account.stepped(hidden)
        with account.waiting():
            spend(clock, 10)
        hidden.end(account)
        account.stepped(seen)
        with account.waiting():
            spend(clock, 2)
            seen.end(account)
            spend(clock, 5)
    assert account.seconds["waiting"] == 3 + 5
    assert account.seconds["steps"] == 10 + 2


def test_steps_behind_the_last_checkpoint_are_lost_in_a_kill(tmp_path, clock):
    killed = Goodput(tmp_path, clock=clock)
    killed.go_on(0)
    steps(clock, killed, 10)
    killed.mark(5)
    steps(clock, killed, 4)
    killed.tick()  # not yet
    steps(clock, killed, 8)
    killed.tick()
    steps(clock, killed, 1)  # what the kill keeps from being written
    account = Goodput(tmp_path, clock=clock)
    assert account.seconds["steps"] == 22
    account.go_on(5)
    assert (account.seconds["steps"], account.seconds["lost"]) == (10, 12)
    steps(clock, account, 6)
    account.mark(8)
    # The checkpoint of step 8 is damaged: back to 5 again, and then to the beginning.
    account.go_on(5)
    assert (account.seconds["steps"], account.seconds["lost"]) == (10, 18)
    account.go_on(0)
    assert (account.seconds["steps"], account.seconds["lost"]) == (0, 28)
    account.close()
    content = json.loads((tmp_path / goodput.FILE).read_text())
    assert content["starts"] == 2 and content["goodput"] == 0
    assert content["seconds"]["lost"] == 28


def test_an_old_workdir_is_counted_from_where_it_goes_on(tmp_path, clock):
    account = Goodput(tmp_path, clock=clock)
    account.go_on(400)
    steps(clock, account, 6)
    account.mark(403)
    assert account.seconds["lost"] == 0 and account.steps_counted(403) == 3
    assert Goodput(tmp_path, clock=clock).steps_counted(403) == 3


@pytest.mark.parametrize("content", ["{", "[]", '{"seconds": {"steps": "x"}}'])
def test_a_damaged_file_is_left_behind_with_a_warning(tmp_path, clock, caplog, content):
    (tmp_path / goodput.FILE).write_text(content)
    account = Goodput(tmp_path, clock=clock)
    assert "goodput.json: cannot read it" in caplog.text
    assert account.seconds == dict.fromkeys(goodput.KINDS, 0)
