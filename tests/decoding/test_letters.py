"""Letters: which two texts share, and how sure each is among beams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax.decoding.letters import log_shares, matched

texts = st.text("abc", max_size=7)


@pytest.mark.parametrize(
    ("text", "other", "letters"),
    [
        ("open", "open", "open"),
        ("open", "0pen", ".pen"),
        ("open", "pen", ".pen"),
        ("pen", "open", "pen"),
        ("ope", "open", "ope"),
        ("oopen", "open", "o.pen"),
        ("restuarant", "restaurant", "rest..rant"),
        ("abcd", "xbyd", ".b.d"),
        # One letter was read as two, and a later one is missing.
        ("corni", "comi", "co..i"),
        ("open", "", "...."),
        ("", "open", ""),
    ],
)
def test_letters_at_their_places(text, other, letters):
    shown = "".join(a if same else "." for a, same in zip(text, matched(text, other), strict=True))
    assert shown == letters


def distance(text, other):
    """Levenshtein's, by its definition."""
    if not text or not other:
        return len(text) + len(other)
    if text[0] == other[0]:
        return distance(text[1:], other[1:])
    return 1 + min(
        distance(text[1:], other[1:]), distance(text[1:], other), distance(text, other[1:])
    )


@given(texts, texts)
def test_matches_are_those_of_an_alignment_of_least_edits(text, other):
    """With `same` letters kept, some alignment has as many edits as there must be."""
    same = int(matched(text, other).sum())
    edits = distance(text, other)
    # Each letter of the longer text is kept, replaced, or inserted.
    assert max(len(text), len(other)) - same <= edits <= len(text) + len(other) - 2 * same
    if same < min(len(text), len(other)):
        assert edits > 0
    assert (edits == 0) == (text == other)
    kept = iter(other)
    letters = [letter for letter, one in zip(text, matched(text, other), strict=True) if one]
    assert all(letter in kept for letter in letters)


def test_a_letter_is_as_sure_as_the_beams_that_have_it():
    share = np.log([0.5, 0.3, 0.2])
    found = np.exp(log_shares("open", ["open", "0pen", "opem"], share))
    np.testing.assert_allclose(found, [0.7, 1, 1, 0.8])
    # Beams of nearly no probability, and those that were given up, count as other texts.
    share = np.array([np.log1p(-5e-5), np.log(5e-5), -np.inf])
    found = np.exp(log_shares("open", ["open", "0pen", "opem"], share))
    np.testing.assert_allclose(found, 1 - 5e-5)


@given(st.lists(st.tuples(texts, st.floats(-12, 0)), min_size=1, max_size=6))
def test_no_letter_is_less_sure_than_its_word(beams):
    words = [word for word, _ in beams]
    share = np.array([score for _, score in beams])
    share -= np.logaddexp.reduce(share)
    found = log_shares(words[0], words, share)
    assert found.shape == (len(words[0]),)
    assert (found <= 0).all()
    assert (found >= share[0] - 1e-9).all()
