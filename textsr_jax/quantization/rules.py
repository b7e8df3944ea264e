"""Which tensors are quantised and how: rules on parameter paths, and named sets of them.

A leaf's path is its keys below the top-level `params` or `stats`, joined by "/".
"""

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from textsr_jax.errors import UserError
from textsr_jax.quantization import aciq

GRANULARITIES = ("tensor", "channel", "channel-bits", "group", "layer", "layer-channel")
GROUP_SIZES = (32, 64, 128)
# The fields of `Rule` that a set's rules share, and that a config has.
SETTINGS = ("bits", "prior", "granularity", "correct", "group_size")


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the leaves whose whole path matches `pattern` are quantised.

    Tensors with fewer than two axes always get one range and whole bits.

    Attributes:
      pattern: a regular expression that must match the full path, as `re.fullmatch` does.
      bits: 2 to 8, or None to leave the leaf as it is. A whole number, except with "channel-bits":
        there it is the mean over a tensor's channels, such as 3.5.
      prior: "laplace", "gaussian", "minmax", or "auto": the prior with the least squared error for
        the tensor. "least_squares": the range with the least squared error that alternation finds
        (`least_squares.fit_range`).
      granularity: what has a range of its own.
        "tensor": the tensor.
        "channel": each output channel, which is the last axis of every kernel here.
        "channel-bits": as "channel", and channels of larger scale get more bits
          (`aciq.allocate_bits`).
        "group": each `group_size` consecutive values of an output channel; the last group may be
          smaller (`groups`).
        "layer": each index of the first axis, as of layers that a scan holds in one array.
        "layer-channel": each output channel of each such layer.
      correct: restores the mean and deviation of each output channel (`aciq.restore_moments`). For
        "tensor", "channel" and "channel-bits".
      group_size: 32, 64 or 128, for "group".

    Raises:
      UserError: an invalid expression or setting.
    """

    pattern: str
    bits: float | None
    prior: str = "laplace"
    granularity: str = "tensor"
    correct: bool = False
    group_size: int = 64

    def __post_init__(self) -> None:
        def refuse(what: str) -> UserError:
            return UserError(f"rule {self.pattern!r}: {what}")

        try:
            re.compile(self.pattern)
        except (re.error, TypeError, OverflowError, RecursionError) as error:
            raise refuse(f"not a regular expression: {error}") from error
        if self.granularity not in GRANULARITIES:
            allowed = ", ".join(GRANULARITIES)
            raise refuse(f"granularity {self.granularity!r}; use one of {allowed}")
        if self.prior not in (*aciq.RANGES, "auto"):
            allowed = ", ".join((*aciq.RANGES, "auto"))
            raise refuse(f"prior {self.prior!r}; use one of {allowed}")
        if not isinstance(self.correct, bool):
            raise refuse(f"correct {self.correct!r}; use true or false")
        if self.correct and self.granularity in ("group", "layer", "layer-channel"):
            raise refuse(f"granularity {self.granularity} corrects nothing; leave out correct")
        if isinstance(self.group_size, bool) or self.group_size not in GROUP_SIZES:
            allowed = ", ".join(map(str, GROUP_SIZES))
            raise refuse(f"group_size {self.group_size!r}; use one of {allowed}")
        if self.bits is None:
            return
        if isinstance(self.bits, bool) or not isinstance(self.bits, int | float):
            raise refuse(f"bits {self.bits!r}; use a number or none")
        if not aciq.MIN_BITS <= self.bits <= aciq.MAX_BITS:
            allowed = f"use {aciq.MIN_BITS} to {aciq.MAX_BITS}, or none to leave it"
            raise refuse(f"{self.bits} bits; {allowed}")
        if self.bits != int(self.bits) and self.granularity != "channel-bits":
            raise refuse(f"{self.bits} bits; only granularity channel-bits takes fractions")


# Layer types and blocks, each under the network's name. The paper quantises each of them alone to
# measure its cost. The selections of its Table 2 are sums of these: see `_SELECTIONS`.
_SETS: dict[str, tuple[str, ...]] = {
    "edsr-convolution": (
        r"edsr/(head|blocks/.*|body_end|upsample|tail)/(kernel|bias)",
        r"stn/convs/\d+/conv/(kernel|bias)",
    ),
    "edsr-head": (r"edsr/head/(kernel|bias)",),
    "edsr-body": (r"edsr/(blocks/.*|body_end)/(kernel|bias)",),
    "edsr-tail": (r"edsr/(upsample|tail)/(kernel|bias)",),
    "edsr-stn": (r"stn/.*/(kernel|bias|scale)",),
    "edsr-stn-linear": (r"stn/fc[12]/(kernel|bias)",),
    "edsr-batch-norm": (r"stn/.*bn/(scale|bias)",),
    "tbsrn-convolution": (
        r"tbsrn/(head|body_end|upsample|tail|blocks/\d+/convs/conv[12])/(kernel|bias)",
        r"stn/convs/\d+/conv/(kernel|bias)",
    ),
    "tbsrn-linear": (r"tbsrn/blocks/\d+/enhancer/out/(kernel|bias)",),
    "tbsrn-attention": (r"tbsrn/blocks/\d+/enhancer/attention/.*",),
    "tbsrn-feed-forward": (r"tbsrn/blocks/\d+/enhancer/linear[12]/(kernel|bias)",),
    "tbsrn-stn": (r"stn/.*/(kernel|bias|scale)",),
    "tbsrn-stn-linear": (r"stn/fc[12]/(kernel|bias)",),
    "tbsrn-batch-norm": (r"tbsrn/.*(bn|bn[12])/(scale|bias)", r"stn/.*bn/(scale|bias)"),
    "tbsrn-layer-norm": (r"tbsrn/blocks/\d+/enhancer/norm[12]/(scale|bias)",),
    "tpgsr-convolution": (
        r"tpgsr/(head|body_end|upsample|tail|blocks/\d+/convs/conv[12])/(kernel|bias)",
        r"stn/convs/\d+/conv/(kernel|bias)",
    ),
    "tpgsr-recurrent": (r"tpgsr/blocks/\d+/gru[12]/.*/(kernel|bias)",),
    "tpgsr-interpreter": (r"tpgsr/interpreter/convs/\d+/kernel",),
    "tpgsr-prior-convolution": (r"prior/\d+/convs/\d+/conv/(kernel|bias)",),
    "tpgsr-prior-recurrent": (r"prior/\d+/rnn/.*/(kernel|bias)",),
    "tpgsr-stn": (r"stn/.*/(kernel|bias|scale)",),
    "tpgsr-stn-linear": (r"stn/fc[12]/(kernel|bias)",),
    "tpgsr-batch-norm": (
        r"tpgsr/.*(bn|bn[12]|bns/\d+)/(scale|bias)",
        r"(stn|prior)/.*bn/(scale|bias)",
    ),
    "tatt-convolution": (
        r"tatt/(head|body_end|upsample|tail|blocks/\d+/convs/conv[12])/(kernel|bias)",
        r"stn/convs/\d+/conv/(kernel|bias)",
    ),
    "tatt-recurrent": (r"tatt/(blocks/\d+/gru[12]|interpreter/places_gru)/.*/(kernel|bias)",),
    "tatt-attention": (r"tatt/interpreter/(en|de)coder/\d+/(in_proj|out_proj)/(kernel|bias)",),
    "tatt-linear": (
        r"tatt/interpreter/frame/(kernel|bias)",
        r"tatt/interpreter/(en|de)coder/\d+/linear[12]/(kernel|bias)",
    ),
    "tatt-places": (r"tatt/interpreter/places",),
    "tatt-prior-convolution": (r"prior/\d+/convs/\d+/conv/(kernel|bias)",),
    "tatt-prior-recurrent": (r"prior/\d+/rnn/.*/(kernel|bias)",),
    "tatt-stn": (r"stn/.*/(kernel|bias|scale)",),
    "tatt-stn-linear": (r"stn/fc[12]/(kernel|bias)",),
    "tatt-batch-norm": (
        r"tatt/.*(bn|bn[12])/(scale|bias)",
        r"(stn|prior)/.*bn/(scale|bias)",
    ),
    "tatt-layer-norm": (r"tatt/interpreter/.*norm[12]?/(scale|bias)",),
    "lemma-convolution": (
        r"lemma/(head|body_end|upsample|tail|blocks/\d+/convs/conv[12])/(kernel|bias)",
        r"lemma/guidance/(convs/\d+|located)/(kernel|bias)",
        r"stn/convs/\d+/conv/(kernel|bias)",
    ),
    "lemma-recurrent": (r"lemma/blocks/\d+/gru[12]/.*/(kernel|bias)",),
    "lemma-fusion": (
        r"lemma/blocks/\d+/fusion/(of_\w+|aggregation)/linear[12]/(kernel|bias)",
        r"lemma/blocks/\d+/fusion/weigh/\d+/(kernel|bias)",
    ),
    # Kernels as large as the image.
    "lemma-depthwise": (r"lemma/blocks/\d+/fusion/whole/(kernel|bias)",),
    "lemma-attention": (r"lemma/guidance/\w+/\d+/(in_proj|out_proj)/(kernel|bias)",),
    "lemma-linear": (
        r"lemma/guidance/text/kernel",
        r"lemma/guidance/\w+/\d+/linear[12]/(kernel|bias)",
    ),
    "lemma-reader-convolution": (r"reader/vision/(backbone|reduce|enlarge)/.*conv/(kernel|bias)",),
    "lemma-reader-attention": (r"reader/.*/(in_proj|out_proj)/(kernel|bias)",),
    "lemma-reader-linear": (r"reader/.*/(linear[12]|project|classify)/(kernel|bias)",),
    "lemma-stn": (r"stn/.*/(kernel|bias|scale)",),
    "lemma-stn-linear": (r"stn/fc[12]/(kernel|bias)",),
    "lemma-batch-norm": (
        r"lemma/.*(bn|bn[12]|bns/\d+)/(scale|bias)",
        r"(stn|reader)/.*bn/(scale|bias)",
    ),
    "lemma-layer-norm": (r"(lemma/guidance|reader)/.*/norm[12]/(scale|bias)",),
    "cdistnet-convolution": (r"(backbone|rectifier)/.*/conv/(kernel|bias)",),
    "cdistnet-linear": (
        r"mdcdp/.*/linear[12]/(kernel|bias)",
        r"positional_branch/linear[12]/(kernel|bias)",
    ),
    "cdistnet-attention": (r"mdcdp/.*/(qkv|query|key_value|out_proj)/(kernel|bias)",),
    "cdistnet-self-attention": (r"encoder/.*/(qkv|out_proj)/(kernel|bias)",),
    "cdistnet-localization": (r"rectifier/fc[12]/(kernel|bias)",),
    "cdistnet-encoder-linear": (r"encoder/.*/linear[12]/(kernel|bias)",),
    "cdistnet-fusion": (r"fusion/(kernel|bias)",),
    "cdistnet-embedding": (r"embedding/embedding", r"output/kernel"),
    "cdistnet-batch-norm": (r"(backbone|rectifier)/.*bn/(scale|bias)",),
    "cdistnet-layer-norm": (r"(encoder|mdcdp|positional_branch)/.*norm\d?/(scale|bias)",),
}

# The selections of the paper's Table 2, and selections for any network.
_SELECTIONS: dict[str, tuple[str, ...]] = {
    # EDSR's head and body (not its upsampling and last convolution) and the whole STN, with biases
    # and BatchNorm's scale and bias: 40,217,128 parameters.
    "edsr-sr": (*_SETS["edsr-head"], *_SETS["edsr-body"], *_SETS["edsr-stn"]),
    # TBSRN without its first convolution, the one behind the blocks, the last one, PReLU, BatchNorm
    # and LayerNorm, and the whole STN: 2,908,392 live parameters.
    "tbsrn-sr": (
        r"tbsrn/blocks/\d+/convs/conv[12]/(kernel|bias)",
        *_SETS["tbsrn-linear"],
        *_SETS["tbsrn-attention"],
        *_SETS["tbsrn-feed-forward"],
        r"tbsrn/upsample/(kernel|bias)",
        *_SETS["tbsrn-stn"],
    ),
    # CDistNet's attention projections, the feed-forward of the decoder (not of the encoder), the
    # positional branch's linear layers and the rectifier's: 41,636,648 as published, 22,725,416
    # live parameters.
    "cdistnet-ocr": (
        *_SETS["cdistnet-attention"],
        *_SETS["cdistnet-self-attention"],
        *_SETS["cdistnet-linear"],
        *_SETS["cdistnet-localization"],
    ),
    # All kernels, for networks that the paper does not quantise.
    "kernels": (r".*/kernel",),
    # All parameters, but not the running statistics.
    "all": (r"(?!.*\b(mean|var)$).*",),
}

RULE_SETS = _SETS | _SELECTIONS


def rule_set(
    name: str,
    bits: float,
    prior: str = "laplace",
    granularity: str = "tensor",
    correct: bool = False,
    group_size: int = 64,
) -> tuple[Rule, ...]:
    """The rules of a named set, all with these settings.

    Raises:
      UserError: there is no such set, or a setting is invalid.
    """
    if name not in RULE_SETS:
        close = difflib.get_close_matches(name, RULE_SETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"take one of {', '.join(RULE_SETS)}"
        raise UserError(f"there is no rule set {name!r}; {hint}")
    return tuple(
        Rule(pattern, bits, prior, granularity, correct, group_size) for pattern in RULE_SETS[name]
    )


def selection(network: str) -> str:
    """The name of the set that the paper quantises in `network`, named as in a config."""
    names = {"edsr": "edsr-sr", "tbsrn": "tbsrn-sr", "cdistnet": "cdistnet-ocr"}
    return names.get(network, "kernels")


def layer_types(network: str) -> list[str]:
    """The names of the sets that each hold one layer type or block of `network`."""
    return [name for name in _SETS if name.startswith(f"{network}-")]


def from_config(config: Mapping[str, Any], network: str, field: str) -> tuple[Rule, ...]:
    """The rules of `config.quantization.sr` or `.ocr`: first its `rules`, then those of its set.

    Args:
      config: has the fields
        set: a named set; "" for the paper's of the network, "none" for no set.
        bits, prior, granularity, correct, group_size: the settings of the set; see `Rule`.
        rules: mappings with `pattern` or `set`, and any of these settings; the default is the
          setting above. `bits: None` leaves matching leaves as they are.
      network: the network's name in the config.
      field: the config's name, for messages.

    Raises:
      UserError: an unknown field or set, or an invalid setting. The message names the place.
    """
    # Files that are older than a setting have what was done before it was there.
    unset = {field.name: field.default for field in dataclasses.fields(Rule)}
    defaults = {name: config.get(name, unset[name]) for name in SETTINGS}
    found: list[Rule] = []
    try:
        for number, entry in enumerate(config["rules"]):
            place = f"rules[{number}]: "
            if not isinstance(entry, Mapping) or len({"pattern", "set"} & entry.keys()) != 1:
                raise UserError("must be a mapping with either 'pattern' or 'set'")
            unknown = entry.keys() - {"pattern", "set", *SETTINGS}
            if unknown:
                raise UserError(f"there is no setting {min(unknown)!r}; take {', '.join(SETTINGS)}")
            settings = defaults | {name: entry[name] for name in SETTINGS if name in entry}
            if "set" in entry:
                found += rule_set(entry["set"], **settings)
            else:
                found.append(Rule(entry["pattern"], **settings))
        place = ""
        if config["set"] != "none":
            found += rule_set(config["set"] or selection(network), **defaults)
    except UserError as error:
        raise UserError(f"{field}: {place}{error}") from error
    return tuple(found)


def to_config(rules: Sequence[Rule], config: Mapping[str, Any], network: str) -> dict[str, Any]:
    """The settings from which `from_config` makes exactly these rules.

    Args:
      rules: the rules.
      config: `config.quantization.sr` or `.ocr`. It is kept where it gives these rules, perhaps
        with other bits and another prior.
      network: the network's name in the config.
    """
    rules = tuple(rules)
    settings = [dict(config)]
    if rules:
        settings.append({**config, "bits": rules[-1].bits, "prior": rules[-1].prior})
    for asked in settings:
        # The bits of one rule may not suit the granularity of all.
        with contextlib.suppress(UserError):
            if asked["bits"] is not None and from_config(asked, network, "") == rules:
                return asked
    return {**config, "set": "none", "rules": tuple(map(dataclasses.asdict, rules))}


def first_match(rules: Sequence[Rule], *paths: str) -> Rule | None:
    """The first rule that matches a leaf, if it has bits; None if the leaf stays as it is.

    Args:
      rules: the rules in their order.
      paths: the leaf's path, or all of them where several places of a tree share one array. A rule
        matches if it matches any of them.
    """
    for rule in rules:
        if any(re.fullmatch(rule.pattern, path) for path in paths):
            return rule if rule.bits is not None else None
    return None
