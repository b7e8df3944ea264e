"""Reading order: what stands on one line, and what is read first."""

import numpy as np

from tests.photos.test_quadrilaterals import rectangle
from textsr_jax.photos import ordering


def upright(left, top, width, height=10.0):
    return rectangle(width, height, 0, (left + width / 2, top + height / 2))


def test_words_of_a_line_are_joined_and_others_are_not():
    boxes = [
        upright(60, 1, 30),
        upright(0, 0, 50),
        upright(0, 14, 50),  # the line below
        upright(120, 0, 30),  # too far behind
        upright(95, -8, 20, 30),  # much higher
    ]
    assert sorted(ordering.on_lines(boxes)) == [[1, 0], [2], [3], [4]]


def test_a_tilted_line_is_one_line_and_one_across_it_another():
    along = [rectangle(40, 10, 30, (np.cos(np.pi / 6) * x, np.sin(np.pi / 6) * x)) for x in (0, 50)]
    across = rectangle(40, 10, -30, (85, 50))
    assert sorted(ordering.on_lines([across, *along])) == [[0], [1, 2]]


def test_a_line_upside_down_goes_to_the_left():
    boxes = [np.roll(upright(left, 0, 40), 2, axis=0) for left in (0, 50)]
    assert ordering.on_lines(boxes) == [[1, 0]]


def test_lines_are_read_from_the_top_and_columns_from_the_left():
    heading = upright(0, 0, 200)
    left = [upright(0, top, 80) for top in (20, 35, 50)]
    right = [upright(120, top, 80) for top in (20, 35, 50)]
    boxes = [right[2], left[1], heading, right[0], left[0], right[1], left[2]]
    assert ordering.in_order(boxes) == [2, 4, 1, 6, 3, 5, 0]
    assert ordering.in_order([]) == []


def test_two_short_texts_side_by_side_are_no_columns():
    boxes = [upright(100, 15, 50), upright(0, 15, 50), upright(100, 0, 50), upright(0, 0, 50)]
    assert ordering.in_order(boxes[:1] + boxes[3:]) == [1, 0]
    # With two lines each they are.
    assert ordering.in_order(boxes) == [3, 1, 2, 0]
