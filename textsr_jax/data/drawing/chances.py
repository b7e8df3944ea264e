"""How often a drawn camera loses what, and which words of a batch have which losses."""

from typing import NamedTuple

import flax.struct
import jax

from textsr_jax.data.drawing import strata
from textsr_jax.data.drawing.strata import Strata


class Chances(flax.struct.PyTreeNode):
    """How often a camera loses what: parts of all pictures, 0 to 1.

    Attributes:
      anisotropic: Gaussian blur along a line at any angle, less across it.
      defocus, motion: blur by a disc and along a line. A picture has one blur of the three.
      rolling, interlaced: rows that a rolling shutter moved, and the comb of interlaced video.
        A picture has one of the two.
      dark, overexposed: too little light, made up for by the camera, or too much; one of the two.
      noise: noise of every pixel, before the blur, after it, or after the sharpening.
      mosaic: noise of a sensor with a Bayer pattern; a picture has one noise of the two.
      halo: sharpening, which leaves halos.
      tiny: text of 6 to 12 pixels of height.
      jpeg: compression of what the camera saw.
      shrunk: the picture was kept smaller, and is enlarged again.
      again: compression of the picture as it was kept.
    """

    anisotropic: float = 0.0
    defocus: float = 0.0
    motion: float = 0.0
    rolling: float = 0.0
    interlaced: float = 0.0
    dark: float = 0.0
    overexposed: float = 0.0
    noise: float = 0.0
    mosaic: float = 0.0
    halo: float = 0.0
    tiny: float = 0.0
    jpeg: float = 0.0
    shrunk: float = 0.0
    again: float = 0.0


class CameraSettings(flax.struct.PyTreeNode):
    """How often and how much pictures lose; an argument of jitted functions.

    As a static argument it makes programs that compute rare losses for their words alone.

    Attributes:
      photograph: what happens to the high-resolution picture of a word.
      degrade: what happens to its low-resolution picture, beyond the losses of its difficulty.
      height: the median height of a word in its photograph, in pixels.
      spread: the standard deviation of the height's logarithm.
      soft: the part of the photographs with an even Gaussian blur, beside the other blurs.
      grey: the part of the photographs without colour.
    """

    photograph: Chances = Chances(
        anisotropic=0.04,
        defocus=0.04,
        motion=0.04,
        rolling=0.02,
        interlaced=0.01,
        dark=0.02,
        overexposed=0.1,
        noise=0.4,
        mosaic=0.12,
        halo=0.15,
        tiny=0.02,
        jpeg=0.65,
        shrunk=0.04,
        again=0.15,
    )
    degrade: Chances = Chances(
        anisotropic=0.15,
        defocus=0.15,
        motion=0.15,
        rolling=0.02,
        interlaced=0.02,
        dark=0.03,
        overexposed=0.03,
        noise=0.75,
        mosaic=0.25,
        halo=0.2,
        tiny=0.08,
        jpeg=0.9,
        shrunk=0.15,
        again=0.2,
    )
    height: float = 34.0
    spread: float = 0.45
    soft: float = 0.12
    grey: float = 0.05


class Orders(NamedTuple):
    """Which words have the losses that are computed for their share of a batch alone."""

    blur: Strata
    rows: Strata
    mosaic: Strata
    halo: Strata
    jpeg: Strata
    shrunk: Strata
    again: Strata


def orders(key: jax.Array, count: int) -> Orders:
    """Random orders of `count` words; losses are independent of each other."""
    keys = jax.random.split(key, len(Orders._fields))
    drawn = jax.vmap(strata.shuffle, (0, None))(keys, count)
    return Orders(*(Strata(*(part[i] for part in drawn)) for i in range(len(keys))))
