"""The paper's study of layer types: each one is quantised alone, at 2 to 8 bits, and scored."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from tqdm import tqdm

from textsr_jax import quantization
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.models import Variables
from textsr_jax.quantization import aciq
from textsr_jax.quantization.rules import (
    first_match,
    layer_types,
    rule_set,
    selection,
)
from textsr_jax.quantization.tree import leaf_path


@dataclasses.dataclass(frozen=True)
class LayerType:
    """One layer type or block of a model, quantised alone.

    Attributes:
      name: the name of its rule set.
      part: "sr" or "ocr", the model that has it.
      parameters: the number of its parameters.
      rows: the scores by bits.
    """

    name: str
    part: str
    parameters: int
    rows: dict[float, Row]

    def as_json(self) -> dict[str, Any]:
        rows = {str(bits): row.as_json() for bits, row in self.rows.items()}
        return {**vars(self), "rows": rows}


def study(
    baseline: Baseline, parts: Sequence[str], bits: Sequence[float], folder: pathlib.Path
) -> tuple[Row, list[LayerType]]:
    """Scores the models with each layer type quantised alone, and with the paper's selection.

    Prior, granularity and correction are those of `config.quantization`.

    Args:
      baseline: the models.
      parts: "sr", "ocr" or both.
      bits: the numbers of bits, from 2 to 8.
      folder: holds the journal of results. A run that was stopped goes on from there.

    Returns:
      The scores of the unquantised models, and the layer types that the models have.
    """
    settings = baseline.config.quantization.to_dict()
    how = {
        part: {
            name: settings[part][name] for name in ("prior", "granularity", "correct", "group_size")
        }
        for part in ("sr", "ocr")
    }
    journal = Journal(folder, "sensitivity", [baseline.subject, how])
    sizes = {}
    for part in parts:
        network = baseline.config[part].name
        for name in dict.fromkeys((*layer_types(network), selection(network))):
            count = _selected(getattr(baseline, part), name)
            if count:
                sizes[part, name] = count
    found = []
    with tqdm(
        total=1 + len(sizes) * len(bits), desc="sensitivity", unit="setting", disable=None
    ) as bar:
        plain = journal.row("none", lambda: baseline.score(baseline.sr, baseline.ocr))
        bar.update()
        for (part, name), count in sizes.items():
            rows = {}
            for width in bits:

                def measure(part: str = part, name: str = name, width: float = width) -> Row:
                    variables = {"sr": baseline.sr, "ocr": baseline.ocr}
                    rules = rule_set(name, width, **how[part])
                    variables[part] = quantization.simulate(variables[part], rules)
                    return baseline.score(**variables)

                rows[width] = journal.row(f"{name} {width}", measure)
                bar.update()
            found.append(LayerType(name, part, count, rows))
    return plain, found


def _selected(tree: Variables, name: str) -> int:
    """Returns the number of a tree's parameters that a rule set selects."""
    rules = rule_set(name, aciq.MAX_BITS)
    leaves = jax.tree_util.tree_leaves_with_path(tree["params"])
    return sum(leaf.size for keys, leaf in leaves if first_match(rules, leaf_path(keys)))
