"""The paper's study of what each layer type costs: every one quantised alone, 2 to 8 bits."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from tqdm import tqdm

from textsr_jax import quantization
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.grid import Pair
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.quantization import aciq
from textsr_jax.quantization.rules import first_match, layer_types, rule_set, selection
from textsr_jax.quantization.tree import leaf_path


@dataclasses.dataclass(frozen=True)
class LayerType:
    """One layer type or block of a model, quantised alone.

    Attributes:
      name: of its rule set.
      part: "sr" or "ocr".
      parameters: how many it has.
      rows: scores by bits.
    """

    name: str
    part: str
    parameters: int
    rows: dict[float, Row]

    def as_json(self) -> dict[str, Any]:
        rows = {str(bits): row.as_json() for bits, row in self.rows.items()}
        return {**vars(self), "rows": rows}


def study(
    pair: Pair, parts: Sequence[str], bits: Sequence[float], folder: pathlib.Path
) -> tuple[Row, list[LayerType]]:
    """Scores the pair with each layer type of a model quantised alone, and with the paper's set.

    Args:
      parts: "sr", "ocr" or both.
      bits: 2 to 8; prior, granularity and correction are those of `config.quantization`.
      folder: keeps what is measured, so that a run goes on where it was stopped.

    Returns:
      The scores of the unquantised pair, and the layer types that the models have.
    """
    settings = pair.config.quantization.to_dict()
    how = {
        part: {name: settings[part][name] for name in ("prior", "granularity", "correct")}
        for part in ("sr", "ocr")
    }
    journal = Journal(folder, "sensitivity", [pair.subject, how])
    sizes = {}
    for part in parts:
        network = pair.config[part].name
        for name in dict.fromkeys((*layer_types(network), selection(network))):
            count = _selected(getattr(pair, part), name)
            if count:
                sizes[part, name] = count
    found = []
    with tqdm(
        total=1 + len(sizes) * len(bits), desc="sensitivity", unit="setting", disable=None
    ) as bar:
        plain = journal.row("none", lambda: pair.score(pair.sr, pair.ocr))
        bar.update()
        for (part, name), count in sizes.items():
            rows = {}
            for width in bits:

                def measure(part: str = part, name: str = name, width: float = width) -> Row:
                    variables = {"sr": pair.sr, "ocr": pair.ocr}
                    rules = rule_set(name, width, **how[part])
                    variables[part] = quantization.simulate(variables[part], rules)
                    return pair.score(**variables)

                rows[width] = journal.row(f"{name} {width}", measure)
                bar.update()
            found.append(LayerType(name, part, count, rows))
    return plain, found


def _selected(tree: Any, name: str) -> int:
    """How many parameters of a tree a rule set selects."""
    rules = rule_set(name, aciq.MAX_BITS)
    leaves = jax.tree_util.tree_leaves_with_path(tree["params"])
    return sum(leaf.size for keys, leaf in leaves if first_match(rules, leaf_path(keys)))
