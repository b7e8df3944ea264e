"""The predictor: any image in, SR image and text out, the same alone and in a batch."""

import concurrent.futures
import hashlib
import io
import math
import multiprocessing
import pickle
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import textsr_jax
from tests.conftest import WORDS, micro_config, word_image
from textsr_jax import reading, text
from textsr_jax.config.checks import checked
from textsr_jax.config.portable import portable
from textsr_jax.decoding.word_search import Words
from textsr_jax.errors import UserError
from textsr_jax.evaluation import protocol
from textsr_jax.images import LR_SIZE
from textsr_jax.quantization.rules import from_config
from textsr_jax.reading import crops
from textsr_jax.storage import packed_files, workdirs
from textsr_jax.storage.models import Models
from textsr_jax.storage.shipped import PRINTABLE, SHIPPED, find


@pytest.fixture(scope="module")
def reader(trained):
    return textsr_jax.load(trained)


def test_it_enhances_and_reads_as_the_evaluation_does(reader, trained):
    models = Models.load(trained)
    evaluation = protocol.Evaluation.open(models.config)
    expected = evaluation.enhance(models.sr, models.sr_variables)["easy"]
    lr = list(evaluation.lr["easy"])
    enhanced = reader.enhance(lr)
    assert enhanced.dtype == np.uint8
    assert np.abs(enhanced.astype(int) - expected).max() <= 1
    words = evaluation.read(models.ocr, models.fine_tuned, {"easy": enhanced})["easy"]
    assert [read.text for read in reader.read_enhanced(enhanced)] == words


def test_one_image_reads_as_it_does_among_many(reader, tmp_path):
    images = [word_image(word) for word in WORDS]
    many = reader.read(images)
    images[2].save(tmp_path / "word.png")
    (alone,) = reader.read([tmp_path / "word.png"])
    assert alone.text == many[2].text
    assert alone.confidence == pytest.approx(many[2].confidence, rel=1e-3)
    assert 0 < alone.confidence <= 1
    assert reader.enhance(images).shape == (len(WORDS), 32, 128, 3)


def test_any_size_mode_and_type_will_do(reader):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8))
    grey = np.asarray(image.convert("L"))
    same = reader.enhance([image, np.asarray(image), np.asarray(image) / 255])
    assert (same[0] == same[1]).all() and (same[0] == same[2]).all()
    grey = reader.enhance([grey, image.convert("L"), np.stack([grey] * 3, axis=-1)])
    assert (grey[0] == grey[1]).all() and (grey[0] == grey[2]).all()
    assert reader.enhance([]).shape == (0, 32, 128, 3)
    assert reader.read([]) == []


def test_what_is_not_an_image_is_refused(reader, tmp_path):
    with pytest.raises(ValueError, match="is no image; give"):
        reader.read([np.zeros((4, 4, 7), np.uint8)])
    with pytest.raises(UserError, match="no such file"):
        reader.read([tmp_path / "none.png"])


def test_a_workdir_that_is_not_trained_yet_says_so(trained, tmp_path):
    (tmp_path / "config.json").write_bytes((trained / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"has no SR model \(stage1\) yet"):
        textsr_jax.load(tmp_path)


STEP = 7  # between the shades of two letters


class Blocks:
    """An engine that reads blocks of one shade as letters, darkest first, and what stands upright.

    Each letter costs 0.1 of the log probability. Turned blocks, which are stripes, cost 5. The
    logarithm of its confidence is `doubt` times that. A letter is as sure as it is early in the
    alphabet.
    """

    alphabet = text.ALPHANUMERIC

    def __init__(self, doubt=1.0):
        self.enlarged, self.doubt, self.cut = 0, doubt, []

    def enlarge(self, lr):
        self.enlarged += len(lr)
        return lr.repeat(2, axis=1).repeat(2, axis=2)

    def recognize(self, images, cut, again):
        if again:
            self.cut = [*cut]
        words = [self._word(image) for image in images]
        upright = [(self._slopes(image) < STEP).all() for image in images]
        costs = [
            0.1 * len(w) + (0 if up and w else 5) for w, up in zip(words, upright, strict=True)
        ]
        place = text.ALPHANUMERIC.characters.index
        letters = [-0.001 * np.array([*map(place, word)], float) for word in words]
        return Words(words, -np.array(costs), -self.doubt * np.array(costs), letters)

    def _slopes(self, image):
        """How much brighter each row is than the one above, or darker: then it is upside down."""
        slopes = np.diff(image.astype(int), axis=0)
        return np.abs(slopes) if slopes.sum() >= 0 else np.full(1, STEP)

    def _word(self, image):
        shades = image[16, :, 0].astype(int)
        word, run = "", 0
        for column in range(1, len(shades)):
            run = run + 1 if shades[column] == shades[column - 1] else 0
            # A letter is 32 pixels wide; cut ones may be narrower.
            if run == 10:
                word += text.ALPHANUMERIC.characters[min(35, shades[column] // STEP)]
        return word


def blocks(word, width=32, slope=2):
    """`word` for the engine above, uint8 (32, width * len(word), 3)."""
    shades = [text.ALPHANUMERIC.characters.index(letter) * STEP for letter in word]
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
        assert found.text == "open"
        # The other turns are hardly likelier than that they are right.
        assert math.exp(-0.5) < found.confidence <= math.exp(-0.4)
        assert picture.shape == (32, 128, 3)
    # Two narrow letters, tall and upright, stay as they are.
    ((found, _),) = reader.read_and_show([blocks("az", 10)])
    assert found.text == "az"
    # A wide image is never turned by a quarter.
    stripes = np.rot90(blocks("open", 8, slope=0)).copy()
    assert stripes.shape == (32, 32, 3)
    assert reader.read([stripes])[0].confidence < math.exp(-5)


def test_a_tall_and_long_image_is_turned_and_read_in_windows():
    word = "restaurant0bar9cafe"
    ((found, picture),) = reading.Reader(Blocks()).read_and_show([np.rot90(blocks(word), 3)])
    assert found.text == word
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


def test_turns_are_judged_by_confidence_and_letters_not_by_probability():
    class Stroke(Blocks):
        """Takes what lies on its side for a stroke: unsure, but likelier a letter than the word."""

        def recognize(self, images, cut, again):
            words = super().recognize(images, cut, again)
            lying = words.log_probability < -4
            texts = ["i" if one else text for one, text in zip(lying, words.texts, strict=True)]
            sure = np.where(lying, -0.07, words.log_confidence)
            letters = [np.zeros(len(word)) for word in texts]
            return Words(texts, np.where(lying, -0.01, words.log_probability), sure, letters)

    for quarters in (1, 3):
        turned = np.rot90(blocks("vehicles"), quarters)
        (found,) = reading.Reader(Stroke(doubt=0.01)).read([turned])
        assert found.text == "vehicles" and found.confidence > 0.9


def test_an_unsure_word_is_read_upside_down():
    reader = reading.Reader(Blocks())
    word = "restaurant0bar9cafe"
    for upright in (blocks("open"), blocks(word)):
        readings = reader.read_and_show([upright, np.rot90(upright, 2)])
        assert readings[0][0].text == readings[1][0].text
        # The picture is what was read.
        assert np.abs(readings[0][1].astype(int) - readings[1][1]).max() <= STEP


def test_the_shipped_file_is_sound():
    packed = packed_files.load(SHIPPED)
    assert packed.fine_tuned
    assert SHIPPED.stat().st_size <= 12 * 2**20
    # It says where it comes from, and that is not a test set.
    assert packed.provenance["data"] and packed.provenance["commit"]
    assert workdirs.load_config(SHIPPED).decoding.temperature > 0


def test_the_shipped_file_says_what_was_quantised_and_how():
    """And its arrays are those that were trained, whatever is written about them."""
    packed = packed_files.load(SHIPPED)
    assert repr(packed) == "PackedModels(edsr + cdistnet, 65 kernels: 65 minmax at 8 bits)"
    for part in packed_files.PARTS:
        asked = packed.config["quantization"][part]
        assert asked["prior"] == "auto"
        assert from_config(asked, packed.config[part]["name"], part) == packed.rules[part]
    arrays, digest = load_file(SHIPPED), hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    assert digest.hexdigest() == (
        "41bb4d0a864528d9f9974efab3128eb5acea470874e6bf677db11b0b870ee537"
    )


@pytest.mark.slow
def test_the_shipped_pair_reads_and_is_the_default():
    images = [word_image(word) for word in WORDS]
    images += [image.resize(LR_SIZE) for image in images]
    found = textsr_jax.load().read(images)
    right = [one.text == word.lower() for one, word in zip(found, WORDS * 2, strict=True)]
    assert sum(right) >= 22
    assert sum(one.text in ("open", "exit", "park") for one in found) >= 4
    assert found == textsr_jax.load(SHIPPED).read(images)


@pytest.mark.slow
def test_the_printable_pair_writes_case_and_punctuation():
    texts = ["Exit 24", "Bus", "Taxi", "9-17"]
    found = textsr_jax.load("printable").read([word_image(text) for text in texts])
    assert [one.text for one in found] == texts
    assert PRINTABLE.stat().st_size <= 12 * 2**20


def test_the_printable_pair_is_found_by_its_name(tmp_path, monkeypatch):
    assert find("printable") == str(PRINTABLE)
    assert find("model.safetensors") == "model.safetensors"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "printable").mkdir()
    assert find("printable") == "printable"
    config = workdirs.load_config(PRINTABLE)
    assert config.alphabet == "printable" and config.decoding.temperature > 0


@pytest.mark.slow
def test_a_packed_file_applies_its_temperature(tmp_path):
    packed = packed_files.load(SHIPPED)
    image = word_image("open")
    (plain,) = textsr_jax.load().read([image])
    own = packed.experiment(SHIPPED).decoding.temperature
    packed.config["decoding"]["temperature"] = 3 * own
    packed_files.save(tmp_path / "file", packed)
    (scaled,) = textsr_jax.load(tmp_path / "file").read([image])
    assert scaled.text == plain.text
    assert scaled.confidence == pytest.approx(plain.confidence ** (1 / 3), rel=1e-4)


COLOUR = np.asarray(word_image("open"))
# One engine that reads nothing, for what is about images alone.
READER = reading.Reader(Blocks())


def ways(tmp_path):
    """One image in every form that can be given."""
    image = Image.fromarray(COLOUR)
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    return {
        "text": str(tmp_path / "a.png"),
        "path": tmp_path / "a.png",
        "bytes": content,
        "bytearray": bytearray(content),
        "file": io.BytesIO(content),
        "pillow": image,
        "opened": Image.open(tmp_path / "a.png"),
        "array": COLOUR,
        "float": COLOUR / 255,
        "jax": jnp.asarray(COLOUR),
    }


def test_one_image_gives_one_result_and_several_a_list(tmp_path):
    wanted, sr = READER.read([COLOUR])[0], READER.enhance([COLOUR])[0]
    assert isinstance(wanted, reading.Reading) and sr.shape == (32, 128, 3)
    for name, image in ways(tmp_path).items():
        assert READER.read(image) == wanted, name
        np.testing.assert_array_equal(READER.enhance(image), sr)
    several = list(ways(tmp_path).values())
    for form in (list, tuple, iter, lambda images: (image for image in images)):
        assert READER.read(form(several)) == [wanted] * len(several)
        assert READER.enhance(form(several)).shape == (len(several), 32, 128, 3)
    for batch in (COLOUR[None].repeat(3, axis=0), jnp.asarray(COLOUR)[None].repeat(3, axis=0)):
        assert READER.read(batch) == [wanted] * 3
        assert READER.enhance(batch).shape == (3, 32, 128, 3)
    # Grey images, and an empty list.
    assert READER.enhance(COLOUR[None, ..., :1]).shape == (1, 32, 128, 3)
    assert READER.enhance(COLOUR[:0][None][:0]).shape == (0, 32, 128, 3)
    assert READER.read(iter(())) == []


def test_what_is_neither_an_image_nor_a_list_says_what_to_give(tmp_path):
    for images, message in (
        (None, "a NoneType is neither an image nor a list of images; give a file's name"),
        (7, "an? int is neither"),
        ({"a.png": COLOUR}, "a dict is neither"),
        ([[1, 2], [3, 4]], "a list is no image"),
        (np.array(["a.png", "b.png"]), "is no image"),
        (COLOUR[None, None], "is no image"),
        (COLOUR.transpose(2, 0, 1), "has its channels first"),
        (COLOUR.transpose(2, 0, 1)[None], "has its channels first"),
        (COLOUR.astype(float), "divide levels of 0 to 255 by 255"),
        ([COLOUR, np.full((4, 4), np.nan)], "with NaN"),
    ):
        for method in (READER.read, READER.enhance):
            with pytest.raises(ValueError, match=message):
                method(images)
    with pytest.raises(UserError, match="is a folder; name the images in it"):
        READER.read(str(tmp_path))


def test_many_images_are_decoded_as_they_are_read():
    given = 0

    class Stopping(reading.Reader):
        def read_and_show(self, images):
            if given > 30:
                raise KeyboardInterrupt
            return [(reading.Reading("a", 1.0), image) for image in images]

    def endless():
        nonlocal given
        while True:
            given += 1
            yield np.full((1024, 1024, 3), given % 200, np.uint8)

    with pytest.raises(KeyboardInterrupt):
        Stopping(Blocks()).read(endless())
    assert given < 64


def small_pair(tmp_path):
    """A packed file that takes no training: the micro networks, as they are drawn."""
    from textsr_jax.models import build_ocr, build_sr
    from textsr_jax.quantization import Rule, quantize

    config = micro_config("", "")
    rules = {part: (Rule(".*kernel", bits=bits),) for part, bits in (("sr", 4), ("ocr", 8))}
    trees = {
        part: quantize(build(config[part]).init(jax.random.key(0)), rules[part])
        for part, build in (("sr", build_sr), ("ocr", build_ocr))
    }
    packed = packed_files.PackedModels(
        portable(checked(config)), rules, True, {"data": "drawn"}, **trees
    )
    packed_files.save(tmp_path / "packed.safetensors", packed)
    return tmp_path / "packed.safetensors"


def test_integers_need_packed_weights():
    config = checked(micro_config("", "")).replace(quantization={"compute": "integer"})
    with pytest.raises(UserError, match=r"the weights of config\.init are not packed"):
        textsr_jax.load(config=config)


def in_another_process(pickled: bytes, images) -> list[reading.Reading]:
    """What a reader reads in a process that was started afresh."""
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(read_pickled, pickled, images).result(timeout=300)


def read_pickled(pickled: bytes, images) -> list[reading.Reading]:
    return pickle.loads(pickled).read(images)


@pytest.mark.slow
def test_a_reader_of_a_packed_file_is_pickled_as_its_place(tmp_path, monkeypatch):
    path = small_pair(tmp_path)
    monkeypatch.chdir(tmp_path)
    reader = textsr_jax.load(path.name)
    assert repr(reader) == (
        f"<Reader of {path}: sr=edsr (4 bits), recognizer=cdistnet (8 bits), "
        f"beam={reader.description.beam}, temperature=1, JAX>"
    )
    words = [word_image(word) for word in WORDS[:3]]
    wanted, pickled = reader.read(words), pickle.dumps(reader)
    assert len(pickled) < 10_000
    assert in_another_process(pickled, words) == wanted
    # Twice, as workers hand it on.
    assert pickle.loads(pickle.dumps(pickle.loads(pickled))).read(words) == wanted
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="has changed since a pickled reader was loaded from it"):
        pickle.loads(pickled)
    path.unlink()
    with pytest.raises(UserError, match=r"packed.safetensors: a pickled reader was .* not here"):
        pickle.loads(pickled)


@pytest.mark.slow
def test_a_config_beside_the_file_is_pickled_too(tmp_path):
    path = small_pair(tmp_path)
    config = workdirs.load_config(path).replace(decoding={"beam": 2, "temperature": 3.0})
    reader = pickle.loads(pickle.dumps(textsr_jax.load(path, config=config)))
    assert reader.description.beam == 2
    assert "beam=2, temperature=3" in repr(reader)
    assert reader._engine._search.beam == 2


def test_a_reader_of_a_workdir_takes_its_weights_along(trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "w")
    reader = textsr_jax.load(workdir)
    assert f"<Reader of {workdir}: sr=edsr (float32), recognizer=cdistnet (float32)" in repr(reader)
    words = [word_image(word) for word in WORDS[:3]]
    wanted, pickled = reader.read(words), pickle.dumps(reader)
    # Training may go on there, and the workdir may be on another machine.
    shutil.rmtree(workdir)
    assert in_another_process(pickled, words) == wanted


def test_a_reader_of_an_engine_of_one_s_own():
    assert repr(READER) == "<Reader with Blocks>"
    assert pickle.loads(pickle.dumps(READER)).read(COLOUR) == READER.read(COLOUR)
