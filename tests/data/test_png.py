"""PNG files in memory: exact pixels, and exact shapes alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from textsr_jax.data import png

SHAPE = (4, 6, 3)


@settings(deadline=None, max_examples=30)
@given(st.lists(arrays.arrays(np.uint8, SHAPE), min_size=1, max_size=3))
def test_pixels_come_back(images):
    files = [png.to_bytes(image, SHAPE) for image in images]
    np.testing.assert_array_equal(png.from_bytes(files[0]), images[0])
    (decoded,) = png.all_from_bytes(files)
    np.testing.assert_array_equal(decoded, np.stack(images))


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.uint8), np.zeros(SHAPE)])
def test_it_wants_exact_images(image):
    with pytest.raises(ValueError, match=r"expected uint8 \(4, 6, 3\)"):
        png.to_bytes(image, SHAPE)
