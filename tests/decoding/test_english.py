"""Probabilities of texts as English: they sum to 1 at most, and every text has one."""

import itertools

import numpy as np
import wordfreq
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax import text
from textsr_jax.decoding import english
from textsr_jax.decoding.english import log_probability


def test_probabilities_of_all_texts_sum_to_1_at_most():
    # English words, each shape of digits as often as there are digits; numbers and any characters,
    # up to two of them.
    total = 0.0
    for word in english._frequencies():
        digits = "".join(english._SEVERAL_DIGITS.findall(word))
        assert set(digits) <= {"0"}
        total += 10 ** len(digits) * np.exp(log_probability(word))
    shortest = [
        np.exp(log_probability("".join(letters)))
        for count in range(3)
        for letters in itertools.product(text.ALPHANUMERIC.characters, repeat=count)
        if not any(character.isalpha() for character in letters)
    ]
    assert 0.7 < total + sum(shortest) < 1
    # Of texts that are neither words nor numbers those of a length have (36 / 37)^n / 37 of 8 %.
    np.testing.assert_allclose(log_probability("q7xj"), np.log(0.08 * 37.0**-5))
    np.testing.assert_allclose(log_probability("407"), np.log(0.08 * 37.0**-4 + 0.12 * 11.0**-4))
    np.testing.assert_allclose(log_probability(""), np.log(0.08 / 37))


@given(
    st.text(text.ALPHANUMERIC.characters, max_size=40) | st.sampled_from(["q7" * 500, "9" * 1000])
)
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
