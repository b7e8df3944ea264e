"""The size column of the paper's Table 2, from shapes alone, and what packed files would take.

The unit that the paper prints as MB is 10^6 bits.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from rich.table import Table

from textsr_jax import convert
from textsr_jax.models import Variables, count_parameters
from textsr_jax.quantization import (
    QuantizedArray,
    rule_set,
    selection,
    size_mbit,
)
from textsr_jax.quantization.rules import Rule, first_match
from textsr_jax.quantization.tree import leaf_path
from textsr_jax.report import tables
from textsr_jax.runtime import atomic
from textsr_jax.storage import packed_files

OCR = "cdistnet"

# SR model, what is quantised, the bits that the paper prints and the size that it prints. The last
# row comes again with the bits at which that size is true.
_ROWS = (
    ("tbsrn", "none", None, 2190.08),
    ("tbsrn", "SR", 4, 2108.64),
    ("tbsrn", "OCR", 5, 1065.89),
    ("tbsrn", "SR + OCR", 6, 1031.90),
    ("edsr", "none", None, 3457.40),
    ("edsr", "SR", 4, 2331.32),
    ("edsr", "OCR", 5, 2333.21),
    ("edsr", "SR + OCR", 7, 1329.20),
    ("edsr", "SR + OCR", 6, None),
)

ERRATUM = (
    "The paper's last row says 7 bits and prints 1329.20, which is the size at 6 bits; at 7 bits "
    "it is 1411.05."
)


@dataclasses.dataclass(frozen=True)
class Size:
    """One row: sizes in 10^6 bits.

    Attributes:
      sr: the SR model; CDistNet is the recogniser.
      target, bits: what is quantised.
      printed: what the paper prints for it; None where it has no such row.
      paper: the paper's account: all parameters of the published checkpoints, unused ones too.
      live: the same of the parameters that our networks have.
      stored: of the packed file: live parameters, running statistics, ranges and header.
    """

    sr: str
    target: str
    bits: int | None
    printed: float | None
    paper: float
    live: float
    stored: float


@functools.cache
def _template(name: str) -> dict[str, Any]:
    # EDSR's published file has no STN; the paper trains it with one.
    return convert.network(name, stn=name != OCR).template


def published_mbit(name: str, bits: int | None) -> float:
    """The size of a published checkpoint with the paper's selection at `bits`, in 10^6 bits.

    Args:
      name: "edsr", "tbsrn" or "cdistnet"; the first two with the STN.
      bits: 2 to 8; None if not quantised.
    """
    only = convert.PUBLISHED_ONLY[name]
    unused = sum(extra.size * (bits if bits and extra.quantized else 32) for extra in only)
    return size_mbit(_template(name), _rules(name, bits)) + unused / 1e6


def dead_parameters(name: str) -> int:
    """How many parameters of the published checkpoint no forward pass reads, or are constants."""
    return sum(extra.size for extra in convert.PUBLISHED_ONLY[name])


def paper_sizes() -> list[Size]:
    """The rows of Table 2, and its last one a second time at the bits that give what it prints."""
    rows = []
    for sr, target, bits, printed in _ROWS:
        sr_bits = bits if target in ("SR", "SR + OCR") else None
        ocr_bits = bits if target in ("OCR", "SR + OCR") else None
        rules = {"sr": _rules(sr, sr_bits), "ocr": _rules(OCR, ocr_bits)}
        trees = {"sr": _template(sr), "ocr": _template(OCR)}
        rows.append(
            Size(
                sr=sr,
                target=target,
                bits=bits,
                printed=printed,
                paper=published_mbit(sr, sr_bits) + published_mbit(OCR, ocr_bits),
                live=sum(size_mbit(trees[part], rules[part]) for part in trees),
                stored=8 * packed_bytes(trees, rules) / 1e6,
            )
        )
    return rows


def packed_bytes(trees: dict[str, Any], rules: dict[str, tuple[Rule, ...]]) -> int:
    """The size of the packed file of networks that are known by their shapes only, in bytes.

    It packs zeros, whose codes take as much as any; config and provenance, which a real file holds
    too, are a few kB more.

    Args:
      trees: of "sr" and "ocr", `Network.template`.
      rules: of "sr" and "ocr"; of granularity "tensor" or "channel".
    """
    packed = packed_files.PackedModels(
        config={},
        rules=rules,
        fine_tuned=True,
        provenance={},
        **{part: _packed_zeros(trees[part], rules[part]) for part in trees},
    )
    return packed_files.size(packed)


def _packed_zeros(tree: Variables, rules: tuple[Rule, ...]) -> Variables:
    def zeros(keys: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray | QuantizedArray:
        rule = first_match(rules, leaf_path(keys))
        if rule is None:
            return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)
        axis = len(leaf.shape) - 1 if rule.granularity == "channel" and leaf.shape[1:] else None
        ranges = np.zeros(() if axis is None else leaf.shape[axis], np.float32)
        packed = QuantizedArray(
            codes=ranges,
            offset=ranges,
            scale=ranges,
            shape=leaf.shape,
            dtype=np.dtype(leaf.dtype),
            bits=int(rule.bits or 32),
            prior=rule.prior,
            axis=axis,
        )
        return dataclasses.replace(packed, codes=np.broadcast_to(np.uint8(0), packed.packed_size))

    return jax.tree_util.tree_map_with_path(zeros, tree)


def _rules(name: str, bits: int | None) -> tuple[Rule, ...]:
    return () if bits is None else rule_set(selection(name), bits)


def table(rows: list[Size]) -> Table:
    """The rows as a table."""
    made = tables.new_table(
        "Table 2: sizes in 10^6 bits, which the paper prints as MB",
        ["SR", "recogniser", "quantised", "bits"],
        ["paper\nprints", "paper\naccount", "live\nparameters", "stored:\npacked file"],
    )
    for row in rows:
        made.add_row(
            row.sr,
            OCR,
            row.target,
            "-" if row.bits is None else str(row.bits),
            "-" if row.printed is None else f"{row.printed:.2f}",
            f"{row.paper:.2f}",
            f"{row.live:.2f}",
            f"{row.stored:.2f}",
        )
    return made


def notes() -> list[str]:
    """What has to be known to read the table."""
    dead = dead_parameters(OCR)
    total = dead + count_parameters(_template(OCR))
    return [
        f"Erratum: {ERRATUM}",
        f"Dead parameters: {dead:,} of the {total:,} in CDistNet's published checkpoint are never "
        f"used ({32 * dead / 1e6:.2f} of its {32 * total / 1e6:.2f}); the paper account counts "
        f"them, and {dead_parameters('tbsrn')} unused ones of TBSRN and {dead_parameters('edsr')} "
        "constants of EDSR; TBSRN's unused GRUs are in no account.",
        "Stored: live parameters, running statistics, ranges and header of the packed file.",
    ]


def report(json: str | None) -> None:
    """Prints table and notes, and writes the rows to a JSON file if one is named."""
    rows = paper_sizes()
    tables.print_table(table(rows), keys=4)
    print(*notes(), sep="\n")
    if json:
        atomic.write_json(json, {"rows": [vars(row) for row in rows], "notes": notes()})
