"""Batches of one size: the rows are whole and in order, and the filling is counted."""

import numpy as np

from textsr_jax.runtime.batches import batches, fill


def test_the_last_batch_is_filled_with_its_first_row():
    rows = np.arange(10).reshape(5, 2)
    (first, first_count), (last, last_count) = batches(rows, 3)
    np.testing.assert_array_equal(first, rows[:3])
    np.testing.assert_array_equal(last, rows[[3, 4, 3]])
    assert (first_count, last_count) == (3, 2)


def test_whole_batches_are_not_copied():
    rows = np.zeros((4, 3), np.uint8)
    assert fill(rows, 4) is rows
    assert [count for _, count in batches(rows, 2)] == [2, 2]


def test_no_rows_are_no_batches():
    assert list(batches(np.zeros((0, 3)), 2)) == []
