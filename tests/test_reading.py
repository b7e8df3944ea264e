"""The predictor: any image in, SR image and text out, the same alone and in a batch."""

import hashlib
import math

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import textsr_jax
from tests.conftest import WORDS, word_image
from textsr_jax import configuration, crops, packed_files, reading, text
from textsr_jax.errors import UserError
from textsr_jax.evaluation import workdirs
from textsr_jax.images import LR_SIZE
from textsr_jax.language import Words
from textsr_jax.quantization.rules import from_config


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


STEP = 7  # between the shades of two letters


class Blocks:
    """An engine that reads blocks of one shade as letters, darkest first, and what stands upright.

    Each letter costs 0.1 of the log probability. Turned blocks, which are stripes, cost 5. The
    logarithm of its confidence is `doubt` times that.
    """

    def __init__(self, doubt=1.0):
        self.enlarged, self.doubt, self.cut = 0, doubt, []

    def enlarge(self, lr):
        self.enlarged += len(lr)
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def recognize(self, images, cut):
        self.cut = [*cut]
        words = [self._word(image) for image in images]
        upright = [(np.abs(np.diff(image.astype(int), axis=0)) < STEP).all() for image in images]
        costs = [0.1 * len(w) + (0 if up else 5) for w, up in zip(words, upright, strict=True)]
        return Words(words, -np.array(costs), -self.doubt * np.array(costs))

    def _word(self, image):
        shades = image[16, :, 0].astype(int)
        word, run = "", 0
        for column in range(1, len(shades)):
            run = run + 1 if shades[column] == shades[column - 1] else 0
            # A letter is 32 pixels wide; cut ones may be narrower.
            if run == 10:
                word += text.ALPHABET[min(35, shades[column] // STEP)]
        return word


def blocks(word, width=32, slope=2):
    """`word` for the engine above, uint8 (32, width * len(word), 3)."""
    shades = [text.ALPHABET.index(letter) * STEP for letter in word]
    row = np.repeat(np.array(shades), width)
    # Darker above and brighter below the middle, whose shade is the letter's, halving it or turning
    # it upside down included: no side of it is blank.
    shading = slope * np.array([*range(-15, 1), *range(16)])[:, None]
    image = np.clip(row + STEP // 2 + shading, 0, 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=2)


def test_a_wide_image_is_read_in_windows_and_joined():
    engine = Blocks()
    reader = reading.Reader(engine)
    word = "restaurant0bar9cafe"
    ((found, picture), (short, _)) = reader.read_and_show([blocks(word), blocks("open")])
    # Windows cut words, and a short image is whole.
    assert len(engine.cut) > 5 and engine.cut == [True] * (len(engine.cut) - 1) + [False]
    assert found.text == word
    assert short.text == "open"
    assert picture.shape == (32, 32 * len(word), 3)
    # The probability that all windows are right: they have more letters than the word.
    assert found.confidence < math.exp(-0.1 * len(word))
    assert short.confidence == pytest.approx(math.exp(-0.4))


def test_tall_images_are_read_turned_where_that_is_surer():
    reader = reading.Reader(Blocks())
    upright = blocks("open")
    for turned in (np.rot90(upright), np.rot90(upright, 3)):
        ((found, picture),) = reader.read_and_show([turned])
        assert found.confidence == pytest.approx(math.exp(-0.4))
        # Both ways round it stands upright, and the engine cannot tell which.
        assert found.text in ("open", "nepo")
        assert picture.shape == (32, 128, 3)
    # One letter, tall and upright, has the same shade in all its rows: it stays as it is.
    ((found, _),) = reader.read_and_show([blocks("a", 16, slope=0)])
    assert found.text == "a"
    # A wide image is never turned.
    stripes = np.rot90(blocks("open", 8, slope=0)).copy()
    assert stripes.shape == (32, 32, 3)
    assert reader.read([stripes])[0].confidence < math.exp(-5)


def test_a_tall_and_long_image_is_turned_and_read_in_windows():
    word = "restaurant0bar9cafe"
    ((found, picture),) = reading.Reader(Blocks()).read_and_show([np.rot90(blocks(word), 3)])
    assert found.text in (word, word[::-1])
    assert picture.shape == (32, 32 * len(word), 3)


def test_only_what_is_not_sharp_is_enlarged():
    engine = Blocks()
    reader = reading.Reader(engine)
    sharp = np.asarray(word_image("wwwwwwwww"))
    np.testing.assert_array_equal(crops.trimmed(sharp), sharp)
    soft = Image.fromarray(sharp).resize(LR_SIZE, Image.Resampling.BICUBIC)
    pictures = [picture for _, picture in reader.read_and_show([sharp, soft, sharp])]
    assert engine.enlarged == 1
    assert np.array_equal(pictures[0], sharp) and np.array_equal(pictures[2], sharp)
    assert np.array_equal(pictures[1], np.asarray(soft).repeat(2, axis=0).repeat(2, axis=1))
    # Enhancing is asked for, whatever the image.
    reader.enhance([sharp])
    assert engine.enlarged == 2


def test_the_temperature_scales_the_log_probability():
    for temperature in (0.5, 1.0, 2.0):
        (found,) = reading.Reader(Blocks(), temperature).read([blocks("open")])
        assert found == reading.Reading("open", pytest.approx(math.exp(-0.4 / temperature)))
        enhanced = blocks("open")[None]
        assert reading.Reader(Blocks(), temperature).read_enhanced(enhanced) == [found]


def test_confidence_is_the_engine_s_and_turns_are_judged_by_probability():
    surest = reading.Reader(Blocks(doubt=0.0)).read([np.rot90(blocks("open")), blocks("open")])
    assert [found.confidence for found in surest] == [1, 1]
    assert surest[0].text in ("open", "nepo")


def test_the_shipped_file_is_sound():
    pair = packed_files.load(reading.SHIPPED)
    assert pair.fine_tuned
    assert reading.SHIPPED.stat().st_size <= 12 * 2**20
    # It says where it comes from, and that is not a test set.
    assert pair.provenance["data"] and pair.provenance["commit"]
    assert configuration.load(reading.SHIPPED).decoding.temperature > 0


def test_the_shipped_file_says_what_was_quantised_and_how():
    """And its arrays are those that were trained, whatever is written about them."""
    pair = packed_files.load(reading.SHIPPED)
    assert repr(pair) == "PackedPair(edsr + cdistnet, 65 kernels: 65 minmax at 8 bits)"
    for part in packed_files.PARTS:
        asked = pair.config["quantization"][part]
        assert asked["prior"] == "auto"
        assert from_config(asked, pair.config[part]["name"], part) == pair.rules[part]
    arrays, digest = load_file(reading.SHIPPED), hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    assert digest.hexdigest() == (
        "b3a016507b35810436feb616c8395b14c8573a09779743858e76fbbfa0816ada"
    )


@pytest.mark.slow
def test_the_shipped_pair_reads_and_is_the_default():
    images = [word_image(word) for word in WORDS]
    images += [image.resize(LR_SIZE) for image in images]
    found = textsr_jax.load().read(images)
    right = [one.text == word.lower() for one, word in zip(found, WORDS * 2, strict=True)]
    assert sum(right) >= 22
    assert sum(one.text in ("open", "exit", "park") for one in found) >= 4
    assert found == textsr_jax.load(reading.SHIPPED).read(images)


@pytest.mark.slow
def test_a_packed_file_applies_its_temperature(tmp_path):
    pair = packed_files.load(reading.SHIPPED)
    image = word_image("open")
    (plain,) = textsr_jax.load().read([image])
    own = pair.experiment(reading.SHIPPED).decoding.temperature
    pair.config["decoding"]["temperature"] = 3 * own
    packed_files.save(tmp_path / "file", pair)
    (scaled,) = textsr_jax.load(tmp_path / "file").read([image])
    assert scaled.text == plain.text
    assert scaled.confidence == pytest.approx(plain.confidence ** (1 / 3), rel=1e-4)
