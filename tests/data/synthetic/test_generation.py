"""Generation: settings, seeds, and workers that change nothing but the time it takes."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from textsr_jax import text
from textsr_jax.data.synthetic import generation
from textsr_jax.data.synthetic.generation import (
    SPLITS,
    GeneratorSettings,
    Workers,
    difficulty,
    draw,
)
from textsr_jax.errors import UserError

SMALL = GeneratorSettings(train=75, validation=3, test=2, seed=7, min_length=2, max_length=9)


def same(first, second):
    return first.label == second.label and all(
        np.array_equal(a, b) for a, b in zip(first[:2], second[:2], strict=True)
    )


def test_a_word_depends_on_seed_split_and_index_alone():
    pair = draw(SMALL, "train", 4)
    assert pair.lr.shape == (16, 64, 3)
    assert pair.hr.shape == (32, 128, 3)
    assert same(pair, draw(SMALL, "train", 4))
    assert same(pair, draw(dataclasses.replace(SMALL, train=1000), "train", 4))
    assert not same(pair, draw(SMALL, "train", 5))
    assert not same(pair, draw(SMALL, "validation", 4))
    assert not same(pair, draw(dataclasses.replace(SMALL, seed=8), "train", 4))


def test_lengths():
    labels = [draw(SMALL, "train", index).label for index in range(60)]
    assert all(2 <= len(text.normalize(label)) <= 9 for label in labels)


def test_the_plain_part_of_the_words_is_printed_clearly():
    plain, photographed = (
        draw(GeneratorSettings(plain=part), "train", 7).hr for part in (1.0, 0.0)
    )
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) < len(
        np.unique(photographed.reshape(-1, 3), axis=0)
    )


def test_difficulties_take_turns():
    counts = Counter(difficulty("train", index) for index in range(75))
    assert counts == {"easy": 25, "medium": 25, "hard": 25}
    assert {difficulty("test_hard", index) for index in range(9)} == {"hard"}


@pytest.mark.slow
def test_workers_draw_the_same_words():
    with Workers(SMALL, 1) as alone, Workers(SMALL, 2) as together:
        for split in SPLITS:
            pairs = list(zip(alone.draw(split), together.draw(split), strict=True))
            assert len(pairs) == SMALL.size(split)
            assert all(same(*pair) for pair in pairs)


@pytest.mark.slow
def test_workers_end_when_left_early():
    with pytest.raises(KeyboardInterrupt), Workers(SMALL, 2) as workers:
        processes = list(workers.children)
        assert len(list(itertools.islice(workers.draw("train"), 3))) == 3
        raise KeyboardInterrupt
    assert all(process.returncode == -signal.SIGKILL for process in processes)


def test_a_dead_worker_is_reported():
    with Workers(SMALL, 2) as workers:
        os.kill(workers.children[1].pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="drew train stopped with status -9"):
            list(workers.draw("train"))


def test_workers_do_not_load_jax():
    check = (
        f"import sys, {generation.__name__} as generation;"
        "sys.exit(bool({'jax', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"train": 0}, "train=0: a split needs"),
        ({"test": -1}, "test=-1: a split needs"),
        ({"seed": -1}, "seed=-1: must be"),
        ({"min_length": 0}, "min_length=0, max_length=25"),
        ({"min_length": 9, "max_length": 8}, "min_length=9, max_length=8"),
        ({"plain": 1.5}, "plain=1.5: expected a part from 0 to 1"),
        ({"words": "poems"}, "words='poems': choose one of mixed, dictionary"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(UserError, match=message):
        GeneratorSettings(**wrong)


def test_impossible_words_are_reported_before_work_starts():
    with (
        pytest.raises(UserError, match="no English word"),
        Workers(GeneratorSettings(min_length=40, max_length=50), 2),
    ):
        pass
