"""An ablation: what each better range, and rounding that looks at data, gains at few bits."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from textsr_jax import data, losses, quantization, text
from textsr_jax.data.batching import Batch, Subset, evaluation_batches
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Row
from textsr_jax.evaluation.quantization.baseline import Baseline, Rules
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Variables
from textsr_jax.quantization.collecting import Statistics, collect
from textsr_jax.quantization.rounding_adaround import adaround
from textsr_jax.quantization.rounding_gptq import gptq

# What is quantised: the name of a selection, and that of its rule set as in a config.
SELECTIONS = {"the paper's selection": "", "all kernels": "kernels"}

# How many training words are looked at, and how many at once.
_WORDS, _BATCH_SIZE = 256, 16

# Fine-tunes the SR model and the recogniser under the rules of "sr" and "ocr".
Tune = Callable[[dict[str, Rules]], tuple[Variables, Variables]]
_Round = Callable[[Variables, Statistics, Rules], Variables]


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to quantise.

    Attributes:
      name: of the row.
      settings: those of its rules.
      round: rounds by statistics; None to round to the nearest.
      tuned: whether the models are fine-tuned under the rules first.
    """

    name: str
    settings: Mapping[str, Any]
    round: _Round | None = None
    tuned: bool = False


_GROUPS = {"prior": "least_squares", "granularity": "group", "group_size": 64}
# From the paper's way on, each adds to the ones before it.
METHODS = (
    Method("ACIQ Laplace", {"prior": "laplace", "granularity": "tensor"}),
    Method("ACIQ Gaussian", {"prior": "gaussian", "granularity": "tensor"}),
    Method("min-max", {"prior": "minmax", "granularity": "tensor"}),
    Method("auto, channels", {"prior": "auto", "granularity": "channel"}),
    Method("least squares, channels", {"prior": "least_squares", "granularity": "channel"}),
    Method("least squares, groups", _GROUPS),
    Method("groups, GPTQ", _GROUPS, gptq),
    Method("groups, AdaRound", _GROUPS, adaround),
    Method("groups, fine-tuned", _GROUPS, tuned=True),
)


@dataclasses.dataclass(frozen=True)
class Ablated:
    """A setting of the ablation and its scores.

    Attributes:
      selection: one of `SELECTIONS`.
      method: the name of one of `METHODS`.
      bits: of all that is quantised.
      size_mbit: of the live parameters with the ranges of groups, in 10^6 bits.
      row: the scores.
    """

    selection: str
    method: str
    bits: float
    size_mbit: float
    row: Row

    def as_json(self) -> dict[str, Any]:
        names = ("selection", "method", "bits", "size_mbit")
        return {name: getattr(self, name) for name in names} | self.row.as_json()


def ablate(
    baseline: Baseline,
    pairs: data.WordPairs,
    bits: Sequence[float],
    folder: pathlib.Path,
    tune: Tune | None = None,
) -> tuple[Row, list[Ablated]]:
    """Scores both models with every method, number of bits and selection.

    Statistics come from training words, spread evenly over all of them.

    Args:
      baseline: the unquantised models.
      pairs: the data set, whose training words are looked at.
      bits: whole numbers from 2 to 8.
      folder: holds the journal of results. A run that was stopped goes on from there.
      tune: fine-tunes the models; None to leave out what is fine-tuned.

    Returns:
      The scores of the unquantised models, and the settings: by bits, selection and method.

    Raises:
      UserError: the data set has no training words.
    """
    methods = [method for method in METHODS if tune is not None or not method.tuned]
    if not len(pairs.train):
        raise UserError(
            f"{pairs.title}: has no training words, which GPTQ and AdaRound look at; name a data "
            "root with train folders"
        )
    statistics = functools.cache(lambda: _statistics(baseline, pairs))
    journal = Journal(folder, "ablation", [baseline.subject, pairs.training, _WORDS])
    found = []
    with tqdm(
        total=1 + len(SELECTIONS) * len(methods) * len(bits),
        desc="ablation",
        unit="setting",
        disable=None,
    ) as bar:
        plain = journal.row("none", lambda: baseline.score(baseline.sr, baseline.ocr))
        bar.update()
        for width, selection, method in itertools.product(bits, SELECTIONS, methods):
            rules = {
                part: baseline.rules(
                    part,
                    set=SELECTIONS[selection],
                    rules=(),
                    bits=width,
                    correct=False,
                    **method.settings,
                )
                for part in ("sr", "ocr")
            }

            def measure(method: Method = method, rules: dict[str, Rules] = rules) -> Row:
                start = {"sr": baseline.sr, "ocr": baseline.ocr}
                if method.tuned and tune is not None:
                    start["sr"], start["ocr"] = tune(rules)
                for part, tree in start.items():
                    if method.round is None:
                        start[part] = quantization.simulate(tree, rules[part])
                    else:
                        packed = method.round(tree, statistics()[part], rules[part])
                        start[part] = quantization.dequantize(packed)
                return baseline.score(**start)

            row = journal.row(f"{selection}, {method.name}, {width:g} bits", measure)
            size = sum(
                quantization.size_mbit(getattr(baseline, part), rules[part]) for part in rules
            )
            found.append(Ablated(selection, method.name, width, size, row))
            bar.update()
    return plain, found


def _statistics(baseline: Baseline, pairs: data.WordPairs) -> dict[str, Statistics]:
    """The statistics of both models on training words, with the words that they are told."""
    config, sr, ocr = baseline.config, baseline.models.sr, baseline.models.ocr
    count = min(_WORDS, len(pairs.train))
    places = np.linspace(0, len(pairs.train) - 1, count).astype(int)
    # The last batch would be filled up with one word.
    size = min(_BATCH_SIZE, count)
    source = Subset(pairs.train, [int(place) for place in places[: count // size * size]])

    def batches() -> Iterator[Batch]:
        return evaluation_batches(
            source,
            batch_size=size,
            max_length=config.max_length,
            alphabet=text.ALPHABETS[config.alphabet],
        )

    def enhance(variables: Variables, batch: Batch) -> jax.Array:
        return to_uint8(sr(variables, to_float(batch.lr)))

    def read(variables: Variables, batch: Batch) -> jax.Array:
        words = losses.WordLosses(batch.characters)
        images = to_float(enhance(baseline.sr, batch))
        return ocr(variables, images, words, method="loss")[0]

    return {
        "sr": collect(enhance, baseline.sr, batches()),
        "ocr": collect(read, baseline.ocr, batches()),
    }
