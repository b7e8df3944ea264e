"""Quadrilaterals: the smallest rectangle, what stands in one, and where its points lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax.photos import quadrilaterals


def rectangle(width, height, degrees, middle=(50.0, 40.0)):
    """Corners of a rectangle that is turned clockwise, as the eye sees it."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2)
    angle = np.radians(degrees)
    right, down = (np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))
    return corners @ np.array([right, down]) + middle


@given(
    st.floats(4, 60), st.floats(4, 60), st.floats(-44, 44), st.integers(0, 2**32 - 1), st.booleans()
)
def test_the_smallest_rectangle_around_points_inside_it_and_its_corners(w, h, turn, seed, flat):
    box = rectangle(w, 0 if flat else h, turn)
    shares = np.random.default_rng(seed).random((20, 2))
    inside = box[0] + shares[:, :1] * (box[1] - box[0]) + shares[:, 1:] * (box[3] - box[0])
    found = quadrilaterals.smallest_rectangle(np.concatenate([box, inside]))
    assert found == pytest.approx(box, abs=1e-6)


def test_a_point_is_a_rectangle_without_area():
    found = quadrilaterals.smallest_rectangle(np.array([(3, 4), (3, 4)]))
    assert found == pytest.approx(np.full((4, 2), (3.0, 4.0)))


def test_it_grows_on_all_sides():
    found = quadrilaterals.grown(rectangle(20, 10, 30), 3)
    assert found == pytest.approx(rectangle(26, 16, 30))
    assert quadrilaterals.sides(found) == pytest.approx((26, 16))


def test_an_upright_box_is_cut_out_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    box = np.array([(10, 5), (30, 5), (30, 17), (10, 17)], float)
    assert np.array_equal(quadrilaterals.straightened(image, box), image[5:17, 10:30])
    # From another corner on, it is turned by a quarter.
    turned = quadrilaterals.straightened(image, np.roll(box, -1, axis=0))
    assert np.array_equal(turned, np.rot90(image[5:17, 10:30]))


def test_beyond_the_photograph_its_edge_is_repeated():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    box = np.array([(-4, 0), (8, 0), (8, 10), (-4, 10)], float)
    found = quadrilaterals.straightened(image, box)
    assert np.array_equal(found[:, :4], np.repeat(image[:10, :1], 4, axis=1))
    assert np.array_equal(found[:, 4:], image[:10, :8])


def test_a_slanted_quadrilateral_is_straightened():
    # Levels that tell the place: red is x, green is y.
    y, x = np.mgrid[:100, :120]
    image = np.stack([2 * x, 2 * y, 0 * x], axis=-1).astype(np.uint8)
    box = np.array([(20, 30), (90, 20), (95, 60), (25, 50)], float)
    found = quadrilaterals.straightened(image, box)
    height, width = found.shape[:2]
    assert (width, height) == (71, 40)
    down, across = np.mgrid[:height, :width] + 0.5
    points = np.stack([across.ravel() / width, down.ravel() / height], axis=1)
    expected = 2 * (quadrilaterals.places(box, points) - 0.5)
    assert np.abs(found[..., :2].reshape(-1, 2) - expected).max() < 1.5


def test_a_part_of_a_perspective_lies_on_its_sides():
    box = np.array([(0, 0), (100, 20), (100, 60), (0, 80)], float)
    left, right = quadrilaterals.part(box, 0, 0.5), quadrilaterals.part(box, 0.5, 1)
    assert left[[1, 2]] == pytest.approx(right[[0, 3]])
    assert left[[0, 3]] == pytest.approx(box[[0, 3]])
    # The far half looks shorter: the diagonals cross in the middle, as seen in perspective.
    assert left[1, 0] == pytest.approx(200 / 3)


def test_boxes_overlap_if_they_share_more_than_half_of_the_smaller_one():
    def between(left, top, right, bottom):
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)

    large = between(0, 0, 100, 20)
    others = np.array(
        [
            between(10, 5, 20, 15),  # inside
            between(90, 0, 110, 20),  # half of it, exactly
            between(89, 0, 109, 20),  # 11 of 20 columns
            between(200, 0, 300, 20),
        ]
    )
    found = quadrilaterals.overlapping(large[None], others)
    np.testing.assert_array_equal(found, [[True, False, True, False]])
    np.testing.assert_array_equal(quadrilaterals.overlapping(others, large[None]), found.T)
    assert quadrilaterals.overlapping(others[:0], others).shape == (0, 4)


def test_what_boxes_share_is_the_intersection_over_the_union():
    def between(left, right):
        return np.array([(left, 0), (right, 0), (right, 10), (left, 10)], float)

    others = np.array([between(0, 20), between(10, 30), between(0, 40), between(20, 40)])
    found = quadrilaterals.shared(between(0, 20)[None], others)
    np.testing.assert_allclose(found, [[1, 1 / 3, 1 / 2, 0]])
