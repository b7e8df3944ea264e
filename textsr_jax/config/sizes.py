"""How many parameters the networks of a config have, roughly, without building them.

`checks` refuses a config whose networks are too large for memory.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# 8 GB in float32; the largest published network here has 62 million.
MOST_PARAMETERS = 2 * 10**9


def parameters(network: str, fields: Mapping[str, Any]) -> float:
    """The number of parameters of a network; the error is below a factor of three.

    Args:
      network: its place in the config, such as "sr.edsr"; one of `NETWORKS`.
      fields: its fields there, such as `channels`.
    """
    return NETWORKS[network](fields)


def _convolutions(channels: Sequence[int], taps: int = 9) -> int:
    return sum(taps * before * after for before, after in itertools.pairwise(channels))


def _residual_stages(channels: Sequence[int], depths: Sequence[int]) -> int:
    return sum(18 * width**2 * depth for width, depth in zip(channels, depths, strict=True))


def _edsr(fields: Mapping[str, Any]) -> float:
    return 9 * fields["channels"] ** 2 * (2 * fields["blocks"] + 5)


def _tbsrn(fields: Mapping[str, Any]) -> float:
    return fields["channels"] ** 2 * (46 * fields["blocks"] + 45)


def _tsrn(fields: Mapping[str, Any]) -> float:
    return fields["channels"] ** 2 * (24 * fields["blocks"] + 45)


def _tpgsr(fields: Mapping[str, Any]) -> float:
    return _tsrn(fields) + 9 * 512 * 192 + fields["channels"] * fields["prior_channels"]


def _tatt(fields: Mapping[str, Any]) -> float:
    # The GRU is as wide as a column of 16 pixels.
    layers = fields["encoder_layers"] + fields["decoder_layers"]
    return _tsrn(fields) + fields["channels"] ** 2 * (4.5 * 256 + 16 + 6 * layers)


def _lemma(fields: Mapping[str, Any]) -> float:
    # Each block has a depthwise convolution as large as the image.
    layers = fields["encoder_layers"] + 2 * fields["decoder_layers"]
    width = fields["channels"]
    return width**2 * (42 * fields["blocks"] + 63 + 6 * layers) + 1024 * width * fields["blocks"]


def _abinet(fields: Mapping[str, Any]) -> float:
    stem, *channels = fields["channels"]
    width, keys = channels[-1], fields["key_channels"]
    layers = fields["encoder_layers"] + fields["decoder_layers"]
    return (
        27 * stem
        + 10 * sum(depth * wide**2 for wide, depth in zip(channels, fields["depths"], strict=True))
        + layers * width * (4 * width + 2 * fields["hidden"])
        + 9 * keys * (2 * width + 6 * keys)
        + width**2
    )


def _stn(fields: Mapping[str, Any]) -> float:
    *_, last = channels = fields["channels"]
    return _convolutions((3, *channels)) + (2 * last + 40) * fields["features"]


def _resampler(fields: Mapping[str, Any]) -> float:
    stem, width, trunk = (fields[name] for name in ("stem_channels", "channels", "trunk_channels"))
    halves = 4 * width * (stem + width + trunk)
    return halves + 18 * width**2 * fields["blocks"] + 140 * trunk**2


def _cdistnet(fields: Mapping[str, Any]) -> float:
    width = fields["width"]
    encoder = fields["encoder_layers"] * width * (4 * width + 2 * fields["encoder_hidden"])
    decoder = fields["decoder_layers"] * width * (10 * width + 2 * fields["decoder_hidden"])
    stem, *channels = fields["channels"]
    backbone = 27 * stem + 10 * sum(
        depth * wide**2 for wide, depth in zip(channels, fields["depths"], strict=True)
    )
    rectifier = fields["rectifier_channels"]
    return (
        (encoder + decoder + backbone)
        + width * (3 * width + 2 * fields["positional_hidden"])
        + fields["rectify"] * (_convolutions((3, *rectifier)) + rectifier[-1])
        + fields["rectify"] * fields["rectifier_features"] * (rectifier[-1] + 40)
    )


def _crnn(fields: Mapping[str, Any]) -> float:
    channels, hidden = fields["channels"], fields["hidden"]
    return _convolutions((1, *channels)) + 8 * hidden * (channels[-1] + 4 * hidden)


def _focus(fields: Mapping[str, Any]) -> float:
    width, channels = fields["width"], fields["stage_channels"]
    return (
        _convolutions((1, *fields["stem_channels"], channels[0]))
        + _residual_stages(channels, fields["stage_depths"])
        + _convolutions((*channels, width))
        + width * (8 * width + 2 * fields["feed_forward"])
    )


NETWORKS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "sr.edsr": _edsr,
    "sr.tbsrn": _tbsrn,
    "sr.tsrn": _tsrn,
    "sr.tpgsr": _tpgsr,
    "sr.tatt": _tatt,
    "sr.lemma": _lemma,
    "sr.prior": _crnn,
    "sr.abinet": _abinet,
    "sr.stn": _stn,
    "resampler": _resampler,
    "ocr.cdistnet": _cdistnet,
    "ocr.crnn": _crnn,
    "focus": _focus,
}
