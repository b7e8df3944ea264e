"""The benchmark of how words are searched: held-out and drawn words, a row for each value."""

import numpy as np
import pytest

from benchmarks import decoding
from tests.conftest import micro_config
from textsr_jax.config.checks import checked
from textsr_jax.errors import UserError
from textsr_jax.storage.shipped import SHIPPED


def test_held_out_words_are_validation_words(data_root, tmp_path):
    config = checked(micro_config(data_root, tmp_path))
    sets = decoding.held_out(str(data_root), config)
    images, labels = sets["validation, LR"]
    assert images[0].shape == (16, 64, 3) and len(images) == len(labels) == 10
    assert sets["validation, HR"][0][0].shape == (32, 128, 3)
    config = config.replace(data={"validation_fraction": 0.0})
    with pytest.raises(UserError, match="no words for validation"):
        decoding.held_out(str(data_root), config)


def test_drawn_words_are_of_their_kind():
    sets = decoding.drawn(5)
    assert all(any(c.isdigit() for c in label) for label in sets["drawn numbers, LR"][1])
    again = decoding.drawn(5)
    for name, (images, labels) in sets.items():
        assert labels == again[name][1]
        np.testing.assert_array_equal(images, again[name][0])


@pytest.mark.slow
@pytest.mark.parametrize("field", decoding.VALUES)
def test_each_value_reads_all_sets(monkeypatch, field):
    monkeypatch.setitem(decoding.VALUES, field, (0.0, 0.9))
    sets = {name: words for name, words in decoding.drawn(12).items() if "dictionary" in name}
    rows = decoding.measure(SHIPPED, field, sets)
    assert [row[field] for row in rows] == [0.0, 0.9]
    assert all(20 < row["drawn dictionary, LR"] <= 100 for row in rows)
