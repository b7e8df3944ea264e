"""The predictor: any image in, SR image and text out, the same alone and in a batch."""

import numpy as np
import pytest
from PIL import Image

import textsr_jax
from tests.conftest import WORDS, word_image
from textsr_jax import reading
from textsr_jax.errors import UserError
from textsr_jax.evaluation import workdirs


@pytest.fixture(scope="module")
def pair(trained):
    return textsr_jax.load(trained)


def test_it_enhances_and_reads_as_the_evaluation_does(pair, trained):
    models = reading.load_models(trained)
    evaluation = workdirs.open_data(models.config)
    expected = evaluation.enhance(models.sr, models.sr_variables)["easy"]
    lr = list(evaluation.lr["easy"])
    enhanced = pair.enhance(lr)
    assert enhanced.dtype == np.uint8
    assert np.abs(enhanced.astype(int) - expected).max() <= 1
    words = evaluation.read(models.ocr, models.fine_tuned, {"easy": enhanced})["easy"]
    assert [read.text for read in pair.read_enhanced(enhanced)] == words


def test_one_image_reads_as_it_does_among_many(pair, tmp_path):
    images = [word_image(word) for word in WORDS]
    many = pair.read(images)
    images[2].save(tmp_path / "word.png")
    (alone,) = pair.read([tmp_path / "word.png"])
    assert alone.text == many[2].text
    assert alone.confidence == pytest.approx(many[2].confidence, rel=1e-3)
    assert 0 < alone.confidence <= 1
    assert pair.enhance(images).shape == (len(WORDS), 32, 128, 3)


def test_any_size_mode_and_type_will_do(pair):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8))
    grey = np.asarray(image.convert("L"))
    same = pair.enhance([image, np.asarray(image), np.asarray(image) / 255])
    assert (same[0] == same[1]).all() and (same[0] == same[2]).all()
    grey = pair.enhance([grey, image.convert("L"), np.stack([grey] * 3, axis=-1)])
    assert (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()
    assert pair.enhance([]).shape == (0, 32, 128, 3)
    assert pair.read([]) == []


def test_what_is_not_an_image_is_refused(pair, tmp_path):
    with pytest.raises(ValueError, match="expected an image"):
        pair.read([np.zeros((4, 4, 7), np.uint8)])
    with pytest.raises(UserError, match="no such file"):
        pair.read([tmp_path / "none.png"])


def test_a_workdir_that_is_not_trained_yet_says_so(trained, tmp_path):
    (tmp_path / "config.json").write_bytes((trained / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"has no SR model \(stage1\) yet"):
        textsr_jax.load(tmp_path)
