"""Calibration: known temperatures are found again, and errors are those worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import word_image
from textsr_jax.data.records import Record
from textsr_jax.errors import UserError
from textsr_jax.evaluation import calibration
from textsr_jax.evaluation.calibration import Sample
from textsr_jax.reading import Reading


def overconfident(temperature, n=20_000, seed=0):
    """Words that are right as often as the confidence at `temperature` says."""
    rng = np.random.default_rng(seed)
    log_probability = np.log(rng.uniform(0.05, 0.999, n)) * temperature
    return Sample(log_probability, rng.random(n) < np.exp(log_probability / temperature))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.7, 5.0])
def test_a_known_temperature_is_recovered(temperature):
    sample = overconfident(temperature)
    assert calibration.fit_temperature(sample) == pytest.approx(temperature, rel=0.04)


def error(sample, temperature):
    bins = calibration.reliability(sample.confidence(temperature), sample.right)
    return calibration.expected_calibration_error(bins)


@pytest.mark.parametrize("temperature", [0.4, 1.7, 5.0])
def test_calibration_takes_the_error_away(temperature):
    sample = overconfident(temperature)
    assert error(sample, 1.0) > 0.1
    assert error(sample, calibration.fit_temperature(sample)) < 0.015


@given(
    st.lists(st.tuples(st.floats(-30, 0), st.booleans()), min_size=2, max_size=40).filter(
        lambda words: len({right for _, right in words}) == 2
    ),
    st.floats(0.06, 19),
)
def test_no_temperature_is_likelier_than_the_fitted_one(words, other):
    sample = Sample(np.array([p for p, _ in words]), np.array([right for _, right in words]))
    fitted = calibration.fit_temperature(sample)
    assert calibration.LOWEST <= fitted <= calibration.HIGHEST
    best = calibration.negative_log_likelihood(sample, fitted)
    # The search stops next to the best one; at a bound even 1e-6 beside it.
    assert best <= calibration.negative_log_likelihood(sample, other) + 1e-3


def test_likelihood_by_hand():
    sample = Sample(np.log([0.81, 0.25]), np.array([True, False]))
    wanted = -(np.log(0.9) + np.log(0.5)) / 2
    assert calibration.negative_log_likelihood(sample, 2.0) == pytest.approx(wanted)


@pytest.mark.parametrize("right, which", [(True, "right"), (False, "wrong")])
def test_words_that_tell_nothing(right, which):
    with pytest.raises(UserError, match=f"all 3 validation words were read {which}"):
        calibration.fit_temperature(Sample(np.log([0.2, 0.5, 0.9]), np.full(3, right)))


def test_error_by_hand():
    confidence = np.array([0.05, 0.1, 0.7, 0.9, 1.0])
    right = np.array([False, True, True, False, True])
    bins = calibration.reliability(confidence, right, bins=2)
    assert [part.n for part in bins] == [2, 3]
    assert bins[0].confidence == pytest.approx(0.075)
    assert bins[1].accuracy == pytest.approx(2 / 3)
    wanted = (2 * (0.5 - 0.075) + 3 * (2.6 / 3 - 2 / 3)) / 5
    assert calibration.expected_calibration_error(bins) == pytest.approx(wanted)


words = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(words, st.integers(1, 20))
def test_every_word_lies_in_one_bin(drawn, bins):
    confidence, right = (np.array(column) for column in zip(*drawn, strict=True))
    made = calibration.reliability(confidence, right, bins)
    assert len(made) == bins
    assert sum(part.n for part in made) == len(drawn)
    for part in made:
        if part.n:
            assert part.low - 1e-12 <= part.confidence <= part.high + 1e-12
            assert 0 <= part.accuracy <= 1
    error = calibration.expected_calibration_error(made)
    assert 0 <= error <= 1
    # Bins can only hide errors that cancel out, never those of all words together.
    assert error >= abs(confidence.mean() - right.mean()) - 1e-9


def test_no_words_have_no_error():
    with pytest.raises(ValueError, match="of no words"):
        calibration.expected_calibration_error(calibration.reliability(np.zeros(0), np.zeros(0)))


class Reader:
    """Is sure of half the words, and right in those; image sizes tell that LR was handed over."""

    def read(self, images):
        assert all(image.shape == (16, 64, 3) for image in images)
        return [Reading("open" if i % 2 else "?", 0.25 + 0.5 * (i % 2)) for i in range(len(images))]


def test_words_are_read_and_compared():
    hr = np.asarray(word_image("open"))
    records = [Record(f"w:{i}", hr[::2, ::2], hr, "Open.") for i in range(6)]
    sample = Sample.of(*calibration.read(Reader(), records))
    np.testing.assert_array_equal(sample.right, [False, True] * 3)
    np.testing.assert_allclose(np.exp(sample.log_probability), [0.25, 0.75] * 3)
