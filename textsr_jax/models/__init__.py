"""The networks, by the names that configs use: `sr.name`, `ocr.name`, `focus`, `resampler`.

Each `build_*` takes its part of the config and returns a `Network`, the functional view.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from textsr_jax.errors import UserError
from textsr_jax.models.bicubic import Bicubic
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.crnn import CRNN
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.network import (
    Keys,
    Network,
    Variables,
    count_parameters,
    join,
    part_of,
    shape_difference,
    together,
)
from textsr_jax.models.resampler import Resampler
from textsr_jax.models.rescaling import Rescaler
from textsr_jax.models.stn import STN
from textsr_jax.models.super_resolution import SuperResolver
from textsr_jax.models.tbsrn import TBSRN
from textsr_jax.models.text_focus import TextFocusRecognizer
from textsr_jax.models.tsrn import TSRN

__all__ = [
    "Network",
    "Variables",
    "build_focus",
    "build_ocr",
    "build_rescaler",
    "build_sr",
    "count_parameters",
    "join",
    "part_of",
    "shape_difference",
    "together",
]

SR_NETWORKS = {"edsr": EDSR, "tbsrn": TBSRN, "tsrn": TSRN, "bicubic": Bicubic}
OCR_NETWORKS = {"cdistnet": CDistNet, "crnn": CRNN}


def build_sr(config: ConfigDict, variables: Variables | None = None) -> Network:
    """The super-resolution model of `config.sr`: the STN and the network behind it.

    Args:
      config: `name`, `dtype` and `apply_stn`; under `stn` and under the network's name the
        arguments of their constructors, whose defaults are the published sizes.
      variables: what it will be evaluated with. Where these hold no STN, as EDSR's published file,
        the model has none either.

    Raises:
      UserError: a name, mode or dtype that is none; or `variables` lack the STN and `apply_stn` is
        "always".
    """
    name, mode = config.name, config.apply_stn
    if variables is not None and "stn" not in variables["params"]:
        if mode == "always":
            raise UserError(
                f"these variables of {name} hold no STN, and config.sr.apply_stn is 'always'; set "
                "it to 'train' or 'never', or train stage1 from them"
            )
        mode = "never"
    make_network = _maker(SR_NETWORKS, config, "sr")
    stn_arguments = _arguments(config, "stn")

    def build(rngs: Keys) -> SuperResolver:
        # Without `dtype`: in bfloat16 the control points would be off by a quarter of a pixel.
        rectifier = None if mode == "never" else STN(**stn_arguments, rngs=rngs)
        return SuperResolver(name, make_network(rngs), rectifier, mode)

    return Network(build)


def build_ocr(config: ConfigDict) -> Network:
    """The recogniser of `config.ocr`: `name`, `dtype`, and arguments under the network's name."""
    return Network(_maker(OCR_NETWORKS, config, "ocr"))


def build_focus(config: ConfigDict) -> Network:
    """The text-focus loss's recogniser, of `config.focus`: `dtype` and its arguments."""
    settings = config.to_dict()
    settings["dtype"] = _compute_dtype(settings["dtype"], "focus")
    return Network(lambda rngs: TextFocusRecognizer(**settings, rngs=rngs))


def build_rescaler(resampler: ConfigDict, sr: ConfigDict) -> Network:
    """The resampler with EDSR behind it; the tree's top keys are `resampler` and `edsr`.

    Args:
      resampler: that part of the config: `dtype` and the resampler's arguments.
      sr: that part of the config, of which the network is taken without an STN.

    Raises:
      UserError: a dtype that is none, or a network that does not take images of every size.
    """
    if sr.name != "edsr":
        raise UserError(
            f"config.sr.name={sr.name!r}: the resampler goes with edsr alone; set it to edsr"
        )
    make_network = _maker(SR_NETWORKS, sr, "sr")
    settings = resampler.to_dict()
    settings["dtype"] = _compute_dtype(settings["dtype"], "resampler")
    return Network(
        lambda rngs: Rescaler(Resampler(**settings, rngs=rngs), sr.name, make_network(rngs))
    )


def _maker(
    networks: dict[str, type[nnx.Module]], config: ConfigDict, field: str
) -> Callable[[Keys], nnx.Module]:
    name = config.name
    if name not in networks:
        raise UserError(
            f"config.{field}.name={name!r}: no such network; take one of {', '.join(networks)}"
        )
    dtype = _compute_dtype(config.dtype, field)
    arguments = _arguments(config, name)
    return lambda rngs: networks[name](**arguments, dtype=dtype, rngs=rngs)


def _arguments(config: ConfigDict, name: str) -> dict[str, Any]:
    return config[name].to_dict() if name in config else {}


def _compute_dtype(name: str, field: str) -> Any:
    if name not in ("float32", "bfloat16"):
        raise UserError(
            f"config.{field}.dtype={name!r}: not a compute dtype; take float32 or bfloat16"
        )
    return None if name == "float32" else jnp.bfloat16
