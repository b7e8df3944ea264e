"""The network of word columns: its size, and what a column sees."""

import jax
import numpy as np

from textsr_jax.models import Network, count_parameters
from textsr_jax.models.word_columns import WordColumns


def test_a_column_sees_its_surroundings_alone():
    network = Network(lambda rngs: WordColumns(width=4, dilations=(1, 2), rngs=rngs))
    variables = network.init(jax.random.key(0))
    lines = np.random.default_rng(0).normal(size=(1, 32, 64)).astype(np.float32)
    changed = lines.copy()
    changed[:, :, 40:42] += 3
    before, after = (np.asarray(jax.jit(network)(variables, one)) for one in (lines, changed))
    assert before.shape == (1, 32)
    differs = np.flatnonzero(np.abs(before - after)[0] > 1e-6)
    # Three columns by dilation to each side of the changed one, and what the convolutions reach.
    assert 20 in differs and differs.min() >= 20 - 3 - 3 and differs.max() <= 20 + 3 + 3


def test_the_default_has_the_parameters_that_it_says():
    network = Network(lambda rngs: WordColumns(rngs=rngs))
    count = count_parameters(network.template)
    assert f"{count:,} parameters by default" in " ".join(WordColumns.__doc__.split())
