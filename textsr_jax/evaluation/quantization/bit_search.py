"""A search for the bits of each group of layers, by what each group costs when quantised alone.

The search sees validation words only; its winner is scored on the test splits.
"""

import dataclasses
import itertools
import math
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from textsr_jax import data, losses, quantization, text
from textsr_jax.data.batching import Batch, evaluation_batches
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Evaluation, Row
from textsr_jax.evaluation.quantization.baseline import Baseline
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Variables
from textsr_jax.quantization import Rule
from textsr_jax.quantization.rules import SETTINGS
from textsr_jax.quantization.tree import leaf_path

# 32 bits mean: not quantised.
WIDTHS = (32, 8, 7, 6, 5, 4, 3, 2)
# The number of settings, from the largest to the smallest, that are scored to draw the front.
_FRONT = 10

# Bits by group, such as {"sr/edsr/blocks/0": 4}.
Bits = dict[str, int]


class Cost(NamedTuple):
    """What quantising costs on the validation words.

    Attributes:
      cross_entropy: of the true words on the SR images, in nats; the mean over words of the mean
        over characters. The recogniser is told the characters before each one.
      squared_error: the mean squared error of the SR images, in [0, 1], against HR.
    """

    cross_entropy: float
    squared_error: float


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Bits for every group, the size in 10^6 bits, and the scores on the validation words."""

    bits: Bits
    size_mbit: float
    row: Row


@dataclasses.dataclass(frozen=True)
class FoundBits:
    """What a search found.

    Attributes:
      plain: the scores of the unquantised models on the validation words.
      costs: the cost of each group quantised alone, by bits; at 32 bits that of the unquantised
        models.
      sizes: the number of parameters of each group.
      front: candidates that were scored, from large to small.
      winner: the chosen candidate.
    """

    plain: Row
    costs: dict[str, dict[int, Cost]]
    sizes: dict[str, int]
    front: list[Candidate]
    winner: Candidate


class BitSearch:
    """Measures every group of layers alone, and walks from the largest setting to the smallest.

    Args:
      baseline: the unquantised models. Prior, granularity and correction are those of its
        `config.quantization`.
      pairs: the data set, whose validation words are used.
      folder: holds the journal of results. A search that was stopped goes on from there.

    Raises:
      UserError: the data set has no validation words.
    """

    def __init__(self, baseline: Baseline, pairs: data.WordPairs, folder: pathlib.Path):
        if not len(pairs.validation):
            raise UserError(
                f"{pairs.title}: has no validation words to choose bits by; name a data root with "
                "train folders and set config.data.validation_fraction"
            )
        self._baseline, self._source = baseline, pairs.validation
        self._validation = Baseline(
            baseline.models,
            Evaluation(baseline.config, dataclasses.replace(pairs, test=pairs.validation_splits)),
        )
        self._probe = jax.jit(_probe(baseline))
        self._how = {
            part: {
                name: baseline.config.quantization[part][name]
                for name in SETTINGS
                if name != "bits"
            }
            for part in ("sr", "ocr")
        }
        self._journal = Journal(folder, "search", [baseline.subject, self._how])
        self.sizes: dict[str, int] = {}
        for part in ("sr", "ocr"):
            for keys, leaf in jax.tree_util.tree_leaves_with_path(
                getattr(baseline, part)["params"]
            ):
                group = f"{part}/{group_of(leaf_path(keys))}"
                self.sizes[group] = self.sizes.get(group, 0) + leaf.size

    def run(
        self,
        *,
        budget_mbit: float | None = None,
        max_drop: float | None = None,
        max_psnr_drop: float | None = None,
    ) -> FoundBits:
        """Searches for the best setting of a size, or for the smallest that loses little.

        Args:
          budget_mbit: the largest size, in 10^6 bits of live parameters; None for no limit. With
            a budget the other two do not count.
          max_drop: points of validation accuracy that may be lost; None for any number.
          max_psnr_drop: dB of validation PSNR that may be lost; None for any number.

        Raises:
          UserError: 2 bits everywhere take more than the budget.
        """
        costs = self._costs()
        path = descend(self.sizes, costs)
        sizes = [self._size(bits) for bits in path]
        plain = self._scored(path[0]).row
        if budget_mbit is not None:
            if sizes[-1] > budget_mbit:
                raise UserError(
                    f"--budget_mbit={budget_mbit:g}: 2 bits for everything take {sizes[-1]:.2f}; "
                    "allow at least that"
                )
            # The cost rises along the path, so the first setting that fits is the best one.
            chosen = next(place for place, size in enumerate(sizes) if size <= budget_mbit)
        else:
            allowed = {"accuracy": max_drop, "psnr": max_psnr_drop}
            least = {
                name: plain.mean[name] - drop for name, drop in allowed.items() if drop is not None
            }
            chosen = self._smallest(path, least)
        wanted = np.linspace(sizes[0], sizes[-1], _FRONT)
        places = {int(np.argmin(np.abs(np.asarray(sizes) - size))) for size in wanted} | {chosen}
        front = [
            self._scored(path[place])
            for place in tqdm(sorted(places), desc="front", unit="setting", disable=None)
        ]
        winner = self._scored(path[chosen])
        return FoundBits(plain, costs, self.sizes, front, winner)

    def test(self, bits: Bits) -> Row:
        """Returns the scores on the test splits, which the search did not see."""
        return self._journal.row(
            f"test {_key(bits)}", lambda: self._baseline.score(*self._apply(bits))
        )

    def rules(self, bits: Bits, part: str) -> tuple[Rule, ...]:
        """Returns the rules that give the groups of a part, "sr" or "ocr", their bits."""
        groups = [group for group in bits if group.startswith(f"{part}/")]
        # Deeper groups come first: "tbsrn" holds only what is in no group below it.
        groups.sort(key=lambda group: -group.count("/"))
        return tuple(
            Rule(
                rf"{re.escape(group.removeprefix(f'{part}/'))}(/.*)?",
                None if bits[group] == 32 else bits[group],
                **self._how[part],
            )
            for group in groups
        )

    def _costs(self) -> dict[str, dict[int, Cost]]:
        none = dict.fromkeys(self.sizes, 32)
        plain = self._cost(none)
        costs = {}
        with tqdm(
            total=len(self.sizes) * (len(WIDTHS) - 1),
            desc="groups of layers",
            unit="setting",
            disable=None,
        ) as bar:
            for group in self.sizes:
                costs[group] = {32: plain}
                for width in WIDTHS[1:]:
                    costs[group][width] = self._cost(none | {group: width})
                    bar.update()
        return costs

    def _cost(self, bits: Bits) -> Cost:
        def measure() -> list[float]:
            sr, ocr = self._apply(bits)
            sums = np.zeros(2)
            batches = evaluation_batches(
                self._source,
                batch_size=self._baseline.config.evaluation.batch_size,
                max_length=self._baseline.config.max_length,
                alphabet=text.ALPHABETS[self._baseline.config.alphabet],
            )
            for batch in batches:
                scores = self._probe(sr, ocr, batch)
                sums += [float(np.asarray(score)[batch.valid].sum()) for score in scores]
            mean = sums / len(self._source)
            # A setting that breaks the network costs more than any other.
            return [float(value) if math.isfinite(value) else 1e9 for value in mean]

        return Cost(*self._journal.result(f"cost {_key(bits)}", measure))

    def _scored(self, bits: Bits) -> Candidate:
        row = self._journal.row(
            f"validation splits {_key(bits)}", lambda: self._validation.score(*self._apply(bits))
        )
        return Candidate(bits, self._size(bits), row)

    def _smallest(self, path: Sequence[Bits], least: dict[str, float]) -> int:
        """Finds the last setting of a path that keeps the scores, by bisection; its index."""
        good, bad = 0, len(path)
        with tqdm(desc="loss allowed", unit="setting", disable=None) as bar:
            while bad - good > 1:
                middle = (good + bad) // 2
                mean = self._scored(path[middle]).row.mean
                keeps = all(mean[name] >= score for name, score in least.items())
                good, bad = (middle, bad) if keeps else (good, middle)
                bar.update()
        return good

    def _apply(self, bits: Bits) -> tuple[Variables, Variables]:
        made = []
        for part in ("sr", "ocr"):
            tree, rules = getattr(self._baseline, part), self.rules(bits, part)
            made.append(quantization.simulate(tree, rules))
        return made[0], made[1]

    def _size(self, bits: Bits) -> float:
        return sum(
            quantization.size_mbit(getattr(self._baseline, part), self.rules(bits, part))
            for part in ("sr", "ocr")
        )


def group_of(path: str) -> str:
    """Returns the group of a leaf: its path down to the first number, or its first two modules.

    `edsr/blocks/3/conv1/kernel` is in `edsr/blocks/3`, `rectifier/fc1/bias` in `rectifier/fc1`.
    """
    modules = path.split("/")[:-1]
    number = next((place for place, name in enumerate(modules) if name.isdigit()), None)
    return "/".join(modules[:2] if number is None else modules[: number + 1])


def descend(sizes: dict[str, int], costs: dict[str, dict[int, Cost]]) -> list[Bits]:
    """Returns settings from 32 bits everywhere down to 2, each of the least cost for its size.

    A group's cost is the rise of its cross-entropy plus the rise of its squared error, each as a
    share of the unquantised models' value. Costs of groups are assumed to add up. Then a group's
    bits lie on the lower hull of its costs, and the next step is always the one that costs least
    for a bit saved. This is a Lagrangian relaxation.

    Args:
      sizes: the number of parameters of each group.
      costs: the cost of each group alone, for all of `WIDTHS`.
    """
    steps = []
    for order, (group, size) in enumerate(sizes.items()):
        plain = costs[group][32]
        points = [
            (-width * size, sum(_rise(cost, base) for cost, base in zip(found, plain, strict=True)))
            for width, found in ((width, costs[group][width]) for width in WIDTHS)
        ]
        hull = _lower_hull(points)
        for (saved, cost), (next_saved, next_cost) in itertools.pairwise(hull):
            slope = (next_cost - cost) / (next_saved - saved)
            steps.append((slope, order, group, -next_saved // size))
    bits = dict.fromkeys(sizes, 32)
    path = [dict(bits)]
    # The slopes of a group rise along its hull, so its steps keep their order.
    for _, _, group, width in sorted(steps, key=lambda step: step[:2]):
        bits[group] = width
        path.append(dict(bits))
    return path


def _rise(cost: float, base: float) -> float:
    # A gain is noise.
    return max(0.0, cost - base) / max(base, 1e-12)


def _lower_hull(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Returns the lower convex hull of points, ends included.

    Args:
      points: sorted by their first coordinate.
    """
    hull: list[tuple[int, float]] = []
    for point in points:
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (point[0] - x1) < (point[1] - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append(point)
    return hull


def _key(bits: Bits) -> str:
    return " ".join(f"{group}:{width}" for group, width in bits.items() if width != 32) or "none"


def _probe(
    baseline: Baseline,
) -> Callable[[Variables, Variables, Batch], tuple[jax.Array, jax.Array]]:
    """Returns a function that computes each word's loss and each image's squared error."""
    sr, ocr = baseline.models.sr, baseline.models.ocr

    def probe(
        sr_variables: Variables, ocr_variables: Variables, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        images = to_float(to_uint8(sr(sr_variables, to_float(batch.lr))))
        squared = jnp.mean((images - to_float(batch.hr)) ** 2, axis=(1, 2, 3))
        words = losses.WordLosses(batch.characters)
        word_by_word, _ = ocr(ocr_variables, images, words, method="loss")
        return word_by_word, squared

    return probe
