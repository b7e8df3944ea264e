"""The sine-cosine position table."""

import numpy as np
import pytest

from textsr_jax.models.layers.positions import sinusoid_table


def test_sines_and_cosines_take_turns():
    table = sinusoid_table(50, 8)
    assert table.shape == (50, 8)
    assert table.dtype == np.float32
    for column in range(0, 8, 2):
        angle = np.arange(50) / 10000 ** (column / 8)
        np.testing.assert_allclose(table[:, column], np.sin(angle), atol=1e-5)
        np.testing.assert_allclose(table[:, column + 1], np.cos(angle), atol=1e-5)


def test_odd_width():
    with pytest.raises(ValueError, match="even"):
        sinusoid_table(3, 5)
