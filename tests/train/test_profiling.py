"""Which steps are traced, and what is said where none can be; tests/train/test_loop.py traces."""

import pytest

from textsr_jax.errors import UserError
from textsr_jax.runtime.traces import Operation, Operations
from textsr_jax.train import profiling
from textsr_jax.train.profiling import StepTrace


def test_steps_as_the_flag_has_them():
    assert profiling.parse("10,15") == (10, 15)
    assert profiling.parse("1,1") == (1, 1)


@pytest.mark.parametrize("value", ["10", "15,10", "a,b", "0", "0,3", "1,2,3", "-1,2", "", "1,x"])
def test_what_is_no_window_is_one_line(value):
    with pytest.raises(UserError, match=f"^--profile_steps={value}: write the first and the last"):
        profiling.parse(value)


@pytest.mark.parametrize(
    ("step", "steps", "why"),
    [(4, 99, "the stage goes on from step 4"), (0, 9, "the stage has 9 steps")],
)
def test_a_trace_that_cannot_be_is_told(tmp_path, step, steps, why):
    told = []
    trace = StepTrace("toy", tmp_path, (4, 12), step=step, steps=steps, say=told.append)
    for number in range(step + 1, 13):
        trace.before(number, {})
        trace.after(number, {})
    trace.close()
    assert told == [f"toy: no trace of steps 4 to 12: {why}"]
    assert not list(tmp_path.iterdir())


def test_the_table_has_the_longest_and_sums_the_rest():
    operations = [Operation(f"op_{n}", 2, (9 - n) / 1e3, (9 - n) / 100) for n in range(4)]
    lines = profiling.table(Operations(0.1, 0.25, tuple(operations)), rows=2).splitlines()
    assert lines[1].split() == ["9.00", "9.0", "%", "2", "op_0"]
    assert lines[3].split() == ["13.00", "13.0", "%", "4", "2", "others"]
    assert lines[4].split()[0] == "100.00" and "25.0 % of it idle" in lines[4]
