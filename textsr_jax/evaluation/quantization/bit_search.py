"""Choosing bits: how many each group of layers gets, by what it costs when it is quantised alone.

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

from textsr_jax import data, losses, quantization
from textsr_jax.data.batching import Batch, evaluation_batches
from textsr_jax.errors import UserError
from textsr_jax.evaluation.protocol import Evaluation, Row
from textsr_jax.evaluation.quantization.grid import Pair
from textsr_jax.evaluation.quantization.journal import Journal
from textsr_jax.images import to_float, to_uint8
from textsr_jax.models import Variables
from textsr_jax.quantization import Rule
from textsr_jax.quantization.tree import leaf_path

# 32 bits: not quantised.
WIDTHS = (32, 8, 7, 6, 5, 4, 3, 2)
# How many settings between the largest and the smallest are scored to draw the front.
_FRONT = 10

# Bits by group, such as {"sr/edsr/blocks/0": 4}.
Bits = dict[str, int]


class Cost(NamedTuple):
    """What quantising costs on the validation words.

    Attributes:
      cross_entropy: of the true words, told to the recogniser, on the SR images; mean over words of
        the mean over characters, nats.
      squared_error: mean squared error of the SR images against HR, in [0, 1] units.
    """

    cross_entropy: float
    squared_error: float


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Bits for every group, the size that they give and the scores on the validation words."""

    bits: Bits
    size_mbit: float
    row: Row


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
      plain: scores of the unquantised pair on the validation words.
      costs: of each group alone, by its bits; that of 32 bits is the unquantised pair's.
      sizes: parameters of each group.
      front: from large to small, candidates that were scored.
      winner: the one chosen.
    """

    plain: Row
    costs: dict[str, dict[int, Cost]]
    sizes: dict[str, int]
    front: list[Candidate]
    winner: Candidate


class Search:
    """Measures every group of layers alone, and walks from the largest setting to the smallest.

    Args:
      pair: the unquantised pair; prior, granularity and correction are those of its
        `config.quantization`.
      pairs: the data set, whose validation words are used.
      folder: keeps what is measured, so that a search goes on where it was stopped.

    Raises:
      UserError: the data set has no validation words.
    """

    def __init__(self, pair: Pair, pairs: data.WordPairs, folder: pathlib.Path):
        if not len(pairs.validation):
            raise UserError(
                f"{pairs.title}: has no validation words to choose bits by; name a data root with "
                "train folders and set config.data.validation_fraction"
            )
        self._pair, self._source = pair, pairs.validation
        self._validation = Pair(
            pair.models,
            Evaluation(pair.config, dataclasses.replace(pairs, test=pairs.validation_splits)),
        )
        self._probe = jax.jit(_probe(pair))
        self._how = {
            part: {
                name: pair.config.quantization[part][name]
                for name in ("prior", "granularity", "correct")
            }
            for part in ("sr", "ocr")
        }
        self._journal = Journal(folder, "search", [pair.subject, self._how])
        self.sizes: dict[str, int] = {}
        for part in ("sr", "ocr"):
            for keys, leaf in jax.tree_util.tree_leaves_with_path(getattr(pair, part)["params"]):
                group = f"{part}/{group_of(leaf_path(keys))}"
                self.sizes[group] = self.sizes.get(group, 0) + leaf.size

    def run(
        self,
        *,
        budget_mbit: float | None = None,
        max_drop: float | None = None,
        max_psnr_drop: float | None = None,
    ) -> Found:
        """Searches for the best setting within a size, or the smallest that loses little.

        Args:
          budget_mbit: the size allowed, 10^6 bits of live parameters; without it
          max_drop: how many points of validation accuracy may be lost,
          max_psnr_drop: and how many dB of validation PSNR; None for any number.

        Raises:
          UserError: the budget is below what 2 bits everywhere take.
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
            # Along the path the cost rises, so the first that fits is the best that does.
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
        return Found(plain, costs, self.sizes, front, winner)

    def test(self, bits: Bits) -> Row:
        """Scores on the pair's own splits, which the search did not see."""
        return self._journal.row(f"test {_key(bits)}", lambda: self._pair.score(*self._apply(bits)))

    def rules(self, bits: Bits, part: str) -> tuple[Rule, ...]:
        """The rules that give a part's groups their bits."""
        groups = [group for group in bits if group.startswith(f"{part}/")]
        # A deeper group first: "tbsrn" holds only what lies in no other group below it.
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
                batch_size=self._pair.config.evaluation.batch_size,
                max_length=self._pair.config.max_length,
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
        """The place of the last setting of a path that keeps the scores, by bisection."""
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
            tree, rules = getattr(self._pair, part), self.rules(bits, part)
            made.append(quantization.simulate(tree, rules))
        return made[0], made[1]

    def _size(self, bits: Bits) -> float:
        return sum(size * bits[group] for group, size in self.sizes.items()) / 1e6


def group_of(path: str) -> str:
    """The group of layers of a leaf: its path down to the first number, or its first two modules.

    `edsr/blocks/3/conv1/kernel` is in `edsr/blocks/3`, `rectifier/fc1/bias` in `rectifier/fc1`.
    """
    modules = path.split("/")[:-1]
    number = next((place for place, name in enumerate(modules) if name.isdigit()), None)
    return "/".join(modules[:2] if number is None else modules[: number + 1])


def descend(sizes: dict[str, int], costs: dict[str, dict[int, Cost]]) -> list[Bits]:
    """Settings from 32 bits everywhere down to 2, each the least cost for its size.

    Costs of groups are taken to add up, as a share of the unquantised pair's: rise of cross-entropy
    plus rise of squared error. Each group's bits then lie on the lower hull of its costs, and the
    next step is always the one that costs least for a bit saved ("Lagrangian relaxation").

    Args:
      sizes: parameters of each group.
      costs: of each group alone, for all of `WIDTHS`.
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
    # Slopes of a group rise along its hull, so that its steps keep their order.
    for _, _, group, width in sorted(steps, key=lambda step: step[:2]):
        bits[group] = width
        path.append(dict(bits))
    return path


def _rise(cost: float, base: float) -> float:
    # A gain is taken for noise.
    return max(0.0, cost - base) / max(base, 1e-12)


def _lower_hull(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The lower convex hull of points that are sorted by their first coordinate, ends included."""
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


def _probe(pair: Pair) -> Callable[[Variables, Variables, Batch], tuple[jax.Array, jax.Array]]:
    """Returns a function that computes each word's loss and each image's squared error."""
    sr, ocr = pair.models.sr, pair.models.ocr

    def probe(
        sr_variables: Variables, ocr_variables: Variables, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        images = to_float(to_uint8(sr(sr_variables, to_float(batch.lr))))
        squared = jnp.mean((images - to_float(batch.hr)) ** 2, axis=(1, 2, 3))
        words = losses.WordLosses(batch.characters)
        word_by_word, _ = ocr(ocr_variables, images, words, method="loss")
        return word_by_word, squared

    return probe
