"""Vocabulary: what words say, and how long they are."""

import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax import text
from textsr_jax.data.synthetic import vocabulary
from textsr_jax.errors import UserError


@given(
    kind=st.sampled_from(vocabulary.KINDS),
    low=st.integers(1, 10),
    more=st.integers(0, 20),
    seed=st.integers(0, 2**32),
)
def test_every_word_can_be_scored_and_is_as_long_as_wished(kind, low, more, seed):
    word = vocabulary.sample(kind, low, low + more, np.random.default_rng(seed))
    assert low <= len(text.normalize(word)) <= low + more
    assert word.replace("£", "$").isascii()
    assert word.isprintable()
    if kind == "text":
        # Nothing is lost where all of printable ASCII is written.
        assert text.PRINTABLE.normalize(word) == word
    else:
        assert " " not in word


def words(kind, count=3000):
    rng = np.random.default_rng(1)
    return [vocabulary.sample(kind, 1, 25, rng) for _ in range(count)]


def test_dictionary_words_are_of_every_case_and_the_common_ones_come_often():
    drawn = words("dictionary")
    upper = sum(word.isupper() for word in drawn) / len(drawn)
    lower = sum(word.islower() for word in drawn) / len(drawn)
    assert 0.45 < upper < 0.6
    assert 0.15 < lower < 0.3
    counts = Counter(text.normalize(word) for word in drawn)
    assert counts["the"] > 5
    assert len(counts) > 2000


def test_punctuation_is_rare():
    marked = [word for word in words("dictionary") if not word.isalnum()]
    assert 0.03 < len(marked) / 3000 < 0.12


def test_numbers_are_mostly_digits_and_codes_know_no_dictionary():
    assert sum(word.isdigit() for word in words("numbers")) > 1500
    letters = Counter("".join(words("codes")).upper())
    assert set(text.ALPHANUMERIC.characters.upper()) <= set(letters)
    assert letters["Q"] > 0.6 * letters["E"]


def test_mixed_has_all_kinds():
    drawn = words("mixed")
    share = sum(word.isdigit() for word in drawn) / len(drawn)
    assert 0.05 < share < 0.15
    assert sum(word.isalpha() for word in drawn) > 0.7 * len(drawn)


def test_text_has_one_to_three_words_and_every_mark():
    drawn = words("text")
    counts = Counter(word.count(" ") for word in drawn)
    assert 0.35 < sum(counts[spaces] for spaces in (1, 2)) / len(drawn) < 0.6
    assert counts[2] > 200
    assert set("".join(drawn)) == set(text.PRINTABLE.characters)


def test_no_word_is_so_long():
    with pytest.raises(UserError, match="no English word"):
        vocabulary.load("mixed", 40, 50)
    vocabulary.load("codes", 40, 50)


def test_wordfreq_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    vocabulary._frequencies.cache_clear()
    vocabulary.english.cache_clear()
    with pytest.raises(UserError, match="pip install wordfreq"):
        vocabulary.load("dictionary", 1, 25)


def test_unknown_kind():
    with pytest.raises(ValueError, match="'poems'"):
        vocabulary.sample("poems", 1, 25, np.random.default_rng(0))
