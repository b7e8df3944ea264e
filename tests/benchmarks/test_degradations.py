"""The benchmark of the camera's losses: training words, each loss alone, and what it costs."""

import numpy as np
import pytest

from benchmarks import degradations as benchmark
from tests.conftest import WORDS
from textsr_jax import text
from textsr_jax.errors import UserError
from textsr_jax.reading import Reading


def test_words_are_those_of_training(data_root, tmp_path):
    images, labels = benchmark.training_words(str(data_root), 12)
    assert images.shape == (12, 32, 128, 3) and images.dtype == np.uint8
    assert set(labels) <= {text.normalize(word) for word in WORDS}
    with pytest.raises(UserError, match=r"has no folder train\*"):
        benchmark.training_words(str(tmp_path), 12)


class Reader:
    """Reads "open" in dark pictures; remembers the shapes."""

    def enhance(self, images):
        assert images.shape[1:] == (16, 64, 3)
        return images.repeat(2, axis=1).repeat(2, axis=2)

    def read_enhanced(self, pictures):
        assert pictures.shape[1:] == (32, 128, 3)
        return [Reading("open" if one.mean() < 120 else "", 0.5) for one in pictures]


@pytest.mark.slow
def test_rows_hold_what_a_loss_changes(monkeypatch):
    monkeypatch.setattr(benchmark, "LOSSES", ("dark", "overexposed"))
    hr = np.stack([np.full((32, 128, 3), 140, np.uint8)] * 6)
    rows = {row["loss"]: row for row in benchmark.measure(Reader(), hr, ["open"] * 6)}
    assert list(rows) == ["none", "dark", "overexposed", "all, by their chances"]
    for column in ("photograph", "LR"):
        assert rows["none"][column] == rows["overexposed"][column] == 0
        assert rows["dark"][column] > 50


@pytest.mark.slow
def test_pictures_of_a_loss_differ_by_it_alone():
    hr = np.random.default_rng(0).integers(0, 255, (2, 32, 128, 3), np.uint8)
    plain, sharper = (benchmark.photographs(hr, loss) for loss in ("none", "halo"))
    assert plain.shape == hr.shape and np.ptp(sharper.astype(int)) >= np.ptp(plain.astype(int))
    np.testing.assert_array_equal(plain, benchmark.photographs(hr, "none"))
