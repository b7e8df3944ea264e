"""Paints words: gives ground and letters their colours, relief, wear and light.

It is the array code of `synthetic.rendering`, for words that are drawn where they are trained.
"""

import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import colours, grounds, strata
from textsr_jax.data.drawing.grounds import between, lay
from textsr_jax.data.synthetic.view import HEIGHT, WIDTH

# Shares of stamped or carved letters, and of those that have a bevel.
CARVED, BEVELLED = 0.02, 0.07


class Masks(Protocol):
    """The letters' masks, float32 (..., 64, 256) in [0, 1]; zeros where a word has none.

    `halo` is an outline or a glow behind the ink, `shadow` lies behind both.
    """

    @property
    def ink(self) -> jax.Array: ...

    @property
    def halo(self) -> jax.Array: ...

    @property
    def shadow(self) -> jax.Array: ...


def paint(key: jax.Array, letters: Masks) -> jax.Array:
    """The lit scene of one word, float32 (64, 256, 3), RGB, 0 to 255.

    It computes every kind of ground for the one that it shows. `paint_batch` is faster.

    Args:
      key: where all randomness comes from: the same key gives the same scene.
      letters: the word's masks, (64, 256).
    """
    return paint_batch(key[None], jax.tree.map(lambda mask: mask[None], letters))[0]


def paint_batch(keys: jax.Array, letters: Masks) -> jax.Array:
    """The lit scenes of a batch of words, float32 (batch, 64, 256, 3), RGB, 0 to 255.

    Grounds, borders and relief come in exact shares of the batch, in random order.

    Args:
      keys: (batch,) keys of `jax.random`. The first also decides which word gets which kind.
      letters: the words' masks, (batch, 64, 256).
    """
    count = len(keys)
    own = jax.vmap(lambda key: jax.random.split(key, 5))(keys)
    ground, colour = jax.vmap(colours.pair)(own[:, 0])
    surfaces = grounds.draw_batch(own[:, 1], ground, colour)

    order = strata.shuffle(own[0, 4], count)
    carved = strata.members(order, 0, CARVED)
    words = jnp.concatenate([carved, strata.members(order, CARVED, CARVED + BEVELLED)])
    slopes = jax.vmap(relief)(strata.rows(own[:, 2], words), strata.rows(letters.ink, words))
    slopes = jnp.zeros((count, HEIGHT, WIDTH)).at[words].set(slopes, mode="drop")
    is_carved = jnp.zeros(count, bool).at[carved].set(True, mode="drop")

    scenes = jax.vmap(_compose)(own[:, 3], surfaces, slopes, is_carved, ground, colour, letters)
    return jnp.moveaxis(scenes, 1, -1)


def plain(key: jax.Array, ink: jax.Array) -> jax.Array:
    """A clear print: letters of one colour on a ground of another, float32 (64, 256, 3), 0 to 255.

    Args:
      key: chooses the colours.
      ink: float32 (64, 256), in [0, 1].
    """
    ground, letters = colours.pair(key)
    return ground + ink[..., None] * (letters - ground)


def relief(key: jax.Array, ink: jax.Array) -> jax.Array:
    """The light that the slopes at the letters' edges get from one side.

    Args:
      key: chooses the side and how wide the slopes are.
      ink: float32 (64, 256), in [0, 1].

    Returns:
      float32 (64, 256), -1 to 1: positive where it is lit, negative where it is in the shade.
    """
    wide, turn = jax.random.uniform(key, (2,))
    angle = 2 * math.pi * turn
    blurred = grounds.blur(ink, between(wide, 1, 3))
    across = jnp.pad(blurred[:, 2:] - blurred[:, :-2], ((0, 0), (1, 1)))
    down = jnp.pad(blurred[2:] - blurred[:-2], ((1, 1), (0, 0)))
    slopes = jnp.cos(angle) * across + jnp.sin(angle) * down
    return slopes / jnp.maximum(jnp.abs(slopes).max(), 1e-6)


def _compose(
    key: jax.Array,
    surface: jax.Array,
    slopes: jax.Array,
    carved: jax.Array,
    ground: jax.Array,
    colour: jax.Array,
    letters: Masks,
) -> jax.Array:
    """The scene, (3, 64, 256), of a surface and what lies on it.

    Args:
      key: of this word.
      surface: (3, 64, 256).
      slopes: (64, 256), of `relief`; zeros where the letters are flat.
      carved: bool, whether the letters have the ground's own colour or nearly so.
      ground, colour: (3,), of ground and letters.
      letters: the masks, (64, 256).
    """
    of_behind, of_ink, of_light = jax.random.split(key, 3)
    scene = _behind(of_behind, surface, ground, colour, letters)
    scene = _inked(of_ink, scene, slopes, carved, ground, colour, letters.ink)
    return _light(of_light, scene)


def _behind(
    key: jax.Array, scene: jax.Array, ground: jax.Array, colour: jax.Array, letters: Masks
) -> jax.Array:
    """Lays the shadow and the halo on the scene."""
    of_numbers, of_shadow, of_halo = jax.random.split(key, 3)
    kind, bright, strength = jax.random.uniform(of_numbers, (3,))
    dark = (colours.luma(ground) > 50) | (kind < 0.5)
    shade = jnp.where(dark, between(bright, 0, 0.5) * ground, colours.paints(of_shadow, 1)[0])
    scene = lay(scene, between(strength, 0.4, 1) * letters.shadow, shade)
    return lay(scene, letters.halo, colours.outline(of_halo, colour))


def _inked(
    key: jax.Array,
    scene: jax.Array,
    slopes: jax.Array,
    carved: jax.Array,
    ground: jax.Array,
    colour: jax.Array,
    ink: jax.Array,
) -> jax.Array:
    """Lays the letters on the scene: flat, metal, worn, bevelled or carved."""
    of_numbers, of_wear = jax.random.split(key)
    near, bright, metal, top, bottom, worn, loss = jax.random.uniform(of_numbers, (7,))
    # Metal and neon: lighter or darker from top to bottom.
    down = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None]
    top, bottom = between(top, 0.6, 1.25), between(bottom, 0.6, 1.25)
    flat = colour[:, None, None]
    ramp = jnp.clip(flat * (top + (bottom - top) * down), 0, 255)
    own = (ground + between(near, 0, 0.4) * (colour - ground))[:, None, None]
    paints = jnp.where(carved, own, jnp.where(metal < 0.2, ramp, flat))
    # Worn paint, or uneven print.
    lost = jnp.where((worn < 0.12) & ~carved, between(loss, 0.2, 1.2), 0)
    left = ink * jnp.clip(1 - lost * jnp.abs(grounds.clouds(of_wear, 8, 32)), 0, 1)
    # The edges of a bevel are lit on the letters alone, those of a carving around them too.
    light = jnp.where(carved, between(bright, 70, 130), between(bright, 40, 140) * left) * slopes
    return scene + left * (paints - scene) + light


def _light(key: jax.Array, scene: jax.Array) -> jax.Array:
    """Uneven light, a reflection, too much light or too little, and a tint; then 0 to 255."""
    of_numbers, of_strength, of_tint, *of_clouds = jax.random.split(key, 6)
    uneven, coarse, glare, dazzle, exposed, gain, lift, tinted = jax.random.uniform(
        of_numbers, (8,)
    )
    strength = jnp.where(uneven < 0.4, 0.2 * jnp.abs(jax.random.normal(of_strength)), 0)
    coarse_light, fine_light = (
        grounds.clouds(of_clouds[0], 2, 2),
        grounds.clouds(of_clouds[1], 3, 5),
    )
    scene = scene * (1 + strength * jnp.where(coarse < 0.7, coarse_light, fine_light))
    # A lamp's reflection washes out a part.
    dazzle = jnp.where(glare < 0.04, between(dazzle, 50, 200), 0)
    scene = scene + dazzle * jnp.clip(grounds.clouds(of_clouds[2], 3, 6) - 0.3, 0, 1)
    scene = jnp.where(
        exposed < 0.3, scene * between(gain, 0.7, 1.25) + between(lift, -15, 20), scene
    )
    # Lamps, dusk and cheap cameras tint ground and letters alike.
    tint = jnp.where(tinted < 0.35, jnp.exp(0.1 * jax.random.normal(of_tint, (3, 1, 1))), 1)
    return jnp.clip(scene * tint, 0, 255)
