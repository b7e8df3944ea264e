"""Signals during a training: deferred while a step runs, obeyed at once elsewhere."""

import contextlib
import os
import signal

import pytest

from textsr_jax.errors import Stopped
from textsr_jax.train import stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_and_says_how_to_go_on(number):
    before = signal.getsignal(number)
    wanted = r"^stopped; go on with: python train.py$"
    with pytest.raises(Stopped, match=wanted), stopping.listening("python train.py"):
        os.kill(os.getpid(), number)
        raise AssertionError("went on")
    assert signal.getsignal(number) is before


def test_a_deferred_signal_is_noted_and_a_second_one_stops(capfd):
    with pytest.raises(Stopped), stopping.listening("again") as stop:
        with stop.deferred():
            assert not stop and not stop.agreed()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop and stop.agreed() and not stop.insisted
            assert "stopping after this step; once more to stop at once" in capfd.readouterr().err
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            assert stop.insisted
        stopping.check()
        raise AssertionError("went on")


def test_a_deferred_signal_ends_what_may_end_at_once():
    with pytest.raises(Stopped), stopping.listening("again") as stop, stop.deferred():
        with stop.at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.at_once():
            raise AssertionError("went on")


def test_a_signal_that_a_library_swallowed_is_not_forgotten():
    with pytest.raises(Stopped), stopping.listening("again"):
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        stopping.check()
        raise AssertionError("went on")


def test_the_outer_block_listens_for_the_inner_one():
    with (
        pytest.raises(Stopped, match="go on with: outer"),
        stopping.listening("outer") as outer,
        stopping.listening("inner") as inner,
    ):
        assert inner is outer
        os.kill(os.getpid(), signal.SIGTERM)
    stopping.check()  # no block of `listening` is around it


def test_without_a_signal_nothing_stops():
    with stopping.listening("again") as stop, stop.deferred(), stop.at_once():
        stop.check()
    assert not stop
