"""LEMMA: its size and names, and the words of its recogniser."""

import json

import numpy as np
import pytest

from benchmarks.golden import reference_tensors
from textsr_jax import convert, text
from textsr_jax.errors import UserError
from textsr_jax.models import Network, build_prior, count_parameters
from textsr_jax.models.abinet import targets, word_lengths
from textsr_jax.models.layers.resizing import bicubic_matrix
from textsr_jax.models.lemma import LEMMA


@pytest.mark.slow
def test_the_defaults_are_the_published_network():
    published = json.loads((reference_tensors.HERE / "lemma.json").read_text())
    template = convert.network("lemma", stn=True).template
    assert count_parameters(template) == published["parameters"] == 39_754_541


def test_targets_are_letters_then_digits():
    characters = text.ALPHANUMERIC.encode(["az09", "b"], 6)
    found = np.asarray(targets(characters))
    assert found.shape == (2, 26)
    assert found[:, :5].tolist() == [[1, 26, 27, 36, 0], [2, 0, 0, 0, 0]]
    assert targets(np.full((1, 30), 11)).shape == (1, 26)


def test_lengths_count_the_end():
    logits = np.zeros((4, 5, 37), np.float32)
    logits[..., 1] = 1
    logits[0, 3:, 0] = logits[1, 0, 0] = logits[2, [1, 4], 0] = 2
    assert word_lengths(logits).tolist() == [4, 2, 2, 5]


def test_corners_stay_where_they_are():
    matrix = bicubic_matrix(8, 16, corners=True)
    assert matrix[0].tolist() == [1, *[0] * 7] and matrix[-1].tolist() == [*[0] * 7, 1]
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match=r"channels=6: must be even and a multiple of .*heads=4"):
        Network(lambda rngs: LEMMA(channels=6, rngs=rngs))
    sizes = {"channels": (4, 4, 4, 4, 4, 12)}
    with pytest.raises(UserError, match=r"4, 12\): the last must be even and a mul.*heads=8"):
        build_prior({"name": "lemma", "dtype": "float32", "abinet": sizes})
