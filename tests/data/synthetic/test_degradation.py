"""Degradation: the optics are exact, and each difficulty loses more than the one before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from textsr_jax.data.synthetic import degradation, rendering
from textsr_jax.data.synthetic.degradation import DIFFICULTIES, degrade, sampling


@given(
    samples=st.integers(1, 64),
    shift=st.floats(-3, 3),
    blur=st.floats(0.1, 4),
    smear=st.floats(0, 5),
)
def test_sampling_keeps_the_light(samples, shift, blur, smear):
    matrix = sampling(2 * samples, samples, shift, blur, smear)
    assert matrix.shape == (samples, 2 * samples)
    assert (matrix > -1e-12).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


def test_sampling_without_blur_averages_pixels():
    line = np.arange(12.0) ** 2
    matrix = sampling(12, 6, shift=0, blur=1e-9)
    np.testing.assert_allclose(matrix @ line, line.reshape(6, 2).mean(axis=1), atol=1e-9)
    # Half a cell to the right, where the last pixel is repeated beyond the end.
    shifted = np.append(line[1:], line[-1])
    matrix = sampling(12, 6, shift=1, blur=1e-9)
    np.testing.assert_allclose(matrix @ line, shifted.reshape(6, 2).mean(axis=1), atol=1e-9)


@pytest.mark.parametrize("blur, smear", [(0.8, 0), (2.5, 0), (1.0, 4.0)])
def test_sampling_spreads_as_it_should(blur, smear):
    row = sampling(64, 32, shift=0.3, blur=blur, smear=smear)[16]
    centres = np.arange(64) + 0.5
    mean = (row * centres).sum()
    assert mean == pytest.approx(33.3, abs=1e-4)
    # Variances add up: the blur's, the cell's box, the picture's pixels and the smear's.
    slices = (smear**2) * np.var(np.linspace(-0.5, 0.5, 7))
    expected = blur**2 + 2**2 / 12 + 1 / 12 + slices
    assert (row * (centres - mean) ** 2).sum() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_same_seed_same_picture(difficulty):
    hr = rendering.render("Harbour", np.random.default_rng(0))
    lr = degrade(hr, difficulty, np.random.default_rng(1))
    assert lr.shape == (16, 64, 3)
    assert lr.dtype == np.uint8
    np.testing.assert_array_equal(lr, degrade(hr, difficulty, np.random.default_rng(1)))
    assert (lr != degrade(hr, difficulty, np.random.default_rng(2))).any()


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_a_plain_picture_stays_nearly_plain(difficulty):
    grey = np.full((32, 128, 3), 128, np.uint8)
    much = DIFFICULTIES[difficulty]
    for seed in range(20):
        lr = degrade(grey, difficulty, np.random.default_rng(seed)).astype(float)
        assert abs(lr.mean() - 128) <= much.brightness + 3
        assert lr.std() < 2 * much.noise[1] + 2 * much.shade * 128


@pytest.mark.slow
def test_difficulties_grow():
    def psnr(difficulty):
        values = []
        for seed in range(80):
            rng = np.random.default_rng(seed)
            hr = rendering.render("Difficulty", rng)
            lr = Image.fromarray(degrade(hr, difficulty, rng))
            sr = np.asarray(lr.resize((128, 32), Image.Resampling.BICUBIC), float)
            values.append(10 * np.log10(255**2 / np.mean((sr - hr) ** 2)))
        return np.mean(values)

    easy, medium, hard = (psnr(difficulty) for difficulty in degradation.DIFFICULTIES)
    assert easy > medium + 1 > hard + 2


def test_other_sizes():
    lr = degrade(np.zeros((64, 48, 3), np.uint8), "easy", np.random.default_rng(0))
    assert lr.shape == (32, 24, 3)


def test_unknown_difficulty():
    with pytest.raises(ValueError, match="'fiendish'"):
        degrade(np.zeros((32, 128, 3), np.uint8), "fiendish", np.random.default_rng(0))
