"""Gains of SR over bicubic images, and their errors."""

import numpy as np
import pytest

from textsr_jax.evaluation import gains


def test_the_error_of_a_gain_is_that_of_pairs():
    bicubic = np.repeat([True, False], 50)
    sr = np.concatenate([np.repeat([True, False], [46, 4]), np.repeat([True, False], [20, 30])])
    one = gains.gain("a", "easy", bicubic, sr)
    assert (one["helped"], one["hurt"], one["points"]) == (20, 4, 16)
    # The differences are 20 times 1, 4 times -1 and 76 times 0.
    error = 100 * np.std(sr.astype(int) - bicubic) / 10
    assert gains.mean_gains([one])["a"] == {"points": 16, "error": pytest.approx(error)}
    both = gains.mean_gains([one, one | {"words": "hard", "points": 0.0}])["a"]
    assert both == {"points": 8, "error": pytest.approx(error / np.sqrt(2))}
