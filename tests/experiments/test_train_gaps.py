"""The training of the network of word columns: what it learns from, and how gaps are counted."""

import numpy as np
import pytest

from textsr_jax.data.synthetic.lines import DrawnLine
from textsr_jax.experiments import train_gaps
from textsr_jax.photos.splitting import Gap, Spaces


def drawn(width, *words):
    return DrawnLine(np.zeros((32, width, 3), np.uint8), np.array(words, float))


def test_columns_inside_words_are_labelled():
    inside = train_gaps.inside(drawn(100, (-9, 10.5), (20, 130)))
    # The middle of column i is at 2 i + 1; beyond the line there is no word.
    assert np.flatnonzero(inside).tolist() == [*range(0, 5), *range(10, 50)]


def test_gaps_count_where_they_lie_between_words():
    line = drawn(100, (0, 20), (30, 60), (70, 120), (130, 140))
    found = Spaces((Gap(0.22, 0.28, 2.0), Gap(0.4, 0.42, 1.0), Gap(0.62, 0.68, -1.0)), 0.0, 1.0)
    # Two gaps can be seen. One is found, the other is not likely; a third stands in a word.
    assert train_gaps.score([found], [line]) == (2, 1, 1)


@pytest.mark.slow
def test_training_learns_where_words_are(capsys):
    rng = np.random.default_rng(0)
    labels = rng.random((64, 8)).repeat(16, axis=1) < 0.5
    strokes = rng.normal(size=(64, 32, 256)) * labels.repeat(2, axis=1)[:, None]
    train_gaps.train(strokes.astype(np.float16), labels, 40, seed=0)
    loss = float(capsys.readouterr().out.split()[-1])
    # Without learning it would be ln 2 in the mean of all steps.
    assert loss < 0.5
