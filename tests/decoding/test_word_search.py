"""The choice among beams by likely English: its probabilities, and what it prefers when."""

import numpy as np
import pytest

from configs import paper
from textsr_jax import text
from textsr_jax.decoding import english, word_search
from textsr_jax.decoding.english import log_probability, log_ratio
from textsr_jax.decoding.search import Decoded
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.text import END, FIRST_CHARACTER, PAD

STEPS = 9


def tokens(word):
    row = [
        FIRST_CHARACTER + text.ALPHANUMERIC.characters.index(character) for character in word
    ] + [END]
    return row + [PAD] * (STEPS - len(row))


def beams(*words_and_scores):
    """Every beam of one word."""
    words, scores = zip(*words_and_scores, strict=True)
    return Decoded(
        np.array([[tokens(word) for word in words]], np.int32),
        np.array([[len(word) + 1 for word in words]], np.int32),
        np.array([scores], np.float32),
    )


def test_the_length_of_what_is_no_language_counts_nothing():
    assert log_ratio("q7xj") == pytest.approx(np.log(0.08)) == log_ratio("q7xj" * 9)
    np.testing.assert_allclose(log_ratio("the"), log_probability("the") + 4 * np.log(37))
    found = beams(("b00k", -1.2), ("b00k7", -1.1))
    assert WordSearch(5, STEPS, 1.0).words(found).texts == ["b00k7"]


@pytest.mark.slow
def test_the_margin_spans_all_words_of_up_to_17_letters():
    ratios = [log_ratio(word) for word in english._frequencies() if len(word) <= 17]
    assert min(ratios) >= np.log(0.08)
    assert (
        np.log(0.08) + word_search._SPREAD - 10 < max(ratios) < np.log(0.08) + word_search._SPREAD
    )


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


def test_english_has_no_case_and_no_marks():
    rows = [
        [FIRST_CHARACTER + text.PRINTABLE.characters.index(one) for one in word] + [END]
        for word in ("0PEN!", "OPEN!", "open?")
    ]
    found = Decoded(
        np.array([[row + [PAD] * (STEPS - len(row)) for row in rows]]),
        np.full((1, 3), 6),
        np.array([[-0.9, -1.2, -1.5]]),
    )
    words = WordSearch(3, STEPS, 0.25, alphabet=text.PRINTABLE).words(found)
    assert words.texts == ["OPEN!"]
    assert log_ratio("OPEN!") == log_ratio("open")
    assert log_ratio("New York") == pytest.approx(log_ratio("new") + log_ratio("york"))


def test_what_is_clearly_no_word_is_read_as_it_is():
    found = beams(("b00k7", -0.01), ("book7", -6.0), ("book", -9.0))
    words = WordSearch(5, STEPS, 0.25).words(found)
    assert words.texts == ["b00k7"]
    assert words.log_confidence > np.log(0.8)


def test_letters_are_as_sure_as_the_beams_that_have_them():
    found = beams(("open", -0.7), ("0pen", -1.2), ("opem", -1.9), ("pen", -3.0))
    words = WordSearch(5, STEPS, 1e-9).words(found)
    share = np.exp([-0.7, -1.2, -1.9, -3.0]) / np.exp([-0.7, -1.2, -1.9, -3.0]).sum()
    wanted = [1 - share[1] - share[3], 1, 1, 1 - share[2]]
    np.testing.assert_allclose(np.exp(words.letters[0]), wanted, rtol=1e-6)
    # A doubt about the word is one about its letters.
    doubted = WordSearch(5, STEPS, 0.25).words(beams(("open", -8.0), ("opem", -9.0)))
    np.testing.assert_allclose(doubted.letters[0][:3], -3.0, rtol=1e-6)
    # Without other beams nothing tells the letters apart.
    alone = Decoded(np.array([tokens("0pen")]), np.array([5]), np.array([-1.0]))
    np.testing.assert_array_equal(WordSearch(1, STEPS).words(alone).letters[0], [-1.0] * 4)


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


def test_beams_of_the_same_text_count_as_one():
    found = beams(("xq", -1.0), ("xz", -1.5), ("xz", -1.5), ("xq", -9.0), ("xz", -np.inf))
    words = WordSearch(5, STEPS, 1e-9).words(found)
    assert words.texts == ["xz"]
    np.testing.assert_allclose(words.log_probability, np.log(2) - 1.5, rtol=1e-6)
    others = np.exp(-1) + np.exp(-9)
    share = 2 * np.exp(-1.5) / (2 * np.exp(-1.5) + others)
    np.testing.assert_allclose(np.exp(words.log_confidence), share, rtol=1e-5)


class Eyes:
    """Beams of images by the place of their one white pixel, and which images were looked at."""

    def __init__(self, seen):
        self.seen, self.looks = seen, []

    def __call__(self, images):
        places = [np.argwhere(image[..., 0])[0] for image in images]
        self.looks.append([tuple(map(int, place)) for place in places])
        found = [self.seen[place] for place in self.looks[-1]]
        return Decoded(*(np.concatenate(part) for part in zip(*found, strict=True)))


def dotted(*places):
    images = np.zeros((len(places), 32, 128, 3), np.uint8)
    for image, place in zip(images, places, strict=True):
        image[place] = 255
    return images


def test_an_unsure_word_is_looked_at_four_times_more():
    sure, unsure = (10, 20), (12, 60)
    eyes = Eyes(
        {
            sure: beams(("xq", -0.01), ("xz", -5.0)),
            unsure: beams(("xq", -0.6), ("xz", -0.9)),
            # Moved by two to each corner.
            (10, 62): beams(("xz", -0.2), ("xq", -3.0)),
            (14, 58): beams(("xz", -0.4), ("yz", -2.0)),
            (14, 62): beams(("xz", -0.3), ("xq", -1.5)),
            (10, 58): beams(("xq", -0.1), ("xz", -np.inf)),
        }
    )
    search = WordSearch(2, STEPS, 1e-9, second_look=0.9)
    words = search.read(eyes, dotted(sure, unsure, sure))
    assert eyes.looks == [[sure, unsure, sure], [(10, 62), (14, 58), (14, 62), (10, 58)]]
    assert words.texts == ["xq", "xz", "xq"]
    means = [
        np.exp([-0.9, -0.2, -0.4, -0.3]).sum() / 5,
        np.exp([-0.6, -3.0, -1.5, -0.1]).sum() / 5,
        np.exp(-2.0) / 5,
    ]
    np.testing.assert_allclose(np.exp(words.log_probability[1]), means[0], rtol=1e-5)
    np.testing.assert_allclose(np.exp(words.log_confidence[1]), means[0] / sum(means), rtol=1e-5)
    assert words.letters[1].shape == (2,)
    np.testing.assert_allclose(np.exp(words.letters[1][1]), 1 - means[1] / sum(means), rtol=1e-5)
    # The others are as they were.
    first = search.words(beams(("xq", -0.01), ("xz", -5.0)))
    for row in (0, 2):
        assert words.log_confidence[row] == first.log_confidence[0]


# Of (9, 9).
CORNERS = ((7, 11), (11, 7), (11, 11), (7, 7))


@pytest.mark.parametrize(
    ("beam", "bound", "looks"), [(2, 0.0, 1), (1, 0.9, 1), (2, 0.1, 1), (2, 0.6, 2), (2, 1.0, 2)]
)
def test_who_looks_again(beam, bound, looks):
    place = (9, 9)
    found = beams(("xq", -0.6), ("xz", -0.9))
    if beam == 1:
        found = Decoded(*(part[:, 0] for part in found))
    eyes = Eyes(dict.fromkeys((place, *CORNERS), found))
    words = WordSearch(beam, STEPS, 1e-9, bound).read(eyes, dotted(place))
    assert len(eyes.looks) == looks
    # The same seen five times makes no surer.
    once = WordSearch(beam, STEPS, 1e-9).words(found)
    assert words.texts == once.texts == ["xq"]
    np.testing.assert_allclose(words.log_confidence, once.log_confidence, rtol=1e-5)
    np.testing.assert_allclose(words.log_probability, once.log_probability, rtol=1e-5)


def test_a_second_look_at_what_is_cut_weighs_no_english():
    eyes = Eyes(dict.fromkeys(((9, 9), *CORNERS), beams(("0pen", -0.9), ("open", -1.2))))
    words = WordSearch(2, STEPS, 0.25, 1.0).read(eyes, dotted((9, 9), (9, 9)), [True, False])
    assert words.texts == ["0pen", "open"]
    assert eyes.looks[1] == [corner for corner in CORNERS for _ in range(2)]


def test_of_a_config():
    config = paper.get_config()
    assert WordSearch.of(config.decoding) == WordSearch(10, 49, 0.0, 0.0)
    assert WordSearch.of(config.decoding).margin is None
    config.decoding.language_weight = 0.25
    assert WordSearch.of(config.decoding).margin == 15
    assert WordSearch(1, 49, 0.25, 0.9).margin is None
    config.decoding.second_look = 0.9
    assert WordSearch.of(config.decoding) == WordSearch(10, 49, 0.25, 0.9)
    assert WordSearch.of(config.decoding).beyond_paper == ", language weight 0.25, second look 0.9"
    assert WordSearch(10, 49, 0.0, 0.9).beyond_paper == ", second look 0.9"
    # One beam leaves nothing to choose from.
    assert WordSearch(10, 49).beyond_paper == WordSearch(1, 49, 0.25, 0.9).beyond_paper == ""


def test_without_a_weight_beams_are_kept_for_a_second_look():
    assert WordSearch(10, STEPS, 0.0, 0.9).margin == WordSearch(10, STEPS, 1e-9).margin == 10
