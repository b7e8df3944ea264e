"""Which tensors are quantised and how: rules on parameter paths, and the paper's selections.

A leaf's path is its keys joined by "/", below the top-level key `params` or `stats`.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

from textsr_jax.errors import UserError
from textsr_jax.quantization import aciq


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the leaves whose whole path matches `pattern` are quantised.

    Attributes:
      pattern: a regular expression that must match the full path, as `re.fullmatch` does.
      bits: 2 to 8, or None to leave the leaf as it is.
      prior: "laplace", "gaussian", "minmax", or "auto": the one of the three with the least
        squared error for the tensor.
      per_channel: one range for each output channel, the last axis of every kernel here, instead of
        one for the tensor. Tensors with fewer than two axes always get one range.

    Raises:
      UserError: an invalid expression, number of bits or prior.
    """

    pattern: str
    bits: int | None
    prior: str = "laplace"
    per_channel: bool = False

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UserError(f"rule {self.pattern!r}: not a regular expression: {error}") from error
        if self.bits is not None and not aciq.MIN_BITS <= self.bits <= aciq.MAX_BITS:
            allowed = f"use {aciq.MIN_BITS} to {aciq.MAX_BITS}, or none to leave it"
            raise UserError(f"rule {self.pattern!r}: {self.bits} bits; {allowed}")
        if self.prior not in (*aciq.PRIORS, "auto"):
            allowed = ", ".join((*aciq.PRIORS, "auto"))
            raise UserError(f"rule {self.pattern!r}: prior {self.prior!r}; use one of {allowed}")


def first_match(rules: Sequence[Rule], path: str) -> Rule | None:
    """The first rule that matches `path` and has bits; None if the leaf stays as it is."""
    for rule in rules:
        if re.fullmatch(rule.pattern, path):
            return rule if rule.bits is not None else None
    return None


def edsr_sr(bits: int, prior: str = "laplace", per_channel: bool = False) -> tuple[Rule, ...]:
    """The paper's selection in EDSR and the STN before it: 40,217,128 parameters.

    EDSR's head and body (not its upsampling and last convolution) and the whole STN, biases and
    BatchNorm's scale and bias too. Running statistics, which are no parameters, stay as they are.
    For a tree with `stn` and `edsr` at its top.
    """
    patterns = (
        r"edsr/(head|blocks/.*|body_end)/(kernel|bias)",
        r"stn/.*/(kernel|bias|scale)",
    )
    return tuple(Rule(pattern, bits, prior, per_channel) for pattern in patterns)


def cdistnet_ocr(bits: int, prior: str = "laplace", per_channel: bool = False) -> tuple[Rule, ...]:
    """The paper's selection in CDistNet: 41,636,648 parameters as published, 22,725,416 live.

    All attention projections, the feed-forward of the decoder (not of the encoder), the positional
    branch's two linear layers and the rectifier's fully connected layers.
    """
    patterns = (
        r"(encoder|mdcdp)/.*/(qkv|query|key_value|out_proj)/(kernel|bias)",
        r"mdcdp/.*/linear[12]/(kernel|bias)",
        r"positional_branch/linear[12]/(kernel|bias)",
        r"rectifier/fc[12]/(kernel|bias)",
    )
    return tuple(Rule(pattern, bits, prior, per_channel) for pattern in patterns)


def tbsrn_sr(bits: int, prior: str = "laplace", per_channel: bool = False) -> tuple[Rule, ...]:
    """The paper's selection in TBSRN and the STN before it: 2,908,392 live parameters.

    Published TBSRN checkpoints hold 109 unused ones more in this selection. Left as they are: its
    first convolution, the one behind the blocks and the last one, PReLU, BatchNorm and LayerNorm.
    For a tree with `stn` and `tbsrn` at its top.
    """
    patterns = (
        r"tbsrn/blocks/.*/(conv[12]|query|key|value|out|linear[12])/(kernel|bias)",
        r"tbsrn/upsample/(kernel|bias)",
        r"stn/.*/(kernel|bias|scale)",
    )
    return tuple(Rule(pattern, bits, prior, per_channel) for pattern in patterns)


def kernels(bits: int, prior: str = "laplace", per_channel: bool = False) -> tuple[Rule, ...]:
    """Every kernel: the selection in networks that the paper does not quantise."""
    return (Rule(r".*/kernel", bits, prior, per_channel),)


def selection(name: str) -> Callable[..., tuple[Rule, ...]]:
    """The selection for the network that configs call `name`."""
    paper = {"edsr": edsr_sr, "tbsrn": tbsrn_sr, "cdistnet": cdistnet_ocr}
    return paper.get(name, kernels)
