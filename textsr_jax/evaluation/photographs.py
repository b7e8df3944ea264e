"""Photographs halved and enlarged again: Y-channel PSNR and SSIM over folders of images.

The protocol of the SR benchmarks (Set5, Set14, BSD100, Urban100), as published with the resampler.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from textsr_jax import metrics
from textsr_jax.config.differences import same_start
from textsr_jax.config.settings import Experiment
from textsr_jax.data.photograph_folders import PhotographFolder
from textsr_jax.errors import UserError
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Network, Variables, build_rescaler, build_sr
from textsr_jax.models.bicubic import enlarge, reduce
from textsr_jax.models.layers.pixels import SCALE
from textsr_jax.models.rescaling import round_to_8_bits
from textsr_jax.runtime.compilation import keep_compiled
from textsr_jax.storage import checkpoints, workdirs

# What halves and what enlarges, row by row.
_ROWS = (("bicubic", "bicubic"), ("bicubic", "edsr"), ("resampler", "edsr"))
# The network takes sides that are multiples of this.
_UNIT = 8
_SHOWN, _DETAIL = 4, 160


@dataclasses.dataclass(frozen=True)
class PhotographRow:
    """The scores of one way to halve and enlarge.

    Attributes:
      down, up: what halves, "bicubic" or "resampler", and what enlarges, "bicubic" or "edsr".
      folders: of each folder, `psnr` (mean over images, dB; None where one is perfect), `ssim`, and
        `n`, how many images.
    """

    down: str
    up: str
    folders: dict[str, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Detail:
    """The middle of a photograph, for a picture.

    Attributes:
      name: the file's.
      tiles: (title, uint8 (height, width, 3)); LR ones have half the sides.
    """

    name: str
    tiles: list[tuple[str, np.ndarray]]


def load_rescaler(source: str | None, config: Experiment) -> tuple[Network, Variables]:
    """The resampler and EDSR: stage 0's of a workdir, or those that `config.init` names.

    Args:
      source: the workdir; None for the files of `config.init.resampler` and `config.init.sr` alone.
      config: the experiment. An `init` that the workdir was not trained from goes before it.

    Raises:
      UserError: one of the two is not there, or cannot be read.
    """
    network = build_rescaler(config.resampler, config.sr)
    keep_compiled()
    if source is not None:
        own = workdirs.load_config(source)
        if "resampler" not in own:
            raise UserError(
                f"{source}: was made before there was a stage 0; take another --workdir"
            )
        if all(same_start(config, own, part) for part in ("sr", "resampler")):
            loaded = checkpoints.load_best(source, "stage0", checkpoints.abstract(network.template))
            if loaded is not None:
                return network, loaded[0]
    name = config.sr.name
    for part in ("resampler", "sr"):
        if not config.init[part]:
            raise UserError(
                f"{source or 'the config'}: has no model of stage 0; run that stage "
                f"(--config.stages=stage0), or name a model in config.init.{part} too"
            )
    lone = {"params": network.template["params"]["resampler"], "stats": {}}
    resampler = checkpoints.load_start(
        config.init.resampler, "stage0", "resampler", "resampler", lone
    )
    sr = checkpoints.load_start(config.init.sr, "stage1", "sr", name, build_sr(config.sr).template)
    params = {"resampler": resampler["params"], name: sr["params"][name]}
    return network, {"params": params, "stats": {}}


def evaluate(
    network: Network, variables: Variables, folders: Sequence[str]
) -> tuple[list[PhotographRow], dict[str, list[Detail]]]:
    """Halves and enlarges every image of the folders, and scores it against the original.

    As published, images lose what is over a multiple of 8 at the right and the bottom, LR images
    are rounded to 8 bits, and a border of 2 pixels is not scored. SR images are rounded too, where
    the published code cuts off what is behind the point. Each image is computed by itself at its
    own size, so that nothing depends on its neighbours; images of one size share what is compiled.

    Args:
      network, variables: as `load_rescaler` returns them.
      folders: paths.

    Returns:
      The rows bicubic both ways, bicubic reduction with the network's enlargement, and the network
      both ways; and of each folder the details of a few images.

    Raises:
      UserError: a folder or a file that cannot be read.
    """
    opened = {
        name: PhotographFolder(folder, 2 * _UNIT)
        for name, folder in zip(_names(folders), folders, strict=True)
    }
    for source in opened.values():
        # Scores of a part of Set5 are none of Set5.
        if source.left_out:
            raise UserError(source.left_out[0])
    rescale = jax.jit(lambda variables, hr: _rescale(network, variables, hr))
    rows = [PhotographRow(down, up, {}) for down, up in _ROWS]
    details: dict[str, list[Detail]] = {}
    total = sum(len(source) for source in opened.values())
    with tqdm(total=total, desc="photographs", unit="image", leave=False, disable=None) as bar:
        for name, source in opened.items():
            chosen = set(np.linspace(0, len(source) - 1, min(_SHOWN, len(source))).astype(int))
            scores, details[name] = [], []
            for index in range(len(source)):
                image = source[index]
                height, width = (size // _UNIT * _UNIT for size in image.shape[:2])
                hr = image[None, :height, :width]
                lr, sr, quality = rescale(variables, hr)
                scores.append(np.asarray(quality))
                if index in chosen:
                    details[name].append(_detail(source.keys[index], hr[0], lr, sr))
                bar.update()
            # (rows, 2)
            means = np.mean(scores, axis=0)
            for row, (psnr, ssim) in zip(rows, means, strict=True):
                finite = float(psnr) if np.isfinite(psnr) else None
                row.folders[name] = {"psnr": finite, "ssim": float(ssim), "n": len(source)}
    return rows, details


def _names(folders: Sequence[str]) -> list[str]:
    """The folders' own names; whole paths where two share one, as Set5/HR and Set14/HR do."""
    names = [pathlib.Path(folder).expanduser().resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else list(folders)
    if len(set(names)) < len(names):
        raise UserError(f"--photographs={','.join(folders)}: names a folder twice")
    return names


def _rescale(network: Network, variables: Variables, hr: jax.Array) -> tuple[Any, Any, jax.Array]:
    """LR images by `down`, SR images by `_ROWS`, uint8, and PSNR and SSIM (rows, 2) of one HR."""
    hr = to_float(hr)
    reduced = round_to_8_bits(reduce(hr))
    sr, made = network(variables, hr)
    enlarged = [
        enlarge(reduced),
        network(variables, reduced, method="enlarge"),
        sr,
    ]
    made_8_bit = [to_uint8(images) for images in enlarged]
    quality = jnp.stack(
        [
            jnp.concatenate(metrics.luma_quality(to_float(images), hr, SCALE))
            for images in made_8_bit
        ]
    )
    lr = {"bicubic": to_uint8(reduced), "resampler": to_uint8(made.images)}
    return lr, made_8_bit, quality


def _detail(name: str, hr: np.ndarray, lr: dict[str, jax.Array], sr: list[jax.Array]) -> Detail:
    height, width = hr.shape[:2]
    # Even, so that LR and HR tiles show the same part.
    top, left = (max(0, (size - _DETAIL) // 4 * 2) for size in (height, width))

    def part(image: np.ndarray | jax.Array, scale: int) -> np.ndarray:
        rows = slice(top // scale, (top + _DETAIL) // scale)
        return np.asarray(image)[rows, left // scale : (left + _DETAIL) // scale]

    tiles = [(f"LR, {down}", part(image[0], SCALE)) for down, image in lr.items()]
    tiles += [
        (f"{down} + {up}", part(image[0], 1)) for (down, up), image in zip(_ROWS, sr, strict=True)
    ]
    return Detail(name, [*tiles, ("HR", part(hr, 1))])
