"""Trains the network that tells where words of a line end: ten minutes on one core.

  python -m textsr_jax.experiments.train_gaps --out=word_columns.safetensors

Lines are drawn (`textsr_jax.data.synthetic.lines`); no photograph is used. The end says how many of
the gaps in other drawn lines are found. The file holds 8 bits a weight. The seed decides all.
"""

import functools
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
import optax
from absl import flags
from tqdm import tqdm

from textsr_jax import quantization
from textsr_jax.cli.scripts import refuse, run_script
from textsr_jax.data.synthetic import lines
from textsr_jax.errors import UserError
from textsr_jax.models import Variables, count_parameters
from textsr_jax.models.word_columns import STEP
from textsr_jax.photos import splitting

BATCH, RATE = 16, 3e-3
# The share of lines that are shown upside down, as photographs may show them.
_TURNED = 0.1
# The held-out lines, and the number that parts their seeds from those of training.
HELD_OUT, _TRAIN, _TEST = 500, 0, 1


def drawn(seed: int, part: int, count: int) -> tuple[np.ndarray, np.ndarray, list[lines.DrawnLine]]:
    """Draws lines: levels, float16 (count, 32, 256); columns inside words, bool; the lines."""
    made = [
        lines.draw(np.random.default_rng([seed, part, number]))
        for number in tqdm(range(count), desc="lines drawn", disable=None)
    ]
    levels = [splitting.levels(line.image) for line in made]
    shown = np.stack([splitting.padded(one, lines.WIDTH) for one in levels]).astype(np.float16)
    return shown, np.stack([inside(line) for line in made]), made


def inside(line: lines.DrawnLine) -> np.ndarray:
    """Which columns of the network's output lie inside words, bool (128,)."""
    places = STEP * (np.arange(lines.WIDTH // STEP) + 0.5)
    shown = places < line.image.shape[1]
    return shown & np.any([(places >= a) & (places < b) for a, b in line.words], axis=0)


def train(shown: np.ndarray, labels: np.ndarray, steps: int, seed: int) -> Variables:
    """Trains the network by Adam with a cosine schedule; the loss is the mean over all columns.

    Args:
      shown: of `drawn`, (lines, 32, 256).
      labels: bool (lines, 128).
      steps: of 16 lines each.
      seed: of the parameters and of the order.
    """
    network = splitting.network()
    variables = network.init(jax.random.key(seed))
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def loss(params: Variables, batch: np.ndarray, wanted: np.ndarray) -> jax.Array:
        odds = network({"params": params, "stats": {}}, batch.astype(np.float32))
        return optax.sigmoid_binary_cross_entropy(odds, wanted).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(
        params: Variables, state: optax.OptState, batch: np.ndarray, wanted: np.ndarray
    ) -> tuple[Variables, optax.OptState, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params, batch, wanted)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    rng = np.random.default_rng([seed, 2])
    params, state = variables["params"], optimizer.init(variables["params"])
    recent = []
    bar = tqdm(range(steps), desc="steps", disable=None)
    for number in bar:
        rows = rng.integers(len(shown), size=BATCH)
        # Light on dark and dark on light are alike.
        batch = shown[rows] * rng.choice([-1, 1], (BATCH, 1, 1)).astype(np.float16)
        wanted = labels[rows]
        turned = rng.random(BATCH) < _TURNED
        batch[turned], wanted[turned] = batch[turned, ::-1, ::-1], wanted[turned, ::-1]
        params, state, value = step(params, state, batch, wanted)
        recent.append(value)
        if number % 100 == 99 or number == steps - 1:
            print(f"step {number + 1:,}: loss {np.mean(recent):.4f}", flush=True)
            recent = []
    return {"params": jax.tree.map(np.asarray, params), "stats": {}}


def score(found: Sequence[splitting.Spaces], made: Sequence[lines.DrawnLine]) -> tuple[int, ...]:
    """Returns how many gaps of drawn lines end words, how many of those are found, and false ones.

    A gap is found if its log odds are above 0 and its middle lies between the words' ends.
    """
    wanted = hits = wrong = 0
    for one, line in zip(found, made, strict=True):
        width = line.image.shape[1]
        gaps = [
            (left, right)
            for (_, left), (right, _) in zip(line.words[:-1], line.words[1:], strict=True)
            if left > 0 and right < width
        ]
        cuts = [gap.middle * width for gap in one.gaps if gap.log_odds > 0]
        right = sum(any(a - 1 <= cut <= b + 1 for cut in cuts) for a, b in gaps)
        wanted, hits, wrong = wanted + len(gaps), hits + right, wrong + len(cuts) - right
    return wanted, hits, wrong


def main(arguments: list[str]) -> None:
    refuse(arguments)
    if not _OUT.value:
        raise UserError("--out: name the file to write")
    shown, labels, _ = drawn(_SEED.value, _TRAIN, _LINES.value)
    variables = train(shown, labels, _STEPS.value, _SEED.value)
    packed = quantization.quantize(variables, [quantization.Rule(".*kernel", bits=8)])
    size = quantization.save(pathlib.Path(_OUT.value), packed)
    print(f"{_OUT.value}: {count_parameters(variables):,} parameters, {size / 1000:.0f} kB")
    _, _, made = drawn(_SEED.value, _TEST, HELD_OUT)
    compute = splitting.compiled(quantization.dequantize(packed))
    found = splitting.spaces([line.image for line in made], compute)
    wanted, hits, wrong = score(found, made)
    print(
        f"{HELD_OUT:,} held-out lines: {hits:,} of {wanted:,} gaps between words found "
        f"({100 * hits / wanted:.1f} %), {wrong:,} others taken for such"
    )


if __name__ == "__main__":
    _OUT = flags.DEFINE_string("out", None, "The file to write.")
    _LINES = flags.DEFINE_integer("lines", 20_000, "How many lines are drawn.", lower_bound=1)
    _STEPS = flags.DEFINE_integer("steps", 8000, "Steps of 16 lines.", lower_bound=1)
    _SEED = flags.DEFINE_integer("seed", 0, "Decides the lines and the network.", lower_bound=0)
    run_script(main)
