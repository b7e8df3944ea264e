"""The networks, by the names that configs use: `sr.name`, `ocr.name`, `focus`.

Each `build_*` takes its part of the config and returns a `Network`, the functional view.
"""

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from textsr_jax.errors import UserError
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.network import Network, Variables, count_parameters
from textsr_jax.models.stn import STN
from textsr_jax.models.super_resolution import SuperResolver
from textsr_jax.models.text_focus import TextFocusRecognizer

__all__ = ["Network", "Variables", "build_focus", "build_ocr", "build_sr", "count_parameters"]

SR_NETWORKS = {"edsr": EDSR}
OCR_NETWORKS = {"cdistnet": CDistNet}


def _choose(networks: dict[str, type[nnx.Module]], name: str, field: str) -> type[nnx.Module]:
    if name not in networks:
        raise UserError(
            f"config.{field}.name={name!r}: no such network; take {', '.join(networks)}"
        )
    return networks[name]


def _settings(config: ConfigDict) -> dict[str, object]:
    """A network's constructor arguments: its part of the config, with `dtype` made a dtype."""
    settings = config.to_dict()
    name = settings.pop("dtype")
    if name not in ("float32", "bfloat16"):
        raise UserError(f"config dtype={name!r}: not a compute dtype; take float32 or bfloat16")
    settings["dtype"] = None if name == "float32" else jnp.bfloat16
    return settings


def build_sr(config: ConfigDict) -> Network:
    """The super-resolution model of `config.sr`: the STN and the network behind it."""
    settings = _settings(config)
    name, stn, mode = settings.pop("name"), settings.pop("stn"), settings.pop("apply_stn")
    kind = _choose(SR_NETWORKS, name, "sr")

    def build(rngs: nnx.Rngs) -> SuperResolver:
        rectifier = None if mode == "never" else STN(**stn, rngs=rngs)
        network = kind(**settings, rngs=rngs)
        return SuperResolver(name, network, rectifier, mode)

    return Network(build)


def build_ocr(config: ConfigDict) -> Network:
    """The recogniser of `config.ocr`."""
    settings = _settings(config)
    kind = _choose(OCR_NETWORKS, settings.pop("name"), "ocr")
    return Network(lambda rngs: kind(**settings, rngs=rngs))


def build_focus(config: ConfigDict) -> Network:
    """The text-focus loss's recogniser, of `config.focus`."""
    settings = _settings(config)
    return Network(lambda rngs: TextFocusRecognizer(**settings, rngs=rngs))
