"""A recogniser of other people that can be trained through: PP-OCR's, from its ONNX file.

It reads by CTC. SR models may be trained to be read by it (`config.init.external`).
"""

import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax import text
from textsr_jax.errors import UserError
from textsr_jax.models.network import Variables
from textsr_jax.models.onnx_graphs import OnnxGraph

# PP-OCR reads images of 48 rows. RapidOCR hands narrower ones over with grey to 320 columns, which
# costs time and changes little: 16 columns stand for them here.
_HEIGHT, _MARGIN = 48, 16
# How likely "any other character" is at least, and the log probability of a character that a
# recogniser lacks: finite, as CTC multiplies them with 0.
_LEAST, _ABSENT = 1e-6, -50.0


class ExternalRecognizer:
    """Logits of an alphabet's characters, by a recogniser that knows many more.

    Its characters are brought down to those of the alphabet as scores bring down a text: a letter
    that the alphabet has in one case counts in both, and printable characters that it lacks count
    as blanks. All others are one class, which no label has.

    Attributes:
      variables: {"params": ...}, the file's arrays by their names.

    Args:
      path: an ONNX file of PP-OCRv4, v5 or v6 for (batch, 3, 48, width) images, blue first, in
        [-1, 1]. It ends with a softmax over the blank, its characters, and mostly the space.
      characters: a file with a character a line; None where the ONNX file holds them as
        "character".
      alphabet: of the labels.

    Raises:
      UserError: a file cannot be read, or is no such recogniser.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        characters: str | pathlib.Path | None,
        alphabet: text.Alphabet,
    ):
        self._graph = OnnxGraph(path, logits=True)
        if characters is not None:
            try:
                listed = pathlib.Path(characters).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"{characters}: cannot be read as characters ({error})") from None
        elif "character" in self._graph.metadata:
            listed = self._graph.metadata["character"]
        else:
            raise UserError(
                f"{path}: does not hold its characters; name the file with a character a line "
                "after a colon, MODEL.onnx:CHARACTERS.txt"
            )
        self._count = alphabet.num_ctc_classes
        self.variables: Variables = {"params": self._graph.weights}
        width = 4 * _HEIGHT + _MARGIN
        image = jax.ShapeDtypeStruct((1, 3, _HEIGHT, width), jnp.float32)
        try:
            found = jax.eval_shape(self._graph, self._graph.weights, image).shape
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            first, _, _ = str(error).partition("\n")
            raise UserError(
                f"{path}: cannot read images of {_HEIGHT} x {width} pixels "
                f"({first}); name a recogniser of PP-OCR"
            ) from None
        # Most write a space, which no file lists.
        classes = _classes([*listed.removesuffix("\n").split("\n"), " "], alphabet)
        if len(found) != 3 or len(classes) - found[-1] not in (0, 1):
            raise UserError(
                f"{path}: gives {found}, and {len(classes) - 2} characters are listed; name a "
                "recogniser of PP-OCR and its own characters"
            )
        self._classes = classes[: found[-1]]

    def __call__(self, variables: Mapping[str, Variables], images: jax.Array) -> jax.Array:
        """Logits float32 (batch, frames, alphabet.num_ctc_classes + 1); class 0 is the blank.

        Args:
          variables: those of this object.
          images: float (batch, 32, 128, 3), RGB in [0, 1].
        """
        wide = _HEIGHT * images.shape[2] // images.shape[1]
        size = (len(images), _HEIGHT, wide, 3)
        x = 2 * jax.image.resize(images, size, "linear", antialias=False)[..., ::-1] - 1
        x = jnp.pad(x.transpose(0, 3, 1, 2), ((0, 0), (0, 0), (0, 0), (0, _MARGIN)))
        likely = jax.nn.log_softmax(self._graph(variables["params"], x).astype(jnp.float32))
        columns = [np.flatnonzero(self._classes == number) for number in range(self._count)]
        absent = jnp.full(likely.shape[:-1], _ABSENT)
        merged = [
            jax.nn.logsumexp(likely[..., places], axis=-1) if len(places) else absent
            for places in columns
        ]
        known = jnp.stack(merged, axis=-1)
        others = jnp.log(jnp.maximum(1 - jnp.exp(known).sum(-1, keepdims=True), _LEAST))
        return jnp.concatenate([known, others], axis=-1)


def _classes(listed: list[str], alphabet: text.Alphabet) -> np.ndarray:
    """The alphabet's CTC class of each of the recogniser's, -1 for "any other": int (classes,)."""
    codes = [text.BLANK]
    for character in listed:
        kept = character if "A" in alphabet.characters else character.lower()
        if len(kept) == 1 and kept in alphabet.characters:
            codes.append(1 + alphabet.characters.index(kept))
        else:
            codes.append(text.BLANK if character.isascii() and character.isprintable() else -1)
    return np.array(codes)
