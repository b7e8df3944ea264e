"""Draws whole batches of words by array code: letters, paint, a camera, a low resolution.

What is drawn follows `textsr_jax.data.synthetic`, in other pixels.
"""

import functools
import hashlib
from operator import itemgetter

import flax
import jax
import jax.numpy as jnp

from textsr_jax import text
from textsr_jax.config.settings import Synthetic
from textsr_jax.data.batching import Batch
from textsr_jax.data.drawing import camera, degradation, painting
from textsr_jax.data.drawing.atlas import Atlas, make_atlas
from textsr_jax.data.drawing.camera import HEIGHT, WIDTH
from textsr_jax.data.drawing.chances import CameraSettings
from textsr_jax.data.drawing.lettering import letters_batch
from textsr_jax.data.drawing.resampling import settled
from textsr_jax.data.drawing.vocabulary import (
    MOST_MARKS,
    Vocabulary,
    character_table,
    characters,
    make_vocabulary,
    sample,
)
from textsr_jax.data.synthetic import degradation as prepared
from textsr_jax.data.synthetic import fonts, generation
from textsr_jax.data.synthetic import vocabulary as forms
from textsr_jax.errors import UserError
from textsr_jax.images import Array

# To be raised whenever the same key and fonts begin to give other words.
VERSION = 2

# All but words with spaces, for which `letters` has no room.
_KINDS = tuple(kind for kind in forms.KINDS if kind != "text")

_DIFFICULTIES = tuple(prepared.DIFFICULTIES)


class DrawSettings(flax.struct.PyTreeNode):
    """All that decides which words are drawn, but the key; a pytree.

    Attributes:
      atlas: the letters of all faces.
      vocabulary: what words say.
      classes: int32 (256,), of `vocabulary.character_table`.
      camera: what the camera and the low resolution do to them.
      batch_size: the number of words.
      plain: how many of them are clear prints and not photographs.
      max_length: the width of `Batch.characters`; no word has more letters and digits.
    """

    atlas: Atlas
    vocabulary: Vocabulary
    classes: Array
    camera: CameraSettings = flax.struct.field(pytree_node=False)
    batch_size: int = flax.struct.field(pytree_node=False)
    plain: int = flax.struct.field(pytree_node=False)
    max_length: int = flax.struct.field(pytree_node=False)


def draw_settings(
    words: Synthetic,
    *,
    batch_size: int,
    max_length: int,
    alphabet: text.Alphabet = text.ALPHANUMERIC,
    camera: CameraSettings | None = None,
) -> DrawSettings:
    """Makes what words are drawn from; it takes some seconds once a process.

    Args:
      words: which words: their kind, their lengths and the part of plain ones.
      batch_size: how many words `draw` draws.
      max_length: the width of the labels, which hold all that the alphabet has of a word.
      alphabet: the characters of the labels.
      camera: what the camera does; None for its defaults.

    Raises:
      UserError: the fonts or the word list are not installed, no word has such a length, or words
        with spaces are asked for.
    """
    if words.words not in _KINDS:
        raise UserError(
            f"config.data.synthetic.words={words.words}: no spaces are drawn in a step; take one "
            f"of {', '.join(_KINDS)}"
        )
    marks = MOST_MARKS if "." in alphabet.characters else 0
    most = min(words.max_length, max_length - marks)
    if words.min_length > most:
        raise UserError(
            f"config.data.synthetic.min_length={words.min_length}: labels of at most "
            f"config.max_length={max_length} characters hold {most} letters and digits of words "
            "that are drawn in a step; lower it"
        )
    return DrawSettings(
        atlas=_atlas(),
        vocabulary=_vocabulary(words.words, words.min_length, most),
        camera=CameraSettings() if camera is None else camera,
        classes=character_table(alphabet.characters),
        batch_size=batch_size,
        plain=round(words.plain * batch_size),
        max_length=max_length,
    )


_atlas = functools.cache(make_atlas)
_vocabulary = functools.cache(make_vocabulary)


@functools.cache
def fingerprint() -> str:
    """A digest of the fonts and of the way words are drawn, in 16 hexadecimal digits."""
    return hashlib.sha256(f"{VERSION} {fonts.fingerprint()}".encode()).hexdigest()[:16]


def draw(key: jax.Array, settings: DrawSettings) -> Batch:
    """A batch of new words: a pure function of the key and the settings, for inside of `jax.jit`.

    The difficulties of the LR images take turns, as in `generation.difficulty`. The key and the
    batch's size decide every word, not the number of devices.

    Args:
      key: a random key; each one gives other words.
      settings: from `draw_settings`.

    Returns:
      A batch whose `index` counts from 0 and whose words are all valid.
    """
    count, plain = settings.batch_size, settings.plain
    of_letters, *keys = jax.random.split(key, 5)
    of_codes, of_paint, of_camera, of_loss = (jax.random.split(part, count) for part in keys)
    codes = jax.vmap(sample, (0, None))(of_codes, settings.vocabulary)
    drawn = letters_batch(of_letters, settings.atlas, codes, jnp.arange(count) < plain)
    prints, signs = (
        jax.tree.map(itemgetter(part), drawn) for part in (slice(plain), slice(plain, None))
    )
    hr = []
    if plain:
        scenes = jax.vmap(painting.plain)(of_paint[:plain], prints.ink)
        # Each pixel of the crop is the mean of the four that the scene has in its place.
        hr.append(scenes.reshape(plain, HEIGHT, 2, WIDTH, 2, 3).mean(axis=(2, 4)))
    if plain < count:
        scenes = painting.paint_batch(of_paint[plain:], signs)
        hr.append(camera.photograph_batch(of_camera[plain:], scenes, signs.aspect, settings.camera))
    images = settled(jnp.round(jnp.concatenate(hr)))
    difficulties = [generation.difficulty("train", index) for index in range(count)]
    numbers = jnp.array([*map(_DIFFICULTIES.index, difficulties)])
    lr = degradation.degrade_batch(of_loss, images, numbers, settings.camera)
    labels = jax.vmap(characters, (0, None, None))(codes, settings.max_length, settings.classes)
    return Batch(
        lr=_to_uint8(lr),
        hr=_to_uint8(images),
        characters=labels,
        index=jnp.arange(count, dtype=jnp.int32),
        valid=jnp.ones(count, bool),
    )


def _to_uint8(levels: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(levels), 0, 255).astype(jnp.uint8)
