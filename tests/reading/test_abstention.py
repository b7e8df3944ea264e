"""Abstention: thresholds keep the risk that is asked for, and readers leave out what is unsure."""

import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import textsr_jax
from tests.conftest import word_image
from tests.reading.test_reader import Blocks, blocks
from textsr_jax import reading
from textsr_jax.config.settings import HeldOut
from textsr_jax.errors import UserError
from textsr_jax.images import LR_SIZE
from textsr_jax.reading.abstention import NEVER, Abstention, threshold
from textsr_jax.storage import workdirs
from textsr_jax.storage.shipped import SHIPPED

# Nine words, of which three are wrong.
LOSSES = ((-0.1, 1.0), (-0.5, 1.0), (-2.0, 1.0))


@pytest.mark.parametrize(
    ("risk", "bound"),
    [
        # (wrong ones above the bound + 1) / 10 is at most the risk.
        (0.4, -math.inf),
        (0.39, -2.0),
        (0.3, -2.0),
        (0.29, -0.5),
        (0.2, -0.5),
        (0.19, -0.1),
        (0.1, -0.1),
        # Nine words cannot show less than 1 in 10.
        (0.09, NEVER),
    ],
)
def test_thresholds_by_hand(risk, bound):
    assert threshold(risk, 9, LOSSES) == bound
    assert threshold(risk, 9, LOSSES[::-1]) == bound


def test_equal_confidences_are_left_out_together():
    assert threshold(0.25, 9, [(-0.3, 1.0), (-0.3, 1.0), (-0.4, 0.5)]) == -0.3
    # Losses of letters are parts of words.
    assert threshold(0.25, 9, [(-0.3, 0.75), (-0.3, 0.75), (-0.4, 0.5)]) == -0.4
    assert threshold(0.25, 9, []) == -math.inf


losses = st.lists(st.tuples(st.floats(-9, 0), st.floats(0.01, 1)), max_size=12)


@given(losses, st.integers(0, 20), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_the_threshold_is_the_least_that_keeps_the_bound(losses, right, risk, other):
    words = len(losses) + right + 1

    def bound(at):
        return (sum(loss for sure, loss in losses if sure > at) + 1) / (words + 1)

    found = threshold(risk, words, losses)
    if risk * (words + 1) >= 1:
        assert bound(found) <= risk + 1e-9
    lower = [sure for sure, _ in losses if sure < found] + [-math.inf] * (found > -math.inf)
    if lower and found != NEVER:
        assert bound(max(lower)) > risk
    # A lower risk never returns more.
    assert (threshold(other, words, losses) >= found) or other > risk


def drawn(rng, words):
    """Words whose confidence says little, and which of them are wrong."""
    sure = np.log(rng.beta(4, 1, words))
    return sure, rng.random(words) > 0.3 + 0.6 * np.exp(sure)


@pytest.mark.parametrize(("risk", "n"), [(0.02, 60), (0.05, 60), (0.1, 25), (0.2, 200)])
def test_the_risk_is_kept_on_the_mean(risk, n):
    """Over many draws of held-out words and one more word each."""
    rng = np.random.default_rng(7)
    lost = []
    for _ in range(4000):
        sure, wrong = drawn(rng, n + 1)
        held_out = [(float(one), 1.0) for one in sure[:n][wrong[:n]]]
        lost.append(wrong[n] and sure[n] > threshold(risk, n, held_out))
    error = math.sqrt(risk * (1 - risk) / len(lost))
    assert np.mean(lost) <= risk + 3 * error
    # It is no tighter than it has to be: the paper's theorem 2.
    assert np.mean(lost) >= risk - 2 / (n + 1) - 3 * error


HELD_OUT = HeldOut(words=9, wrong_words=LOSSES, wrong_letters=((-0.02, 1.0), (-0.03, 1.0)))


@pytest.mark.parametrize(
    ("risks", "message"),
    [
        ((0.1, 0.1), "abstain and abstain_letters: take one of them"),
        ((0.0, None), "abstain=0.0: must be a number above 0 and below 1"),
        ((None, 1), "abstain_letters=1: must be a number above 0 and below 1"),
        ((True, None), "abstain=True: must be a number"),
        ((float("nan"), None), "abstain=nan: must be a number"),
    ],
)
def test_risks_that_cannot_be(risks, message):
    with pytest.raises(UserError, match=message):
        Abstention.of(HELD_OUT, *risks, "FILE")


def test_what_was_never_measured():
    with pytest.raises(UserError, match=r"^abstain=0.1: FILE does not say .*fit_temperature"):
        Abstention.of(HeldOut(), 0.1, None, "FILE")
    assert Abstention.of(HeldOut(), None, None, "FILE") is None


def test_too_low_a_risk_leaves_out_everything_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        found = Abstention.of(HELD_OUT, 0.05, None, "FILE")
    assert found == Abstention(False, 0.05, NEVER)
    assert caplog.messages == [
        "abstain=0.05: 9 held-out words cannot show so low a risk, so that nothing is returned; "
        "ask for 0.1 or more"
    ]
    reader = reading.Reader(Blocks(doubt=0.0), abstention=found)
    (one,) = reader.read([blocks("open")])
    assert one == reading.Reading("", 1.0, abstained=True)


def test_a_reader_leaves_out_unsure_words():
    # The bound is -0.5; a word of four letters has a log confidence of -0.4 times the doubt.
    abstention = Abstention.of(HELD_OUT, 0.2, None, "FILE")
    sure, unsure = (
        reading.Reader(Blocks(doubt), 2.0, abstention=abstention).read([blocks("open")])[0]
        for doubt in (1.0, 2.0)
    )
    assert sure == reading.Reading("open", pytest.approx(math.exp(-0.2)))
    assert unsure == reading.Reading("", pytest.approx(math.exp(-0.4)), abstained=True)
    assert len(sure.letters) == 4 and unsure.letters == ()
    # An image without any text is not left out: it has none.
    reader = reading.Reader(Blocks(), abstention=abstention)
    assert not reader.read([np.full((32, 128, 3), 9, np.uint8)])[0].abstained


def test_a_reader_leaves_out_unsure_letters():
    # The bound is -0.02: the 21st letter of the alphabet of digits and letters is at it.
    abstention = Abstention.of(HELD_OUT, None, 0.19, "FILE")
    assert abstention.threshold == -0.02
    reader = reading.Reader(Blocks(), temperature=2.0, abstention=abstention)
    (found,) = reader.read([blocks("0pak")])
    assert found.text == "0?a?" and not found.abstained
    np.testing.assert_allclose(found.letters, np.exp([0, -0.0125, -0.005, -0.01]))
    # In windows each letter is as sure as where it was read.
    word = "restaurant0bar9cafe"
    (found,) = reader.read([blocks(word)])
    assert found.text == "".join(letter if letter < "k" else "?" for letter in word)
    assert len(found.letters) == len(word)


@pytest.mark.slow
def test_the_shipped_models_leave_out_what_nobody_can_read():
    kept = workdirs.load_config(SHIPPED).held_out
    assert kept.words >= 1000 and kept.wrong_words and kept.wrong_letters
    for losses in (kept.wrong_words, kept.wrong_letters):
        bounds = [threshold(risk, kept.words, losses) for risk in (0.01, 0.02, 0.05, 0.1)]
        assert bounds == sorted(bounds, reverse=True)
        assert NEVER > bounds[0] > bounds[-1]
    clear = word_image("open")
    images = [clear, clear.resize((5, 3)).resize(LR_SIZE)]
    plain = textsr_jax.load().read(images)
    assert plain[1].text
    careful = textsr_jax.load(abstain=0.01).read(images)
    assert careful[0] == plain[0] and careful[0].text == "open"
    assert careful[1] == reading.Reading("", plain[1].confidence, abstained=True)
    shown = textsr_jax.load(abstain_letters=0.01).read(images)
    assert shown[0] == plain[0]
    assert "?" in shown[1].text and len(shown[1].text) == len(plain[1].text)
