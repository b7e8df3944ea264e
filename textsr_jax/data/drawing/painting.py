"""Paints words: gives ground and letters their colours, relief, wear and light.

It is the array code of `synthetic.rendering`, for words that are drawn where they are trained.
"""

import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from textsr_jax.data.drawing import colours, grounds, strata
from textsr_jax.data.drawing.draws import Draws
from textsr_jax.data.drawing.grounds import clouds, lay
from textsr_jax.data.synthetic.view import HEIGHT, WIDTH

# Shares of stamped or carved letters, and of those that have a bevel.
_CARVED, _BEVELLED = 0.02, 0.07
# How many numbers of `Draws` the relief takes, and all else that lies on a surface.
_OF_RELIEF = 2
_OF_SCENE = (
    (3 + colours.OF_PAINT + colours.OF_OUTLINE) + (7 + 8 * 32) + (13 + 2 * 2 + 3 * 5 + 3 * 6)
)


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
    ground, colour = jax.vmap(_pair)(own[:, 0])
    surfaces = grounds.draw_batch(own[:, 1], ground, colour)

    order = strata.shuffle(own[0, 4], count)
    carved = strata.members(order, 0, _CARVED)
    words = jnp.concatenate([carved, strata.members(order, _CARVED, _CARVED + _BEVELLED)])
    slopes = jax.vmap(lambda key, ink: relief(Draws(key, _OF_RELIEF), ink))(
        strata.rows(own[:, 2], words), strata.rows(letters.ink, words)
    )
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
    ground, letters = _pair(key)
    return ground + ink[..., None] * (letters - ground)


def relief(draws: Draws, ink: jax.Array) -> jax.Array:
    """The light that the slopes at the letters' edges get from one side.

    Args:
      draws: chooses the side and how wide the slopes are.
      ink: float32 (64, 256), in [0, 1].

    Returns:
      float32 (64, 256), -1 to 1: positive where it is lit, negative where it is in the shade.
    """
    blurred = grounds.blur(ink, draws.uniform(1, 3))
    angle = draws.uniform(0, 2 * math.pi)
    across = jnp.pad(blurred[:, 2:] - blurred[:, :-2], ((0, 0), (1, 1)))
    down = jnp.pad(blurred[2:] - blurred[:-2], ((1, 1), (0, 0)))
    slopes = jnp.cos(angle) * across + jnp.sin(angle) * down
    return slopes / jnp.maximum(jnp.abs(slopes).max(), 1e-6)


def _pair(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    return colours.pair(Draws(key, colours.OF_PAIR))


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
    draws = Draws(key, _OF_SCENE)
    scene = _behind(draws, surface, ground, colour, letters)
    scene = _inked(draws, scene, slopes, carved, ground, colour, letters.ink)
    return _light(draws, scene)


def _behind(
    draws: Draws, scene: jax.Array, ground: jax.Array, colour: jax.Array, letters: Masks
) -> jax.Array:
    """Lays the shadow and the halo on the scene."""
    dark = (colours.luma(ground) > 50) | (draws.uniform() < 0.5)
    shade = jnp.where(dark, draws.uniform(0, 0.5) * ground, colours.paints(draws, 1)[0])
    scene = lay(scene, draws.uniform(0.4, 1) * letters.shadow, shade)
    return lay(scene, letters.halo, colours.outline(draws, colour))


def _inked(
    draws: Draws,
    scene: jax.Array,
    slopes: jax.Array,
    carved: jax.Array,
    ground: jax.Array,
    colour: jax.Array,
    ink: jax.Array,
) -> jax.Array:
    """Lays the letters on the scene: flat, metal, worn, bevelled or carved."""
    flat = colour[:, None, None]
    # Metal and neon: lighter or darker from top to bottom.
    metal, (top, bottom) = draws.uniform() < 0.2, draws.uniform(0.6, 1.25, (2,))
    down = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None]
    ramp = jnp.clip(flat * (top + (bottom - top) * down), 0, 255)
    own = (ground + draws.uniform(0, 0.4) * (colour - ground))[:, None, None]
    paints = jnp.where(carved, own, jnp.where(metal, ramp, flat))
    # Worn paint, or uneven print.
    worn = (draws.uniform() < 0.12) & ~carved
    loss = jnp.where(worn, draws.uniform(0.2, 1.2), 0)
    left = ink * jnp.clip(1 - loss * jnp.abs(clouds(draws, 8, 32)), 0, 1)
    # The edges of a bevel are lit on the letters alone, those of a carving around them too.
    part = draws.uniform()
    light = jnp.where(carved, 70 + 60 * part, (40 + 100 * part) * left) * slopes
    return scene + left * (paints - scene) + light


def _light(draws: Draws, scene: jax.Array) -> jax.Array:
    """Uneven light, a reflection, too much light or too little, and a tint; then 0 to 255."""
    uneven, coarse, glaring, exposed, tinted = draws.uniform(shape=(5,))
    strength = jnp.where(uneven < 0.4, jnp.abs(draws.normal(0.2)), 0)
    light = jnp.where(coarse < 0.7, clouds(draws, 2, 2), clouds(draws, 3, 5))
    # A lamp's reflection washes out a part.
    glare = jnp.where(glaring < 0.04, draws.uniform(50, 200), 0)
    glare *= jnp.clip(clouds(draws, 3, 6) - 0.3, 0, 1)
    gain = jnp.where(exposed < 0.3, draws.uniform(0.7, 1.25), 1)
    lift = jnp.where(exposed < 0.3, draws.uniform(-15, 20), 0)
    # Lamps, dusk and cheap cameras tint ground and letters alike.
    tint = jnp.where(tinted < 0.35, jnp.exp(draws.normal(0.1, (3, 1, 1))), 1)
    scene = scene * (1 + strength * light) + glare
    return jnp.clip((scene * gain + lift) * tint, 0, 255)
