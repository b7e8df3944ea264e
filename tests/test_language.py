"""The choice among beams by likely English: its probabilities, and what it prefers when."""

import itertools

import numpy as np
import pytest
import wordfreq
from hypothesis import given
from hypothesis import strategies as st

from configs import paper, small
from textsr_jax import language, text
from textsr_jax.decoding import Decoded
from textsr_jax.errors import UserError
from textsr_jax.language import Words, WordSearch, log_probability, log_ratio
from textsr_jax.text import END, FIRST_CHARACTER, PAD

STEPS = 9


def tokens(word):
    row = [FIRST_CHARACTER + text.ALPHABET.index(character) for character in word] + [END]
    return row + [PAD] * (STEPS - len(row))


def beams(*words_and_scores):
    """Every beam of one word."""
    words, scores = zip(*words_and_scores, strict=True)
    return Decoded(
        np.array([[tokens(word) for word in words]], np.int32),
        np.array([[len(word) + 1 for word in words]], np.int32),
        np.array([scores], np.float32),
    )


def test_probabilities_of_all_texts_sum_to_1_at_most():
    # English words, each shape of digits as often as there are digits; numbers and any characters,
    # up to two of them.
    total = 0.0
    for word in language._frequencies():
        digits = "".join(language._SEVERAL_DIGITS.findall(word))
        assert set(digits) <= {"0"}
        total += 10 ** len(digits) * np.exp(log_probability(word))
    shortest = [
        np.exp(log_probability("".join(letters)))
        for count in range(3)
        for letters in itertools.product(text.ALPHABET, repeat=count)
        if not any(character.isalpha() for character in letters)
    ]
    assert 0.7 < total + sum(shortest) < 1
    # Of texts that are neither words nor numbers those of a length have (36 / 37)^n / 37 of 8 %.
    np.testing.assert_allclose(log_probability("q7xj"), np.log(0.08 * 37.0**-5))
    np.testing.assert_allclose(log_probability("407"), np.log(0.08 * 37.0**-4 + 0.12 * 11.0**-4))
    np.testing.assert_allclose(log_probability(""), np.log(0.08 / 37))


@given(st.text(text.ALPHABET, max_size=40) | st.sampled_from(["q7" * 500, "9" * 1000]))
def test_every_text_is_possible(word):
    assert -4 - 3.7 * len(word) - 3 < log_probability(word) < 0


def test_common_words_are_likelier_and_numbers_are_not_looked_up():
    assert log_probability("the") > log_probability("heron") > log_probability("hqron") + 5
    # wordfreq has one entry for all numbers of four digits.
    assert log_probability("0000") == log_probability("1938")


def test_words_lose_their_marks_and_several_digits_are_as_likely_as_others():
    listed = wordfreq.get_frequency_dict("en", "large")
    women = 0.8 * (listed["women's"] + listed["womens"]) + 0.08 * 37.0**-7
    np.testing.assert_allclose(log_probability("womens"), np.log(women))
    assert log_probability("25th") == log_probability("17th") > log_probability("25qh") + 5
    numbered = 0.8 * (listed["00th"] + listed["0.0th"]) / 100 + 0.08 * 37.0**-5
    np.testing.assert_allclose(log_probability("25th"), np.log(numbered))
    # Of one digit the list has every word.
    assert log_probability("2nd") > log_probability("4nd") + 5


def test_the_length_of_what_is_no_language_counts_nothing():
    assert log_ratio("q7xj") == pytest.approx(np.log(0.08)) == log_ratio("q7xj" * 9)
    np.testing.assert_allclose(log_ratio("the"), log_probability("the") + 4 * np.log(37))
    found = beams(("b00k", -1.2), ("b00k7", -1.1))
    assert WordSearch(5, STEPS, 1.0).words(found).texts == ["b00k7"]


def test_the_margin_spans_all_words_of_up_to_17_letters():
    ratios = [log_ratio(word) for word in language._frequencies() if len(word) <= 17]
    assert min(ratios) >= np.log(0.08)
    assert np.log(0.08) + language._SPREAD - 10 < max(ratios) < np.log(0.08) + language._SPREAD


def test_the_likelier_word_is_taken_where_the_recogniser_is_unsure():
    found = beams(("0pen", -0.9), ("open", -1.2), ("pen", -7.0))
    words = WordSearch(5, STEPS, 0.25).words(found)
    assert words.texts == ["open"]
    np.testing.assert_allclose(words.log_probability, [-1.2], rtol=1e-6)
    words = WordSearch(5, STEPS, 0.01).words(found)
    assert words.texts == ["0pen"]
    np.testing.assert_allclose(words.log_probability, [-0.9], rtol=1e-6)


def test_of_what_is_cut_the_recogniser_s_best_beam_is_taken():
    one = beams(("0pen", -0.9), ("open", -1.2))
    two = Decoded(*(np.concatenate([part, part]) for part in one))
    words = WordSearch(5, STEPS, 0.25).words(two, [True, False])
    assert words.texts == ["0pen", "open"]
    np.testing.assert_allclose(np.exp(words.log_confidence[0]), 1 / (1 + np.exp(-0.3)), rtol=1e-6)


def test_confidence_is_the_share_of_all_beams():
    found = beams(("0pen", -0.9), ("open", -1.2), ("pen", -np.inf))
    words = WordSearch(5, STEPS, 0.25).words(found)
    ahead = -1.2 + 0.25 * log_ratio("open") - (-0.9 + 0.25 * log_ratio("0pen"))
    np.testing.assert_allclose(np.exp(words.log_confidence), 1 / (1 + np.exp(-ahead)), rtol=1e-6)


def test_a_word_that_the_recogniser_hardly_believes_is_doubted():
    search = WordSearch(5, STEPS, 0.25)
    likely, doubted = beams(("open", -4.9), ("xq", -4.9)), beams(("open", -8.0), ("xq", -8.0))
    believed, words = search.words(likely), search.words(doubted)
    assert believed.texts == words.texts == ["open"]
    assert believed.log_confidence > np.log(0.8)
    np.testing.assert_allclose(words.log_confidence, believed.log_confidence - 3.0, rtol=1e-6)
    # Of what is cut a window sees a part, which no recogniser believes.
    (whole,) = search.words(doubted, [True]).log_confidence
    np.testing.assert_allclose(np.exp(whole), 0.5, rtol=1e-6)


def test_what_is_clearly_no_word_is_read_as_it_is():
    found = beams(("b00k7", -0.01), ("book7", -6.0), ("book", -9.0))
    words = WordSearch(5, STEPS, 0.25).words(found)
    assert words.texts == ["b00k7"]
    assert words.log_confidence > np.log(0.8)


def test_beams_that_were_given_up_are_never_taken():
    found = beams(("xqz", -4.0), ("the", -np.inf))
    words = WordSearch(5, STEPS, 10.0).words(found)
    assert words.texts == ["xqz"]
    assert words.log_confidence == 0


def test_best_beams_are_taken_as_they_are():
    found = Decoded(np.array([tokens("0pen"), tokens("a")]), np.array([5, 2]), np.array([-1.0, -2]))
    words = WordSearch(5, STEPS, 0.25).words(found)
    assert words.texts == ["0pen", "a"]
    np.testing.assert_array_equal(words.log_probability, [-1, -2])
    np.testing.assert_array_equal(words.log_confidence, [-1, -2])


def test_batches_are_joined():
    one, two = (WordSearch(5, STEPS).words(beams((word, -1.0))) for word in ("a", "no7"))
    joined = Words.joined([one, two])
    assert joined.texts == ["a", "no7"]
    np.testing.assert_array_equal(joined.log_confidence, [0, 0])


def test_of_a_config():
    config = paper.get_config()
    assert WordSearch.of(config) == WordSearch(10, 49, 0.0)
    assert WordSearch.of(config).margin is None
    config.decoding.language_weight = 0.25
    assert WordSearch.of(config).margin == 15
    assert WordSearch(1, 49, 0.25).margin is None
    for wrong in (-0.1, float("nan"), "much"):
        with config.ignore_type():
            config.decoding.language_weight = wrong
        with pytest.raises(UserError, match=r"config.decoding.language_weight=.*from 0 on"):
            WordSearch.of(config)
    older = small.get_config()
    with older.unlocked():
        del older.decoding.language_weight
    assert WordSearch.of(older).language_weight == 0
    crnn = paper.get_config()
    crnn.ocr.name, crnn.decoding.language_weight = "crnn", 0.5
    with pytest.raises(UserError, match="crnn reads without beams"):
        WordSearch.of(crnn)
