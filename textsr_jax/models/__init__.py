"""The networks, by the names that configs use: `sr.name`, `ocr.name`, `focus`, `resampler`.

Each `build_*` takes a part of a config and returns a `Network`: pure functions of its variables.

    from textsr_jax import build_sr

    sr = build_sr({"name": "edsr", "dtype": "float32", "apply_stn": "never"})
    variables = sr.init(jax.random.key(0))    # {"params": {"edsr": ...}, "stats": {}}
    images = jax.jit(sr)(variables, lr)       # (n, 16, 64, 3) to (n, 32, 128, 3), in [0, 1]
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from textsr_jax.errors import UserError
from textsr_jax.models.abinet import ABINet
from textsr_jax.models.bicubic import Bicubic
from textsr_jax.models.cdistnet import CDistNet
from textsr_jax.models.crnn import CRNN
from textsr_jax.models.edsr import EDSR
from textsr_jax.models.external_recognizer import ExternalRecognizer
from textsr_jax.models.layers.pixels import MASKED
from textsr_jax.models.lemma import LEMMA
from textsr_jax.models.located import LocatedResolver
from textsr_jax.models.network import (
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
from textsr_jax.models.tatt import TATT
from textsr_jax.models.tbsrn import TBSRN
from textsr_jax.models.text_focus import TextFocusRecognizer
from textsr_jax.models.text_prior import GuidedResolver
from textsr_jax.models.tpgsr import TPGSR
from textsr_jax.models.tsrn import TSRN
from textsr_jax.text import ALPHANUMERIC, Alphabet

__all__ = [
    "GUIDED",
    "ExternalRecognizer",
    "Network",
    "Variables",
    "build_focus",
    "build_ocr",
    "build_prior",
    "build_rescaler",
    "build_sr",
    "count_parameters",
    "join",
    "part_of",
    "shape_difference",
    "together",
]

Builders = dict[str, Callable[..., nnx.Module]]
SR_NETWORKS: Builders = {
    "edsr": EDSR,
    "tbsrn": TBSRN,
    "tsrn": TSRN,
    "tpgsr": TPGSR,
    "tatt": TATT,
    "lemma": LEMMA,
    "bicubic": Bicubic,
}
# Those that are given a text prior, and how `GuidedResolver` uses it by default, as published.
GUIDED: Mapping[str, Mapping[str, Any]] = {
    "tpgsr": {"dropout": 0.25, "detached": False},
    "tatt": {"dropout": 0.0, "detached": True},
}
OCR_NETWORKS: Builders = {"cdistnet": CDistNet, "crnn": CRNN}


def build_sr(config: Mapping[str, Any], variables: Variables | None = None) -> Network:
    """Builds a super-resolution model: an STN, and a x2 network behind it.

    The network maps LR images, float (n, 16, 64, 3), RGB in [0, 1], to SR images, float32
    (n, 32, 128, 3), which are not clipped. Without an STN it takes images of any size.

    Args:
      config: the part `sr` of a config. `name` is one of `SR_NETWORKS`, `dtype` float32 or
        bfloat16, `apply_stn` one of `super_resolution.APPLY_STN`. The parts under `stn` and under
        the network's name are arguments of their constructors; the defaults are the published
        sizes. One of the networks `GUIDED` has `stages`, `mask` and `prior_dropout` there
        too, which `GuidedResolver` takes, and its recognisers have the sizes under `prior`. LEMMA
        has `mask` there too, and its recogniser has the sizes under `abinet`.
      variables: what the model will run with. Where they hold no STN, as in EDSR's published file,
        the model has none either.

    Raises:
      UserError: a name, a mode or a dtype does not exist, or `variables` lack the STN although
        `apply_stn` is "always".
    """
    name, mode = config["name"], config["apply_stn"]
    if variables is not None and "stn" not in variables["params"]:
        if mode == "always":
            raise UserError(
                f"these variables of {name} hold no STN, and config.sr.apply_stn is 'always'; set "
                "it to 'train' or 'never', or train stage1 from them"
            )
        mode = "never"
    stn_arguments = _arguments(config, "stn")

    def make_stn(rngs: nnx.Rngs, image_channels: int) -> STN | None:
        # Without `dtype`: in bfloat16 the control points would be off by a quarter of a pixel.
        if mode == "never":
            return None
        return STN(**stn_arguments, image_channels=image_channels, rngs=rngs)

    if name in GUIDED:
        return _build_guided(config, make_stn, mode)
    if name == "lemma":
        return _build_located(config, make_stn, mode)
    make_network = _maker(SR_NETWORKS, config, "sr")
    return Network(lambda rngs: SuperResolver(name, make_network(rngs), make_stn(rngs, 3), mode))


def _build_guided(
    config: Mapping[str, Any], make_stn: Callable[[nnx.Rngs, int], STN | None], mode: str
) -> Network:
    name, sizes = config["name"], _arguments(config, config["name"])
    stages, mask = sizes.pop("stages", 1), sizes.pop("mask", True)
    uses = dict(GUIDED[name])
    if "prior_dropout" in sizes:
        uses["dropout"] = sizes.pop("prior_dropout")
    channels = MASKED if mask else 3
    dtype = _compute_dtype(config["dtype"], "sr")

    def build(rngs: nnx.Rngs) -> GuidedResolver:
        network = SR_NETWORKS[name](**sizes, image_channels=channels, dtype=dtype, rngs=rngs)
        priors = [_make_prior(config, rngs) for _ in range(stages)]
        stn = make_stn(rngs, channels)
        return GuidedResolver(name, network, priors, stn, mode, mask=mask, **uses)

    return Network(build)


def _build_located(
    config: Mapping[str, Any], make_stn: Callable[[nnx.Rngs, int], STN | None], mode: str
) -> Network:
    name, sizes = config["name"], _arguments(config, config["name"])
    mask = sizes.pop("mask", True)
    channels = MASKED if mask else 3
    dtype = _compute_dtype(config["dtype"], "sr")

    def build(rngs: nnx.Rngs) -> LocatedResolver:
        network = LEMMA(**sizes, image_channels=channels, dtype=dtype, rngs=rngs)
        reader, stn = _make_reader(config, rngs), make_stn(rngs, channels)
        return LocatedResolver(name, network, reader, stn, mode, mask=mask)

    return Network(build)


def build_prior(config: Mapping[str, Any]) -> Network:
    """Builds the recogniser that guides an SR network: ABINet for LEMMA, else a CRNN for 0-9a-z.

    Args:
      config: the part `sr` of a config. The part under `abinet` holds arguments of `ABINet`, that
        under `prior` arguments of `CRNN`, which is the network's teacher too.

    Raises:
      UserError: there is no such dtype, or sizes do not fit together.
    """
    _compute_dtype(config["dtype"], "sr")
    make = _make_reader if config["name"] == "lemma" else _make_prior
    return Network(lambda rngs: make(config, rngs))


def _make_prior(config: Mapping[str, Any], rngs: nnx.Rngs) -> CRNN:
    dtype = _compute_dtype(config["dtype"], "sr")
    return CRNN(**_arguments(config, "prior"), dtype=dtype, rngs=rngs)


def _make_reader(config: Mapping[str, Any], rngs: nnx.Rngs) -> ABINet:
    dtype = _compute_dtype(config["dtype"], "sr")
    return ABINet(**_arguments(config, "abinet"), dtype=dtype, rngs=rngs)


def build_ocr(config: Mapping[str, Any], alphabet: Alphabet = ALPHANUMERIC) -> Network:
    """Builds a recogniser, which reads images, float (n, 32, 128, 3), RGB in [0, 1].

    `decoding.recognizer` turns it into a function from images to words; its module follows
    `recognizer.Recognizer`.

    Args:
      config: the part `ocr` of a config. `name` is one of `OCR_NETWORKS`, `dtype` float32 or
        bfloat16. The part under the network's name holds arguments of its constructor; the
        defaults are the published size.
      alphabet: what it writes, `text.ALPHABETS[config.alphabet]`; by default that of the published
        recognisers.

    Raises:
      UserError: a name or a dtype does not exist, or sizes do not fit together.
    """
    return Network(_maker(OCR_NETWORKS, config, "ocr", alphabet=alphabet))


def build_focus(config: Mapping[str, Any]) -> Network:
    """Builds the recogniser of the text-focus loss, which reads grey images, (n, 32, 128, 1).

    It returns logits and attention maps; `TextFocusRecognizer` has their shapes.

    Args:
      config: the part `focus` of a config: `dtype`, float32 or bfloat16, and arguments of
        `TextFocusRecognizer`, whose defaults are the published size.

    Raises:
      UserError: there is no such dtype.
    """
    settings = dict(config)
    settings["dtype"] = _compute_dtype(settings["dtype"], "focus")
    return Network(lambda rngs: TextFocusRecognizer(**settings, rngs=rngs))


def build_rescaler(resampler: Mapping[str, Any], sr: Mapping[str, Any]) -> Network:
    """Builds the resampler with EDSR behind it, for HR images (n, H, W, 3) in [0, 1].

    The top keys of its tree are `resampler` and `edsr`. `Rescaler` has the shapes.

    Args:
      resampler: the part `resampler` of a config: `dtype`, and arguments of `Resampler`.
      sr: the part `sr` of a config. Its network is taken without an STN.

    Raises:
      UserError: there is no such dtype, or the network of `sr` is not EDSR.
    """
    if sr["name"] != "edsr":
        raise UserError(
            f"config.sr.name={sr['name']!r}: the resampler goes with edsr alone; set it to edsr"
        )
    make_network = _maker(SR_NETWORKS, sr, "sr")
    settings = dict(resampler)
    settings["dtype"] = _compute_dtype(settings["dtype"], "resampler")
    return Network(
        lambda rngs: Rescaler(Resampler(**settings, rngs=rngs), sr["name"], make_network(rngs))
    )


def _maker(
    networks: Builders, config: Mapping[str, Any], field: str, **others: Any
) -> Callable[[nnx.Rngs], nnx.Module]:
    name = config["name"]
    if name not in networks:
        raise UserError(
            f"config.{field}.name={name!r}: no such network; take one of {', '.join(networks)}"
        )
    dtype = _compute_dtype(config["dtype"], field)
    arguments = _arguments(config, name) | others
    return lambda rngs: networks[name](**arguments, dtype=dtype, rngs=rngs)


def _arguments(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict(config[name]) if name in config else {}


def _compute_dtype(name: str, field: str) -> jnp.dtype | None:
    if name not in ("float32", "bfloat16"):
        raise UserError(
            f"config.{field}.dtype={name!r}: not a compute dtype; take float32 or bfloat16"
        )
    return None if name == "float32" else jnp.dtype(jnp.bfloat16)
