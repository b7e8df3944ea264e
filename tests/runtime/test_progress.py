"""The bar of compiled work: what it says first, and the rate without the compilation."""

import io

from textsr_jax.runtime import progress


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(monkeypatch, *, first: float, then: float, steps: int) -> tuple[str, str]:
    """What a bar of 100 steps shows before the first one, and after some."""
    clock, screen = Clock(), io.StringIO()
    with progress.Progress(total=100, unit="step", file=screen, mininterval=0) as bar:
        monkeypatch.setattr(bar, "_time", clock)
        bar.start_t = bar.last_print_t = clock.now
        before = screen.getvalue()
        clock.now += first
        bar.update()
        for _ in range(steps - 1):
            clock.now += then
            bar.update()
        return before, str(bar)


def test_the_estimate_leaves_out_what_compiling_took(monkeypatch):
    before, after = shown(monkeypatch, first=600, then=2, steps=11)
    assert "0/100" in before and "compiling, the first time only" in before
    # 89 steps of 2 s are left.
    assert "11/100 [00:20<02:58" in after and "compiling" not in after


def test_after_the_first_step_there_is_no_estimate_yet(monkeypatch):
    _, after = shown(monkeypatch, first=600, then=2, steps=1)
    assert "1/100 [00:00<?" in after and "compiling" not in after


def test_a_disabled_bar_counts_nothing_and_shows_nothing():
    screen = io.StringIO()
    with progress.Progress(total=3, file=screen, disable=True) as bar:
        bar.update()
    assert screen.getvalue() == ""
