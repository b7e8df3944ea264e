"""How large a model is, in bits: in the paper's account, and as its packed tree is stored.

The paper's "Model Size(MB)" is in 10^6 bits and counts parameters only, no running statistics.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

from textsr_jax.quantization.rules import Rule, first_match
from textsr_jax.quantization.tree import Tree, is_quantized, leaf_kind, leaf_path


def size_mbit(tree: Tree, rules: Sequence[Rule] = ()) -> float:
    """The size of a tree's parameters under `rules`, in 10^6 bits, as the paper counts.

    A parameter that the rules select counts its bits per element, any other 32; ranges and the
    leaves below a top-level `stats` do not count.

    Args:
      tree: a nested dict of arrays or `jax.ShapeDtypeStruct`; a `QuantizedArray` in it counts its
        own bits.
      rules: the rules that `quantize` would get.
    """
    bits = 0
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantized):
        if leaf_kind(keys) == "stats":
            continue
        rule = None if is_quantized(leaf) else first_match(rules, leaf_path(keys))
        width = leaf.bits if is_quantized(leaf) else 32 if rule is None else rule.bits
        bits += width * math.prod(leaf.shape)
    return bits / 1e6


def stored_bits(tree: Tree) -> int:
    """The bits that all leaves of a tree take: statistics, packed codes and ranges included."""
    return 8 * sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


@dataclasses.dataclass(frozen=True)
class Published:
    """Parameter counts of a published checkpoint.

    Attributes:
      parameters: all of them.
      selected: those that the paper quantises.
      unused: those that the forward pass never reads, which our networks do not have.
      unused_selected: those in both.
    """

    parameters: int
    selected: int
    unused: int = 0
    unused_selected: int = 0


# EDSR and TBSRN each with the STN head. EDSR's unused ones are its frozen mean shifts, which are
# constants here; TBSRN's GRUs, unused too, are in neither count, for the paper left them out.
PUBLISHED = {
    "edsr": Published(42_584_387, 40_217_128, unused=24),
    "tbsrn": Published(2_980_575, 2_908_501, unused=115, unused_selected=109),
    "cdistnet": Published(65_459_272, 41_636_648, unused=18_935_808, unused_selected=18_911_232),
}


def paper_size_mbit(sr_bits: int | None, ocr_bits: int | None, sr_model: str = "edsr") -> float:
    """The size that the paper prints for a super-resolution model and CDistNet, in 10^6 bits.

    It counts the tensors of the published checkpoints, unused ones too. The paper's last row, EDSR
    with both at 7 bits, prints 1329.20, which is the size at 6 bits; at 7 it is 1411.05.

    Args:
      sr_bits, ocr_bits: bits of the paper's selections; None if not quantised.
      sr_model: "edsr" or "tbsrn".
    """
    pair = ((PUBLISHED[sr_model], sr_bits), (PUBLISHED["cdistnet"], ocr_bits))
    bits = 0
    for counts, width in pair:
        bits += 32 * counts.parameters
        if width is not None:
            bits -= (32 - width) * counts.selected
    return bits / 1e6
