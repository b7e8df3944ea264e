"""Risk and coverage: errors and curves worked out by hand, and what holds for all words."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textsr_jax.config.settings import HeldOut
from textsr_jax.evaluation import risk
from textsr_jax.evaluation.risk import Words
from textsr_jax.reading import Reading
from textsr_jax.reading.abstention import threshold


def read(text, confidence, *letters):
    return Reading(text, confidence, letters or (confidence,) * len(text))


WORDS = Words.of(
    [
        read("open", 0.9),
        read("exlt", 0.6, 1.0, 0.99, 0.7, 0.99),
        read("", 0.8),
        read("caf", 0.5, 0.9, 0.8, 0.5),
        read("xy", 0.3, 0.3, 0.4),
    ],
    ["Open!", "exit", "word", "café", "ab"],
)


def test_errors_by_hand():
    np.testing.assert_array_equal(WORDS.wrong, [False, True, False, False, True])
    np.testing.assert_array_equal(WORDS.returned, [True, True, False, True, True])
    assert [loss for _, loss in WORDS.wrong_words()] == [1, 1]
    np.testing.assert_allclose(
        np.exp([sure for sure, _ in WORDS.wrong_words()]), [0.6, 0.3], rtol=1e-5
    )
    sure, losses = zip(*WORDS.wrong_letters(), strict=True)
    np.testing.assert_allclose(np.exp(sure), [0.7, 0.4, 0.3], rtol=1e-5)
    assert losses == (0.25, 0.5, 0.5)
    np.testing.assert_array_equal(WORDS.word_losses(-math.inf), [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(WORDS.word_losses(math.log(0.5)), [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(WORDS.letter_losses(-math.inf), [0, 0.25, 0, 0, 1])
    np.testing.assert_array_equal(WORDS.letter_losses(math.log(0.35)), [0, 0.25, 0, 0, 0.5])


def test_what_a_config_keeps_survives_a_file():
    made = risk.held_out(WORDS)
    kept = HeldOut().replace(**json.loads(json.dumps(made)))
    assert kept.words == 5
    assert [*kept.wrong_words] == WORDS.wrong_words()
    assert [*kept.wrong_letters] == WORDS.wrong_letters()


words = st.lists(
    st.tuples(st.text("ab", max_size=4), st.text("ab", min_size=1, max_size=4), st.floats(0, 1)),
    min_size=1,
    max_size=15,
).map(
    lambda some: Words.of(
        [read(found, sure) for found, _, sure in some], [label for _, label, _ in some]
    )
)


@given(words, st.floats(-5, 0), st.floats(-5, 0), st.floats(0.02, 0.9))
def test_losses_never_rise_with_the_threshold_and_are_those_that_are_kept(drawn, one, two, asked):
    low, high = sorted((one, two))
    for losses, kept in (
        (drawn.word_losses, drawn.wrong_words()),
        (drawn.letter_losses, drawn.wrong_letters()),
    ):
        assert (losses(low) >= losses(high)).all()
        assert (losses(-math.inf) <= 1 + 1e-9).all() and losses(0).sum() == 0
        assert sum(loss for _, loss in kept) == pytest.approx(losses(-math.inf).sum())
        # At a threshold of the rounded confidences the exact ones decide the same.
        bound = threshold(asked, len(drawn), kept)
        above = sum(loss for sure, loss in kept if sure > bound)
        assert losses(bound).sum() == pytest.approx(above)
    # A word without a wrong letter may be wrong, but no right word has one.
    right = drawn.word_losses(-math.inf) == 0
    assert drawn.letter_losses(-math.inf)[right].sum() == 0


def test_points_by_hand():
    fitted = Words.of([read("a", 0.5), read("b", 0.7), *[read("c", 0.9)] * 7], ["x", "y", *"c" * 7])
    first, second = risk.word_points(fitted, WORDS, (0.25, 0.05))
    # Of the held-out words one may be wrong: the bound is at the less sure one.
    assert np.exp(first.threshold) == pytest.approx(0.5, rel=1e-5)
    assert (first.coverage, first.risk, first.selective_risk) == (0.4, 0.2, 0.5)
    assert (second.coverage, second.risk, second.selective_risk) == (0, 0, None)
    (letters,) = risk.letter_points(fitted, WORDS, (0.25,))
    assert (letters.coverage, letters.selective_risk) == (10 / 13, 0.1)
    assert letters.risk == pytest.approx(0.25 / 5)
    (all_of_them,) = risk.word_points(fitted, WORDS, (0.5,))
    assert all_of_them.as_json()["threshold"] is None
    assert (all_of_them.coverage, all_of_them.risk) == (0.8, 0.4)


def test_a_curve_by_hand():
    drawn = Words.of(
        [read("a", 0.9), read("b", 0.8), read("c", 0.8), read("", 0.99), read("e", 0.1)],
        ["a", "x", "c", "d", "x"],
    )
    coverage, selective = risk.curve(drawn)
    np.testing.assert_allclose(coverage, [0.2, 0.6, 0.8])
    np.testing.assert_allclose(selective, [0, 1 / 3, 1 / 2])
    assert risk.area(coverage, selective) == pytest.approx(0.4 / 3 + 0.2 / 2)
    empty = risk.curve(Words.of([read("", 0.5)], ["a"]))
    assert risk.area(*empty) == len(empty[0]) == 0
