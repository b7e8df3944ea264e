"""Reading in ONNX Runtime: the same images, words and confidences as JAX's reader."""

import json
import math
import pickle
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import WORDS, word_image
from tests.export.conftest import STEPS, drawn
from textsr_jax import reading, text
from textsr_jax.config.portable import portable
from textsr_jax.decoding.word_search import WordSearch
from textsr_jax.errors import UserError
from textsr_jax.export import GRAPHS, RECORD, engine, exporting
from textsr_jax.images import resize
from textsr_jax.models import build_ocr
from textsr_jax.reading.engine import JaxEngine
from textsr_jax.storage import packed_files


@pytest.fixture(scope="module")
def images():
    return [np.asarray(word_image(word)) for word in WORDS * 3]


@pytest.fixture(scope="module")
def folder(source, traced, int8, lr, tmp_path_factory):
    """An exported folder, as `exporting.export` writes it."""
    return write(tmp_path_factory.mktemp("onnx"), source, traced, int8)


def write(folder, source, traced, int8):
    models = {"float32": traced, "int8": int8}
    settings = exporting.ExportSettings()
    exporting.write(folder, *exporting.describe(source, models, settings, 12))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("beam", "second_look"), [(1, 0.0), (3, 0.0), (3, 1.0)])
def test_float32_reads_as_jax_does(source, folder, images, tmp_path, beam, second_look):
    config = source.config.replace(decoding={"beam": beam, "second_look": second_look})
    record = json.loads((folder / RECORD).read_text())
    record["decoding"]["second_look"] = second_look
    folder = shutil.copytree(folder, tmp_path / "copy")
    (folder / RECORD).write_text(json.dumps(record))
    networks, variables = zip(source.sr, source.ocr, strict=True)
    wanted = reading.Reader(JaxEngine(WordSearch.of(config.decoding), lambda: networks, *variables))
    found = engine.load(folder, "float32", threads=1, beam=beam)
    enhanced = wanted.enhance(images)
    difference = np.abs(found.enhance(images).astype(int) - enhanced)
    # Halves may be rounded either way.
    assert difference.max() <= 1
    assert difference.mean() < 1e-4
    there, here = wanted.read_enhanced(enhanced), found.read_enhanced(enhanced)
    assert [one.text for one in here] == [one.text for one in there]
    np.testing.assert_allclose(
        [one.confidence for one in here], [one.confidence for one in there], rtol=1e-4
    )
    # Something was read, and not alike everywhere.
    assert all(one.text for one in here)
    assert len({one.confidence for one in here}) >= len(WORDS)


@pytest.mark.slow
def test_the_search_is_jax_s(source, sessions):
    """Tokens, lengths and log probabilities, pads and early ends included."""
    from textsr_jax import decoding

    network, variables = source.ocr
    memory = np.random.default_rng(0).normal(size=(9, 64, 16)).astype(np.float32) * 2

    def search(memory, searching):
        module, beam, margin = network.module(variables), searching.beam, searching.margin
        cache = module.init_cache(memory, STEPS, beam)
        if beam == 1:
            return decoding.greedy(module.decode_step, cache, len(memory), STEPS)
        if margin is not None:
            return decoding.every_beam(module.decode_step, cache, len(memory), STEPS, beam, margin)
        return decoding.beam_search(module.decode_step, cache, len(memory), STEPS, beam)

    decoder = engine.GraphDecoder(sessions["decoder_start"], sessions["decoder_step"])
    for beam, weight in ((1, 0.0), (5, 0.0), (5, 0.05)):
        searching = WordSearch(beam, STEPS, weight)
        wanted = jax.jit(search, static_argnums=1)(memory, searching)
        found = decoder.search(memory, searching)
        np.testing.assert_array_equal(found.tokens, wanted.tokens)
        np.testing.assert_array_equal(found.lengths, wanted.lengths)
        np.testing.assert_allclose(found.log_probability, wanted.log_probability, atol=1e-4)


@pytest.mark.slow
def test_what_is_written_is_the_same_in_jax_from_a_packed_file_and_in_onnx(
    source, images, tmp_path
):
    """Case, marks and spaces: the alphabet travels with the models."""
    config = source.config.replace(alphabet="printable", decoding={"language_weight": 0.01})
    ocr = build_ocr(config.ocr, text.PRINTABLE)
    trees = {
        part: jax.tree.map(jnp.asarray, variables)
        for part, variables in (("sr", source.sr[1]), ("ocr", drawn(ocr, 3)))
    }
    packed = packed_files.PackedModels(
        config=portable(config),
        rules={"sr": (), "ocr": ()},
        fine_tuned=True,
        provenance={"commit": None},
        **trees,
    )
    packed_files.save(tmp_path / "file", packed)
    models = exporting.load_exportable(tmp_path / "file")
    graphs = exporting.trace(models)
    folder = write(tmp_path / "onnx", models, graphs, graphs)
    assert json.loads((folder / RECORD).read_text())["alphabet"] == text.PRINTABLE.characters

    search = WordSearch.of(config.decoding, text.PRINTABLE)
    networks = source.sr[0], ocr
    wanted = reading.Reader(JaxEngine(search, lambda: networks, trees["sr"], trees["ocr"]))
    seen = np.stack([resize(image, (128, 32)) for image in images[:6]])
    texts = [one.text for one in wanted.read_enhanced(seen)]
    for reader in (reading.load(tmp_path / "file"), engine.load(folder, "float32")):
        assert [one.text for one in reader.read_enhanced(seen)] == texts
    assert set("".join(texts)) - set(text.ALPHANUMERIC.characters)


def test_int8_images_are_near(folder, images):
    coarse, exact = (engine.load(folder, p).enhance(images) for p in ("int8", "float32"))
    difference = np.abs(coarse.astype(int) - exact.astype(int))
    assert 0 < difference.mean() < 2


def test_the_models_own_beam_and_no_images(source, folder, images):
    own, same = engine.load(folder), engine.load(folder, beam=source.config.decoding.beam)
    assert own.read(images[:2]) == same.read(images[:2])
    assert own.enhance([]).shape == (0, 32, 128, 3)
    assert own.read([]) == []


def test_the_models_temperature(folder, images, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((folder / RECORD).read_text())
    assert record["decoding"]["temperature"] == 1.0
    record["decoding"]["temperature"] = 2.0
    (tmp_path / "copy" / RECORD).write_text(json.dumps(record))
    plain, scaled = (engine.load(f).read(images[:3]) for f in (folder, tmp_path / "copy"))
    assert [one.text for one in scaled] == [one.text for one in plain]
    np.testing.assert_allclose(
        [one.confidence for one in scaled], [one.confidence**0.5 for one in plain]
    )
    for name, value in (("temperature", 0), ("beam", 10**9), ("beam", True), ("steps", "8")):
        odd = record | {"decoding": record["decoding"] | {name: value}}
        (tmp_path / "copy" / RECORD).write_text(json.dumps(odd))
        with pytest.raises(UserError, match=f"its config.decoding.{name}={value!r}: must be"):
            engine.load(tmp_path / "copy")


def test_errors_on_held_out_words_travel_along(folder, images, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((folder / RECORD).read_text())
    assert record["held_out"] == {"words": 0, "wrong_letters": [], "wrong_words": []}
    (plain,) = engine.load(folder).read(images[:1])
    sure = math.log(plain.confidence)
    record["held_out"] = {"words": 9, "wrong_words": [[min(0, sure + 0.01), 1.0]]}
    (tmp_path / "copy" / RECORD).write_text(json.dumps(record))
    (careful,) = engine.load(tmp_path / "copy", abstain=0.1).read(images[:1])
    assert (careful.text, careful.abstained) == ("", True) and plain.text
    with pytest.raises(UserError, match=r"read with another config\.decoding"):
        engine.load(tmp_path / "copy", beam=1, abstain=0.1)
    # Folders of before have none.
    del record["held_out"]
    (tmp_path / "copy" / RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match="copy does not say which held-out words it misread"):
        engine.load(tmp_path / "copy", abstain=0.1)


class NotFinite:
    """A session whose outputs are NaN."""

    def get_inputs(self):
        return []

    get_outputs = get_inputs

    def run(self, names, feed):
        return [np.full((len(*feed.values()), 32, 128, 3), np.nan, np.float32)]


def test_graphs_that_give_no_finite_output_are_named():
    made = engine.OnnxEngine(dict.fromkeys(GRAPHS, NotFinite()), WordSearch(1, 8), "folder")
    for work in (
        lambda: made.enlarge(np.zeros((2, 16, 64, 3), np.uint8)),
        lambda: made.recognize(np.zeros((2, 32, 128, 3), np.uint8), [False, False], False),
    ):
        with pytest.raises(UserError, match=r"^folder: its output is not finite"):
            work()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / RECORD).unlink(), "holds no model.json; write it with"),
        (lambda f: (f / RECORD).write_text("{"), "a damaged export"),
        (lambda f: (f / "encoder_int8.onnx").unlink(), "encoder_int8.onnx: No such file"),
        (lambda f: (f / "sr_int8.onnx").write_bytes(b"x"), "sr_int8.onnx is not what was written"),
        (
            lambda f: (f / RECORD).write_text(
                json.dumps(json.loads((f / RECORD).read_text()) | {"alphabet": "abc"})
            ),
            "written by another version",
        ),
        (lambda f: shutil.rmtree(f), "no such folder"),
    ],
)
def test_what_is_wrong_with_a_folder(folder, tmp_path, harm, message):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    harm(copy)
    with pytest.raises(UserError, match=message):
        engine.load(copy)


def test_an_unknown_precision(folder):
    with pytest.raises(UserError, match="'int4': no such graphs; take one of float32, int8"):
        engine.load(folder, "int4")


def test_a_reader_says_what_it_is_and_is_pickled_as_its_folder(folder, images, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    reader = engine.load(copy, "float32")
    assert repr(reader) == (
        f"<Reader of {copy}: sr=edsr (float32), recognizer=cdistnet (float32), beam=3, "
        "temperature=1, ONNX Runtime>"
    )
    assert "sr=edsr (7 bits)" in repr(engine.load(copy))
    pickled = pickle.dumps(reader)
    assert len(pickled) < 10_000
    again = pickle.loads(pickled)
    assert again.read(images[:3]) == reader.read(images[:3])
    assert repr(again) == repr(reader)
    # One image, as the reader in JAX takes it.
    assert again.read(images[0]) == reader.read([images[0]])[0]
    assert again.enhance(images[0] / 255).shape == (32, 128, 3)
    (copy / RECORD).write_text((copy / RECORD).read_text() + "\n")
    with pytest.raises(UserError, match="has changed since a pickled reader was loaded"):
        pickle.loads(pickled)
    shutil.rmtree(copy)
    with pytest.raises(
        UserError, match=r"copy: a pickled reader was loaded from it, and it is not"
    ):
        pickle.loads(pickled)
